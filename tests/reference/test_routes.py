"""Routing without encapsulation: what every node and every router between them must know."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from immutables import Map

from reference.endpoints import Host, WorkloadEndpoint
from reference.ipam.blocks import Block
from reference.routes import Route, block_owners, node_routes
from reference.state import State

HOSTS = {
    "n1": Host(name="n1", addresses=("172.30.1.11", "fd00:172::11"), subnet="a", is_node=True),
    "n2": Host(name="n2", addresses=("172.30.2.11", "fd00:172::12"), subnet="b", is_node=True),
    "v4": Host(name="v4", addresses=("172.30.2.13",), subnet="b", is_node=True),
}
AT_N1 = {"via": "172.30.1.11"}
AT_N2 = {"via": "172.30.2.11"}


def cluster(blocks: dict[str, str | None], pods: dict[str, tuple[str, ...]]) -> State:
    """A state of blocks with their nodes (None: released), and pods `name@node` with their addresses."""
    endpoints = {}
    for text, addresses in pods.items():
        name, _, node = text.partition("@")
        endpoints["a", name] = WorkloadEndpoint(
            namespace="a", pod=name, node=node, interface=f"cali-{name}", addresses=addresses, labels={}, profiles=()
        )
    return State(
        hosts=Map(HOSTS),
        endpoints=Map(endpoints),
        addresses=Map({address: (key,) for key, each in endpoints.items() for address in each.addresses}),
        blocks=Map(
            {
                cidr: Block(cidr=cidr, pool="p", affinity=node and f"host:{node}", claimed_at=0.0)
                for cidr, node in blocks.items()
            }
        ),
    )


def link(destination: str, pod: str) -> Route:
    """The route to a local pod."""
    return Route(destination, "link", interface=f"cali-{pod}")


BLOCK, OTHER, SIX = "10.0.0.0/26", "10.0.0.64/26", "fd00::/122"
CASES = [
    ("nothing", {}, {}, "n1", set()),
    ("RT-1 a remote block is one route", {BLOCK: "n2"}, {"p@n2": ("10.0.0.1",)}, "n1", {Route(BLOCK, "via", **AT_N2)}),
    ("RT-1 of IPv6 too", {SIX: "n2"}, {}, "n1", {Route(SIX, "via", via="fd00:172::12")}),
    ("a node without an address of the family is not routed to", {SIX: "v4"}, {}, "n1", set()),
    ("a node that does not exist is not routed to", {BLOCK: "gone"}, {}, "n1", set()),
    ("RT-5 a local block is a blackhole", {BLOCK: "n1"}, {}, "n1", {Route(BLOCK, "blackhole")}),
    ("RT-5 a block of one address is none", {"10.0.0.9/32": "n1"}, {}, "n1", set()),
    ("RT-4 a local pod is a link route", {BLOCK: "n1"}, {"p@n1": ("10.0.0.1",)}, "n1", {Route(BLOCK, "blackhole"), link("10.0.0.1/32", "p")}),
    ("RT-4 each of its addresses", {}, {"p@n1": ("10.0.0.1", "fd00::1")}, "n1", {link("10.0.0.1/32", "p"), link("fd00::1/128", "p")}),
    ("RT-1 a borrowed address, seen by the block's node", {BLOCK: "n1"}, {"p@n2": ("10.0.0.1",)}, "n1", {Route(BLOCK, "blackhole"), Route("10.0.0.1/32", "via", **AT_N2)}),
    ("a borrowed address, seen by its own node", {BLOCK: "n1"}, {"p@n2": ("10.0.0.1",)}, "n2", {Route(BLOCK, "via", **AT_N1), link("10.0.0.1/32", "p")}),
    ("a borrowed address, seen by a third node", {BLOCK: "n1"}, {"p@n2": ("10.0.0.1",)}, "v4", {Route(BLOCK, "via", **AT_N1), Route("10.0.0.1/32", "via", **AT_N2)}),
    ("an address outside every block", {OTHER: "n2"}, {"p@n2": ("10.0.0.1",)}, "n1", {Route(OTHER, "via", **AT_N2), Route("10.0.0.1/32", "via", **AT_N2)}),
    ("IPAM-15 a released block routes its addresses one by one", {BLOCK: None}, {"p@n2": ("10.0.0.1",)}, "n1", {Route("10.0.0.1/32", "via", **AT_N2)}),
    ("a block of one address, borrowed", {"10.0.0.9/32": "n2"}, {"p@n1": ("10.0.0.9",)}, "n2", {Route("10.0.0.9/32", "via", **AT_N1)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("blocks", "pods", "node", "routes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_routes_of_a_node(
    blocks: dict[str, str | None], pods: dict[str, tuple[str, ...]], node: str, routes: set[Route]
) -> None:
    """The routes wanted on one node."""
    assert node_routes(cluster(blocks, pods), node) == routes


def test_a_failed_node_keeps_its_routes() -> None:
    """Without a routing protocol nobody withdraws the routes to a node that failed."""
    state = cluster({BLOCK: "n2"}, {"p@n2": ("10.0.0.1",)})
    assert node_routes(replace(state, failed_nodes=frozenset({"n2"})), "n1") == node_routes(state, "n1")


def test_of_two_pods_with_one_address_the_first_to_have_it_is_routed_to() -> None:
    """A destination has one route, even where two pods are pinned to the same address."""
    state = cluster({}, {"p@n1": ("10.0.0.1",), "q@n2": ("10.0.0.1",)})
    state = replace(state, addresses=Map({"10.0.0.1": (("a", "q"), ("a", "p"))}))
    assert node_routes(state, "n1") == {Route("10.0.0.1/32", "via", **AT_N2)}
    assert node_routes(state, "n2") == {link("10.0.0.1/32", "q")}


def test_owners_of_blocks_and_of_borrowed_addresses() -> None:
    """Every destination once, with the node it is on: blocks, then addresses that are not on their block's node."""
    state = cluster({BLOCK: "n1", OTHER: "n2", SIX: "n2"}, {"p@n1": ("10.0.0.1", "fd00::1"), "q@n2": ("10.0.0.2",)})
    assert block_owners(state) == (
        (BLOCK, "n1"),
        (OTHER, "n2"),
        ("10.0.0.2/32", "n2"),
        (SIX, "n2"),
        ("fd00::1/128", "n1"),
    )


