"""Who encrypts to whom, as a function of the state (WG-2 to WG-8)."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from encryption.keys import NO_KEY, PrivateKey
from encryption.peers import Peer, TableRoute, encrypting_nodes, peers, wireguard_routes, workload_cidrs
from reference.endpoints import Host, WorkloadEndpoint
from reference.ipam.blocks import Block
from reference.state import State

KEYS = [PrivateKey.generate().public for _ in range(4)]
NODES = [f"node-{n}" for n in range(4)]


def state(keys=KEYS, families=("46", "46", "46", "46"), encryption="wireguard", pods=()) -> State:
    """Four nodes with a block of each family, and an outside host; pods are (name, node, address)."""
    hosts = {"outside": Host(name="outside", addresses=("172.30.1.99",), subnet="a", is_node=False)}
    blocks = {"10.244.9.0/26": Block(cidr="10.244.9.0/26", pool="p", affinity=None, claimed_at=0.0)}
    for n, name in enumerate(NODES):
        addresses = [f"172.30.1.1{n}"] * ("4" in families[n]) + [f"fd30::1{n}"] * ("6" in families[n])
        hosts[name] = Host(name=name, addresses=tuple(addresses), subnet="a", is_node=True)
        for cidr in (f"10.244.{n}.0/26", f"fd00:10:244:{n}::/122"):
            blocks[cidr] = Block(cidr=cidr, pool="p", affinity=f"host:{name}", claimed_at=0.0)
    endpoints = {
        ("default", pod): WorkloadEndpoint(
            namespace="default",
            pod=pod,
            node=node,
            interface="cali1",
            addresses=(address,),
            labels={},
            profiles=(),
        )
        for pod, node, address in pods
    }
    public = {name: key for name, key in zip(NODES, keys, strict=True) if key is not None}
    return State(
        hosts=Map(hosts),
        blocks=Map(blocks),
        endpoints=Map(endpoints),
        encryption=encryption,
        public_keys=Map(public),
    )


CLASHING = [KEYS[0], KEYS[1], KEYS[1], KEYS[3]]
CAPABLE = [
    # what is published, addresses -> the nodes that encrypt
    ({}, 4, NODES),
    ({}, 6, NODES),
    ({"encryption": ""}, 4, []),
    ({"keys": [KEYS[0], None, KEYS[2], None]}, 4, [NODES[0], NODES[2]]),
    ({"keys": [KEYS[0], NO_KEY, "rubbish", KEYS[3]]}, 4, [NODES[0], NODES[3]]),
    ({"keys": CLASHING}, 4, [NODES[0], NODES[3]]),
    ({"keys": [NO_KEY, NO_KEY, KEYS[2], KEYS[3]]}, 6, [NODES[2], NODES[3]]),
    ({"families": ("46", "4", "6", "46")}, 4, [NODES[0], NODES[1], NODES[3]]),
    ({"families": ("46", "4", "6", "46")}, 6, [NODES[0], NODES[2], NODES[3]]),
]


@pytest.mark.parametrize(("options", "family", "expected"), CAPABLE)
def test_peers_are_the_nodes_with_an_address_and_a_key_of_their_own(options, family, expected):
    """A node is a peer iff it has an address of the family and a non-zero key that only it claims (WG-2)."""
    one = state(**options)

    assert tuple(expected) == encrypting_nodes(one, family)
    for node in NODES:
        others = [one.public_keys[n] for n in expected if n != node] if node in expected else []
        assert others == [peer.public_key for peer in peers(one, node, family)]


def test_a_peer_is_reached_at_its_node_and_carries_its_blocks():
    """A peer's endpoint is its node's address and the family's port; it carries the node's blocks (WG-3, WG-7)."""
    assert peers(state(), "node-0", 4)[0] == Peer(
        public_key=KEYS[1], address="172.30.1.11", port=51820, allowed=("10.244.1.0/26",)
    )
    assert peers(state(), "node-0", 6)[2] == Peer(
        public_key=KEYS[3], address="fd30::13", port=51821, allowed=("fd00:10:244:3::/122",)
    )


def test_an_address_outside_the_nodes_blocks_is_carried_by_itself():
    """A pod with an address of another node's block, of no block, or of an ownerless one has a route of its own."""
    pods = [("a", "node-1", "10.244.2.5"), ("b", "node-1", "192.168.7.7"), ("c", "node-1", "10.244.9.1")]
    pods += [("d", "node-1", "10.244.1.5"), ("e", "node-1", "fd00:10:244:2::5")]
    one = state(pods=pods)

    assert peers(one, "node-0", 4)[0].allowed == ("10.244.1.0/26", "10.244.2.5/32", "10.244.9.1/32", "192.168.7.7/32")
    assert peers(one, "node-0", 6)[0].allowed == ("fd00:10:244:1::/122", "fd00:10:244:2::5/128")


