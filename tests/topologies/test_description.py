"""Fabrics as data: addresses follow from names alone."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.errors import InvalidInputError
from topologies import TOPOLOGIES, hosts


@pytest.mark.parametrize(
    ("topology", "name", "addresses", "subnet"),
    [
        ("single", "node-1", ("172.30.1.11", "fd00:30:1::11"), "rack-1"),
        ("single", "node-2", ("172.30.1.12", "fd00:30:1::12"), "rack-1"),
        ("subnets", "node-1", ("172.30.1.11", "fd00:30:1::11"), "rack-1"),
        ("subnets", "node-2", ("172.30.2.11", "fd00:30:2::11"), "rack-2"),
        ("subnets", "node-3", ("172.30.1.12", "fd00:30:1::12"), "rack-1"),
        ("subnets", "internet", ("203.0.113.10", "2001:db8:113::10"), "internet"),
        ("single", "office", ("198.51.100.10", "2001:db8:51::10"), "office"),
    ],
)
def test_places(topology, name, addresses, subnet):
    """Nodes take turns on the subnets and number their addresses from 11; the outside hosts are always the same."""
    (host,) = [host for host in hosts(TOPOLOGIES[topology](3)) if host.name == name]
    assert (host.addresses, host.subnet, host.is_node) == (addresses, subnet, name.startswith("node-"))


@given(st.sampled_from(sorted(TOPOLOGIES)), st.integers(1, 200))
@settings(deadline=None)
def test_every_fabric_is_consistent(name, nodes):
    """Addresses differ, lie in their subnet, and are not the router's; nodes come first, as many as asked for."""
    topology = TOPOLOGIES[name](nodes)
    assert [place.name for place in topology.nodes] == [f"node-{number}" for number in range(1, nodes + 1)]
    assert topology.places[:nodes] == topology.nodes
    prefixes = {subnet.name: [ip_network(prefix) for prefix in subnet.prefixes] for subnet in topology.subnets}
    addresses = [address for gateways in prefixes for address in topology.router.gateways(gateways)]
    for place in topology.places:
        assert all(ip_address(one) in net for one, net in zip(place.addresses, prefixes[place.subnet], strict=True))
        addresses += place.addresses
    assert len(addresses) == len(set(addresses))


@given(st.sampled_from(sorted(TOPOLOGIES)), st.integers(1, 100), st.integers(1, 100))
@settings(deadline=None)
def test_a_larger_fabric_only_adds(name, some, more):
    """A node's addresses do not depend on how many others there are."""
    small, large = TOPOLOGIES[name](some), TOPOLOGIES[name](some + more)
    assert large.nodes[:some] == small.nodes


@pytest.mark.parametrize("nodes", [0, -1, 401])
def test_impossible_numbers_of_nodes_are_refused(nodes):
    """The error says how many nodes the topology holds."""
    with pytest.raises(InvalidInputError, match="1 to 400"):
        TOPOLOGIES["subnets"](nodes)


def test_unknown_machine_is_refused_with_the_known_ones():
    """Asking for a machine that is not on the fabric lists those that are."""
    with pytest.raises(InvalidInputError, match=r"'node-9'.*node-1, internet, office"):
        TOPOLOGIES["single"](1).address("node-9", 4)


@pytest.mark.parametrize(("family", "address"), [(4, "172.30.1.11"), (6, "fd00:30:1::11")])
def test_address_of_a_family(family, address):
    """A machine has one address of each family."""
    assert TOPOLOGIES["single"](1).address("node-1", family) == address