placements = st.dictionaries(
    st.integers(0, 255).map(lambda number: f"10.0.0.{number}"), st.sampled_from(["n1", "n2", "v4"]), max_size=8
)
affinities = st.dictionaries(
    st.sampled_from(["10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/25"]),
    st.sampled_from(["n1", "n2", "v4", None]),
    max_size=3,
)


@given(blocks=affinities, pods=placements)
@hypothesis_settings(deadline=None)
def test_every_pod_is_reached_from_every_node(blocks: dict[str, str | None], pods: dict[str, str]) -> None:
    """By longest prefix, a pod's address leads to its interface or towards its node (invariant 20).

    An address of a local block that nobody holds leads nowhere (invariant 24).
    """
    state = cluster(blocks, {f"p{place}@{node}": (address,) for place, (address, node) in enumerate(pods.items())})
    for node in HOSTS:
        routes = {ip_network(route.destination): route for route in node_routes(state, node)}
        for text in {*pods, "10.0.0.5", "10.0.0.77", "10.0.0.130", "10.0.0.255"}:
            address = ip_address(text)
            found = [network for network in routes if address in network]
            best = routes[max(found, key=lambda network: network.prefixlen)] if found else None
            holder = pods.get(text)
            if holder is not None:
                assert best is not None
                assert best.via == ("" if holder == node else HOSTS[holder].addresses[0])
                assert best.kind == ("link" if holder == node else "via")
            elif any(owner == node and address in ip_network(cidr) for cidr, owner in blocks.items()):
                assert best is not None
                assert best.kind == "blackhole"
