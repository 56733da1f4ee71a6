"""The routes a state asks for on its nodes and between them, without encapsulation (RT-1, RT-4, RT-5, WL-4).

Blocks are routed as wholes to the node they are affine to; an address used by another node than its block's, or one
outside every block, has a route of its own to the node of its pod. A failed node keeps its routes: without a routing
protocol nobody withdraws them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Literal, NamedTuple

from immutables import Map

from reference.endpoints import Host
from reference.ipam.blocks import Block
from reference.state import State

_AFFINITY = "host:"
_PLACEMENTS_KEPT = 4
_ROUTES_KEPT = 64  # of nodes in the last few states


@dataclass(frozen=True, slots=True)
class Route:
    """A route of one node: to another node, to a local pod, or one that discards what no pod holds."""

    destination: str  # CIDR
    kind: Literal["via", "link", "blackhole", "throw"]
    via: str = ""  # the gateway's address, for `via`
    interface: str = ""  # for `link`


class _Net(NamedTuple):
    """A CIDR as numbers."""

    version: int
    prefix: int
    number: int
    text: str
    width: int

    @property
    def is_single(self) -> bool:
        return self.prefix == self.width


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where blocks and addresses are; the same for every node."""

    owners: dict[str, str]  # destination -> node, most specific truth per destination
    versions: dict[str, int]  # destination -> 4 or 6
    links: dict[str, dict[str, str]]  # node -> destination -> interface
    own_blocks: dict[str, tuple[str, ...]]  # node -> its blocks of more than one address


def node_routes(state: State, node: str) -> frozenset[Route]:
    """The routes wanted on a node, of both families.

    A destination whose node has no address of its family has no route. Failed nodes are routed to as ever.
    """
    return _node_routes(_Same(state, state.hosts), node)


@lru_cache(maxsize=_ROUTES_KEPT)
def _node_routes(same: _Same, node: str) -> frozenset[Route]:
    state = same.state
    placement = _placement(_Same(state))
    links = placement.links.get(node, {})
    wanted = {Route(destination, "link", interface=interface) for destination, interface in links.items()}
    wanted.update(Route(block, "blackhole") for block in placement.own_blocks.get(node, ()))
    for destination, owner in placement.owners.items():
        if owner != node:
            gateway = _gateway(state.hosts.get(owner), placement.versions[destination])
            if gateway:
                wanted.add(Route(destination, "via", via=gateway))
    return frozenset(wanted)


def block_owners(state: State) -> tuple[tuple[str, str], ...]:
    """Every destination in the cluster and its node: blocks, then borrowed and outlying addresses as /32 or /128.

    Each destination once, ordered by family, prefix length and address. What is between the nodes programs its routes
    from this.
    """
    owners = _placement(_Same(state)).owners
    return tuple((destination, owners[destination]) for destination in sorted(owners, key=_net))


def _gateway(host: Host | None, version: int) -> str:
    addresses = () if host is None else host.addresses
    return next((address for address in addresses if (6 if ":" in address else 4) == version), "")


class _Same:
    """A state by the maps a placement is made of, and others, compared by identity: by value would cost too much."""

    def __init__(self, state: State, *others: Map[Any, Any]) -> None:
        self.state = state
        self.parts = (state.blocks, state.addresses, state.endpoints, *others)

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.parts)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and (
            len(self.parts) == len(other.parts) and all(map(operator.is_, self.parts, other.parts))
        )


@lru_cache(maxsize=_PLACEMENTS_KEPT)
def _placement(same: _Same) -> _Placement:
    state = same.state
    affine = dict(_affine_blocks(state.blocks))
    owners = {net.text: node for net, node in affine.items()}
    versions = {net.text: net.version for net in affine}
    links: dict[str, dict[str, str]] = {}
    lengths = sorted({(net.version, net.prefix) for net in affine}, reverse=True)
    affine_by_place = {net[:3]: node for net, node in affine.items()}
    for text, keys in state.addresses.items():
        address, endpoint = _net(text), state.endpoints[keys[0]]  # of several holders, the first to have it
        links.setdefault(endpoint.node, {})[address.text] = endpoint.interface
        if _block_node(address, lengths, affine_by_place) != endpoint.node:
            owners[address.text] = endpoint.node
            versions[address.text] = address.version
    own: dict[str, list[str]] = {}
    for net, node in affine.items():
        if not net.is_single:
            own.setdefault(node, []).append(net.text)
    return _Placement(owners, versions, links, {node: tuple(blocks) for node, blocks in own.items()})


def _affine_blocks(blocks: Map[str, Block]) -> Iterator[tuple[_Net, str]]:
    """The blocks that have a node, and that node; a released block's addresses are routed one by one."""
    for block in blocks.values():
        if block.affinity is not None and block.affinity.startswith(_AFFINITY):
            yield _net(block.cidr), block.affinity.removeprefix(_AFFINITY)


def _block_node(address: _Net, lengths: list[tuple[int, int]], affine: dict[tuple[int, int, int], str]) -> str | None:
    """The node of the block an address is in."""
    for version, prefix in lengths:
        if version == address.version:
            shift = address.width - prefix
            node = affine.get((version, prefix, address.number >> shift << shift))
            if node is not None:
                return node
    return None


@lru_cache(maxsize=262144)
def _net(text: str) -> _Net:
    network = ip_network(text, strict=False)
    number = int(network.network_address)
    return _Net(network.version, network.prefixlen, number, str(network), network.max_prefixlen)
