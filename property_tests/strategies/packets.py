"""Packets that a cluster's policies may get wrong: ends of CIDRs, ends of port ranges, every pair of endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from hypothesis import strategies as st

from property_tests.strategies.addresses import OUTSIDE, edges, family_of
from property_tests.strategies.choices import Choices, drawn
from property_tests.strategies.hosts import FAILSAFE_PORTS
from property_tests.strategies.rules import ICMP_TYPES
from reference.endpoints import Family
from reference.packet import PORTED, Packet
from reference.resources import (
    EndpointSlice,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
    KubernetesNetworkPolicy,
    NetworkPolicy,
    NetworkSet,
)
from reference.resources.calico import NetworkPolicySpec, Rule
from reference.resources.kubernetes import EgressRule, IngressRule
from reference.resources.policy_api import (
    AdminEgressRule,
    AdminIngressRule,
    ClusterEgressRule,
    ClusterIngressRule,
    EgressPeer,
)
from reference.state import State

_PROTOCOLS = (6, 6, 6, 6, 17, 17, 132, 0, 0, 136, 4, 47, 255)  # 0: the family's own ICMP
_FAMILIES: tuple[Family, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class Interest:
    """The addresses and ports of a cluster worth asking about."""

    pods: dict[Family, tuple[str, ...]]  # addresses of workload endpoints
    hosts: dict[Family, tuple[str, ...]]  # addresses of nodes and outside hosts
    named: dict[Family, tuple[str, ...]]  # edges of what policies and sets name, held by anybody or nobody
    ports: tuple[int, ...]
    guarded: bool = False  # by host endpoints: then hosts among themselves are worth asking about


def interest(state: State, *, held_only: bool = False) -> Interest:
    """What to ask a cluster about. `held_only`: only addresses that answer, as a kernel needs."""
    pods = [address for endpoint in state.endpoints.values() for address in endpoint.addresses]
    hosts = [address for host in state.hosts.values() for address in host.addresses]
    edge = {address for net in _nets(state) for address in edges(net)} | set(_backends(state))
    named = set() if held_only else edge - {*pods, *hosts}
    numbers = {edge for text in _ports(state) for edge in _port_edges(text)}
    declared = {port.port for endpoint in state.endpoints.values() for port in endpoint.ports}
    guards = tuple(state.all(HostEndpoint))
    declared.update(port.port for guard in guards for port in guard.spec.ports)
    declared.update(FAILSAFE_PORTS if guards else ())
    numbered = tuple(sorted({80, 4789, *declared, *numbers}))  # CT-6
    return Interest(_by_family(pods), _by_family(hosts), _by_family(named), numbered, bool(guards))


def _by_family(addresses: Iterable[str]) -> dict[Family, tuple[str, ...]]:
    ordered = sorted(addresses)
    return {family: tuple(text for text in ordered if family_of(text) == family) for family in _FAMILIES}


def _rules(state: State) -> Iterator[Rule]:
    for spec in chain(_specs(state, NetworkPolicy), _specs(state, GlobalNetworkPolicy)):
        yield from spec.ingress
        yield from spec.egress


def _specs(state: State, kind: type[NetworkPolicy] | type[GlobalNetworkPolicy]) -> Iterator[NetworkPolicySpec]:
    return (policy.spec for policy in state.all(kind))


def _kubernetes_rules(state: State) -> Iterator[IngressRule | EgressRule]:
    for policy in state.all(KubernetesNetworkPolicy):
        yield from policy.spec.ingress or ()
        yield from policy.spec.egress or ()


def _cluster_rules(state: State) -> Iterator[ClusterIngressRule | ClusterEgressRule]:
    for policy in state.all(KubernetesClusterNetworkPolicy):
        yield from policy.spec.ingress
        yield from policy.spec.egress


def _admin_rules(state: State) -> Iterator[AdminIngressRule | AdminEgressRule]:
    for policy in state.all(KubernetesAdminNetworkPolicy):
        yield from policy.spec.ingress
        yield from policy.spec.egress
    for baseline in state.all(KubernetesBaselineAdminNetworkPolicy):
        yield from baseline.spec.ingress
        yield from baseline.spec.egress


def _cluster_nets(state: State) -> Iterator[str]:
    for rule in chain(_cluster_rules(state), _admin_rules(state)):
        for peer in rule.peers:
            if isinstance(peer, EgressPeer):
                yield from peer.networks or ()


def _cluster_ports(state: State) -> Iterator[int | str]:
    for rule in _cluster_rules(state):
        for match in rule.protocols or ():
            for transport in (match.tcp, match.udp, match.sctp):
                port = None if transport is None else transport.destination_port
                if port is not None and port.range is not None:
                    yield f"{port.range.start}:{port.range.end}"
                elif port is not None and port.number is not None:
                    yield port.number
    for admin in _admin_rules(state):
        for entry in admin.ports or ():
            if entry.port_number is not None:
                yield entry.port_number.port
            if entry.port_range is not None:
                yield f"{entry.port_range.start}:{entry.port_range.end}"


def _nets(state: State) -> Iterator[str]:
    yield from OUTSIDE.values()
    yield from _cluster_nets(state)
    for namespaced in state.all(NetworkSet):
        yield from namespaced.spec.nets
    for cluster_wide in state.all(GlobalNetworkSet):
        yield from cluster_wide.spec.nets
    for rule in _rules(state):
        for side in (rule.source, rule.destination):
            yield from side.nets
            yield from side.not_nets
    for kubernetes in _kubernetes_rules(state):
        for peer in (kubernetes.from_ if isinstance(kubernetes, IngressRule) else kubernetes.to) or ():
            if peer.ip_block is not None:
                yield peer.ip_block.cidr
                yield from peer.ip_block.except_


def _backends(state: State) -> Iterator[str]:
    for one in state.all(EndpointSlice):
        yield from (text for backend in one.endpoints for text in backend.addresses)


def _ports(state: State) -> Iterator[int | str]:
    yield from _cluster_ports(state)
    for one in state.all(EndpointSlice):
        yield from (port.port for port in one.ports if port.port is not None)
    for rule in _rules(state):
        for side in (rule.source, rule.destination):
            yield from side.ports
            yield from side.not_ports
    for kubernetes in _kubernetes_rules(state):
        for port in kubernetes.ports or ():
            if port.port is not None:
                yield port.port
            if port.end_port is not None:
                yield port.end_port


def _port_edges(port: int | str) -> Iterator[int]:
    """Both ends of a port or range, and the ports next to them; nothing for a name."""
    texts = str(port).split(":")
    if all(text.isdigit() for text in texts):
        for number in map(int, texts):
            yield from (near for near in (number - 1, number, number + 1) if 1 <= near <= 65535)


def packet(choices: Choices, about: Interest) -> Packet:
    """A packet with a pod at one end, or a host at both where host endpoints stand, in a family some pod has.

    The other end is a pod, a host, or an address at the edge of something a policy names.
    """
    family = choices.pick([family for family in _FAMILIES if about.pods[family]])
    pod = choices.pick(about.pods[family])
    crowd = [about.pods[family]] * 3 + [about.named[family]] * 2 + [about.hosts[family]]
    peer = choices.pick(choices.pick([group for group in crowd if group]))
    source, destination = (peer, pod) if choices.chance(50) else (pod, peer)
    if about.guarded and about.hosts[family] and choices.chance(40):
        source, destination = choices.pick(about.hosts[family]), choices.pick(about.hosts[family])
    protocol = choices.pick(_PROTOCOLS) or (1 if family == 4 else 58)
    if protocol in (1, 58):
        return Packet(
            source=source,
            destination=destination,
            protocol=protocol,
            source_port=0,
            icmp_type=choices.pick(ICMP_TYPES),
            icmp_code=choices.pick((0, 0, 1, 255)),
        )
    if protocol not in PORTED:
        return Packet(source=source, destination=destination, protocol=protocol, source_port=0)
    return Packet(
        source=source,
        destination=destination,
        protocol=protocol,
        source_port=choices.pick(about.ports) if choices.chance(30) else 40000,
        destination_port=choices.pick(about.ports),
    )


def has_pods(about: Interest) -> bool:
    """Report whether any packet can be made: some pod has an address."""
    return any(about.pods.values())


def packets(state: State) -> st.SearchStrategy[Packet]:
    """Packets worth asking of a state that has at least one addressed pod."""
    return drawn(packet, interest(state))