def test_what_is_not_encrypted_is_thrown_back_to_the_main_table():
    """The table has the device for peers' CIDRs, and throws local ones and those of nodes without a key (WG-5)."""
    one = state(keys=[KEYS[0], KEYS[1], None, KEYS[3]], pods=[("a", "node-0", "10.244.1.9")])

    assert {
        TableRoute("10.244.0.0/26", "throw"),
        TableRoute("10.244.1.9/32", "throw"),
        TableRoute("10.244.1.0/26", "device"),
        TableRoute("10.244.2.0/26", "throw"),
        TableRoute("10.244.3.0/26", "device"),
    } == set(wireguard_routes(one, "node-0", 4))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("options", [{"encryption": ""}, {"keys": [None, *KEYS[1:]]}, {"keys": [KEYS[1], *KEYS[1:]]}])
def test_a_node_that_cannot_encrypt_has_no_table(options, family):
    """With encryption off, or no usable key of its own, a node has neither peers nor routes (WG-9)."""
    one = state(**options)

    assert peers(one, "node-0", family) == ()
    assert wireguard_routes(one, "node-0", family) == ()


def test_a_failed_node_stays_a_peer():
    """A node whose link is down keeps its place: the devices of the others do not change."""
    one = state()
    failed = replace(one, failed_nodes=frozenset({"node-2"}))

    assert peers(one, "node-0", 4) == peers(failed, "node-0", 4)


def test_what_is_remembered_follows_the_state():
    """A state with another pod gives other CIDRs, and going back to the first gives the first again."""
    before, after = state(), state(pods=[("a", "node-1", "192.168.1.1")])

    assert "192.168.1.1/32" not in workload_cidrs(before, 4)["node-1"]
    assert "192.168.1.1/32" in workload_cidrs(after, 4)["node-1"]
    assert "192.168.1.1/32" not in workload_cidrs(before, 4)["node-1"]


PODS = st.lists(
    st.tuples(st.sampled_from(NODES), st.integers(0, 3), st.integers(1, 62)), max_size=12, unique_by=lambda p: p[1:]
)


@settings(deadline=None)
@given(PODS, st.lists(st.sampled_from([*KEYS, None]), min_size=4, max_size=4))
def test_both_ends_agree_on_every_pod(placed, keys):
    """The pod's longest route on one node leads to the pod's own node, which accepts the other's pods by its key.

    If a node encrypts to a second one, that one encrypts back: no pair is encrypted one way only.
    """
    pods = [(f"p{i}", node, f"10.244.{block}.{low}") for i, (node, block, low) in enumerate(placed)]
    one = state(keys=keys, pods=pods)
    able = encrypting_nodes(one, 4)
    for here in NODES:
        assert (here in able) == bool(wireguard_routes(one, here, 4))
        for _, node, address in pods:
            routes = [
                (ip_network(cidr).prefixlen, name)
                for name, cidrs in workload_cidrs(one, 4).items()
                for cidr in cidrs
                if ip_address(address) in ip_network(cidr)
            ]
            assert max(routes)[1] == node
        for peer in peers(one, here, 4):
            there = next(n for n in NODES if one.public_keys.get(n) == peer.public_key)
            assert one.public_keys[here] in {p.public_key for p in peers(one, there, 4)}
