"""What every cluster has before anybody applies anything, and what is made when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from reference import events as ev
from reference.endpoints import Host
from reference.plan import Plan
from reference.resources import AnyResource, HostEndpoint, IPPool, Key, Namespace, Node
from reference.resources.calico import IPPoolSpec
from reference.resources.defaults import defaulted
from reference.resources.kubernetes import NodeAddress, NodeStatus
from reference.resources.metadata import Metadata
from reference.resources.protected import PROTECTED_NAMESPACES, protected_tiers

ACTOR = "muslin"
PODS_ON_AN_OFFLINE_NODE = 1000  # on a node that nobody declared, before another one is made up
OFFLINE_SUBNET = "offline"  # where nodes stand when there is no fabric
FIRST_OFFLINE_NODE = "node-1"
_FIRST_OFFLINE_ADDRESS = IPv4Address("172.30.1.11")


def seed(plan: Plan) -> None:
    """The built-in tiers (POL-2) and namespaces."""
    for tier in protected_tiers():
        put(plan, tier)
    for name in PROTECTED_NAMESPACES:
        ensure_namespace(plan, name)


def put(plan: Plan, resource: AnyResource) -> None:
    """Make a resource nobody asked for by name."""
    plan.emit(ACTOR, ev.ResourceApplied(defaulted(resource)))


def ensure_namespace(plan: Plan, name: str) -> None:
    """Make a namespace that a manifest lives in and nobody declared."""
    if plan.progress.get(Namespace, name) is None:
        put(plan, Namespace(metadata=Metadata(name=name)))


def ensure_pools(plan: Plan) -> None:
    """Make the default pools, if there is no pool at all."""
    if plan.progress.resources.get("IPPool"):
        return
    for name, cidr in (("default-ipv4-ippool", "10.244.0.0/16"), ("default-ipv6-ippool", "fd00:10:244::/48")):
        put(plan, IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, nat_outgoing=True)))


def node_of(host: Host) -> Node:
    """The Node resource of a host that is a node."""
    return Node(
        metadata=Metadata(name=host.name, labels={"kubernetes.io/hostname": host.name, "kubernetes.io/os": "linux"}),
        status=node_status(host),
    )


def node_status(host: Host) -> NodeStatus:
    """A node's addresses, as its status shows them."""
    shown = [NodeAddress(type="InternalIP", address=address) for address in host.addresses]
    return NodeStatus(addresses=(*shown, NodeAddress(type="Hostname", address=host.name)))


def ensure_offline_node(plan: Plan, name: str, address: str = "") -> None:
    """Make a node nobody declared, offline; it gets the next free address unless one is known."""
    key = Key("Node", "", name)
    if name in plan.progress.hosts and plan.progress.find(key) is not None:
        return
    taken = any(address in host.addresses for host in plan.progress.hosts.values())
    address = next_offline_address(plan) if taken or not address else address
    host = Host(name=name, addresses=(address,), subnet=OFFLINE_SUBNET, is_node=True)
    plan.emit(ACTOR, ev.HostAttached(host))
    put(plan, node_of(host))


def ensure_offline_host(plan: Plan, endpoint: HostEndpoint) -> None:
    """Put the host a host endpoint speaks of on the map, offline, if nobody did: where it says to expect it."""
    name, addresses = endpoint.spec.node, sorted(endpoint.spec.expected_ips, key=lambda address: ":" in address)
    if name not in plan.progress.hosts and addresses:
        host = Host(name=name, addresses=tuple(addresses), subnet=OFFLINE_SUBNET, is_node=False)
        plan.emit(ACTOR, ev.HostAttached(host))


def next_offline_address(plan: Plan) -> str:
    """The next address free for a node, offline."""
    taken = {used for host in plan.progress.hosts.values() for used in host.addresses}
    return next(free for free in _offline_addresses() if free not in taken)


def _offline_addresses() -> Iterator[str]:
    address = _FIRST_OFFLINE_ADDRESS
    while True:
        yield str(address)
        address += 1
