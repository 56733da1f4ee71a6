"""Addresses and CIDRs where matching is most likely to go wrong: the edges.

Everything is near a few anchors: the pools pods live in, the nodes, and documentation networks outside the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from property_tests.strategies.choices import Choices
from reference.endpoints import Family

POOLS: dict[Family, str] = {4: "10.10.0.0/24", 6: "fd00:10::/120"}
NODE_ADDRESSES: dict[str, dict[Family, str]] = {
    "node-1": {4: "172.30.1.11", 6: "fd00:30:1::11"},
    "node-2": {4: "172.30.2.11", 6: "fd00:30:2::11"},
}
HOST_ADDRESSES: dict[str, dict[Family, str]] = {
    **NODE_ADDRESSES,
    "internet": {4: "203.0.113.10", 6: "2001:db8:113::10"},
}
OUTSIDE: dict[Family, str] = {4: "203.0.113.8/30", 6: "2001:db8:113::10/126"}  # around the fabric's outside host
_PREFIXES: dict[Family, tuple[int, ...]] = {
    4: (32, 31, 30, 28, 26, 24, 16, 1, 0),
    6: (128, 127, 126, 124, 122, 120, 64, 1, 0),
}


def pod_address(family: Family, ordinal: int) -> str:
    """The pool's address number `ordinal`."""
    return str(ip_network(POOLS[family])[ordinal])


def anchors(family: Family) -> tuple[str, ...]:
    """Addresses worth naming: the pool's first (automatic assignment begins there), pinned ones, nodes, outsiders."""
    pool, outside = ip_network(POOLS[family]), ip_network(OUTSIDE[family])
    near = [str(pool[ordinal]) for ordinal in (0, 1, 2, 3, 64, 128, 200, 201, 202, 255)]
    nodes = [by_family[family] for by_family in NODE_ADDRESSES.values()]
    return (*near, str(outside[0]), str(outside[-1]), *nodes)


def cidr(choices: Choices, family: Family, *, whole: bool = True, loose: bool = False) -> str:
    """A CIDR around an anchor; /0 when `whole` (notNets refuse it, 2b.2), bare or unmasked addresses when `loose`."""
    address = choices.pick(anchors(family))
    if loose and choices.chance(20):
        return address
    prefix = choices.pick(_PREFIXES[family] if whole else _PREFIXES[family][:-1])
    network = ip_network(f"{address}/{prefix}", strict=False)
    return f"{address}/{prefix}" if loose and choices.chance(20) else str(network)


def edges(text: str) -> Iterator[str]:
    """The first and last address of a CIDR, and the ones before and after it."""
    network = ip_network(text, strict=False)
    first, last = int(network.network_address), int(network.broadcast_address)
    kind: type[IPv4Address | IPv6Address] = type(network.network_address)
    for number in (first, last, first - 1, last + 1):
        if 0 < number < 2**network.max_prefixlen - 1:
            yield str(kind(number))


def family_of(address: str) -> Family:
    """4 or 6."""
    return 4 if ip_address(address).version == 4 else 6
