"""Who a node's WireGuard devices talk to and what they carry, as pure functions of the state (2i, WG-2 to WG-8).

Calico's layout: one device per family, `wireguard.cali` for IPv4 pod traffic and `wg-v6.cali` for IPv6, each with a
port, a routing table and an endpoint of its own family. Calico gives each device a key; here a node publishes one key,
and both of its devices use it.

Differences that are meant:
- A node whose *own* key is not usable (none, zero, or claimed by another node too) programs no peers at all. Calico
  judges only the remote side, and such a node would then encrypt towards peers that do not know it.
- The device has no address, and packets of the node itself stay outside the tunnel: without host encryption they are
  not encrypted (WG-8), and a tunnel address would only be there for them (WG-6).
- A failed node stays a peer, as a Node object stays: only its link is down.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network
from typing import Literal

import msgspec

from encryption.keys import is_public_key
from reference.endpoints import Family
from reference.state import State

FWMARK = 0x00200000  # on the devices' own UDP packets, so that they use the main table (WG-4)
RULE_PRIORITY = 99  # WG-4
LOCAL_RULE_PRIORITY = 98  # packets of the node itself stay in the main table (WG-8)


class DeviceSpec(msgspec.Struct, frozen=True):
    """What is fixed about the device of one family (WG-4, WG-7)."""

    family: Family
    name: str
    port: int
    table: int
    overhead: int  # bytes a packet grows by, with the outer IP header


DEVICES: dict[Family, DeviceSpec] = {
    4: DeviceSpec(4, "wireguard.cali", 51820, 1, 60),
    6: DeviceSpec(6, "wg-v6.cali", 51821, 2, 80),
}


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A remote node, as a device is told about it (WG-3)."""

    public_key: str
    address: str  # of the endpoint: the node's, on the fabric
    port: int
    allowed: tuple[str, ...]  # canonical CIDRs, sorted: the only ones it may send from, and is sent


class TableRoute(msgspec.Struct, frozen=True):
    """A line of a device's routing table (WG-5)."""

    cidr: str
    kind: Literal["device", "throw"]


def family_of(cidr: str) -> Family:
    """4 or 6."""
    return 6 if ":" in cidr else 4


def encrypting_nodes(state: State, family: Family) -> tuple[str, ...]:
    """The nodes that can be peers: an address of the family and a key that no other node claims (WG-2), in order."""
    if state.encryption != "wireguard":
        return ()
    nodes = [name for name, host in state.hosts.items() if host.is_node]
    claims = Counter(state.public_keys.get(name, "") for name in nodes)
    return tuple(
        name
        for name in sorted(nodes)
        if claims[key := state.public_keys.get(name, "")] == 1
        and is_public_key(key)
        and node_address(state, name, family) is not None
    )


def node_address(state: State, node: str, family: Family) -> str | None:
    """A node's first address of a family on the fabric."""
    return next((a for a in state.hosts[node].addresses if family_of(a) == family), None)


def workload_cidrs(state: State, family: Family) -> dict[str, tuple[str, ...]]:
    """What is routed to each node's pods: its blocks, and single addresses its pods hold outside of them (WG-3)."""
    inputs = state.hosts, state.blocks, state.endpoints
    remembered = _last.get(family)
    if remembered is None or any(a is not b for a, b in zip(remembered[0], inputs, strict=True)):
        remembered = _last[family] = inputs, _workload_cidrs(state, family)
    return remembered[1]


# Every node of a cluster asks the same of the same state, and most events touch none of this.
_last: dict[Family, tuple[tuple[object, ...], dict[str, tuple[str, ...]]]] = {}


def _workload_cidrs(state: State, family: Family) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {name: set() for name, host in state.hosts.items() if host.is_node}
    owners: dict[tuple[int, int], str] = {}  # by number of low bits, and the bits above
    bits = 32 if family == 4 else 128
    for cidr, block in state.blocks.items():
        if block.affinity is not None and family_of(cidr) == family:
            node, network = block.affinity.removeprefix("host:"), ip_network(cidr)
            low = bits - network.prefixlen
            owners[low, int(network.network_address) >> low] = node
            found.setdefault(node, set()).add(str(network))
    sizes = sorted({low for low, _ in owners})
    for endpoint in state.endpoints.values():
        for address in endpoint.addresses:
            if family_of(address) == family:
                number = int(ip_address(address))
                if endpoint.node not in {owners.get((low, number >> low)) for low in sizes}:
                    found.setdefault(endpoint.node, set()).add(f"{address}/{bits}")
    return {node: _in_order(cidrs) for node, cidrs in found.items()}


def _in_order(cidrs: set[str]) -> tuple[str, ...]:
    return tuple(sorted(cidrs, key=lambda c: (ip_address(c.partition("/")[0]).packed, c)))


def peers(state: State, node: str, family: Family) -> tuple[Peer, ...]:
    """The peers of a node's device, in the order of their nodes' names (WG-2, WG-3). Pure."""
    able = encrypting_nodes(state, family)
    if node not in able:
        return ()
    cidrs = workload_cidrs(state, family)
    return tuple(
        Peer(
            public_key=state.public_keys[name],
            address=node_address(state, name, family) or "",
            port=DEVICES[family].port,
            allowed=cidrs[name],
        )
        for name in able
        if name != node
    )


def wireguard_routes(state: State, node: str, family: Family) -> tuple[TableRoute, ...]:
    """The device's routing table: peers' CIDRs by the device, the rest of the pods' thrown back to main (WG-5)."""
    able = encrypting_nodes(state, family)
    if node not in able:
        return ()
    return tuple(
        TableRoute(cidr, "device" if name in able and name != node else "throw")
        for name, cidrs in sorted(workload_cidrs(state, family).items())
        for cidr in cidrs
    )
