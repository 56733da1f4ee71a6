"""Cluster-scoped Kubernetes policies, valid by construction: all peers and ports, those that fail closed too."""

from __future__ import annotations

from typing import Literal

from property_tests.strategies.addresses import cidr
from property_tests.strategies.choices import Choices
from property_tests.strategies.kubernetes import NAMESPACE_KEYS, label_selector
from property_tests.strategies.vocabulary import POD_LABELS, PORT_NAMES
from reference.endpoints import Family
from reference.resources import (
    AnyResource,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
    Metadata,
)
from reference.resources.kubernetes import LabelSelector
from reference.resources.policy_api import (
    AdminEgressRule,
    AdminIngressRule,
    AdminNetworkPolicySpec,
    AdminPort,
    AdminPortRange,
    BaselineAdminNetworkPolicySpec,
    BaselineEgressRule,
    BaselineIngressRule,
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicySpec,
    DestinationPort,
    DestinationPortRange,
    EgressPeer,
    IngressPeer,
    NamespacedPod,
    PortNumber,
    ProtocolMatch,
    Subject,
    TransportMatch,
)

_PRIORITIES = (0, 1, 1, 1000)  # few, for ties
_CLUSTER_ACTIONS: tuple[Literal["Accept", "Deny", "Pass"], ...] = ("Accept", "Deny", "Deny", "Pass")
_ADMIN_ACTIONS: tuple[Literal["Allow", "Deny", "Pass"], ...] = ("Allow", "Deny", "Deny", "Pass")
_BASELINE_ACTIONS: tuple[Literal["Allow", "Deny"], ...] = ("Allow", "Deny")
_PORTS = (80, 81, 8080, 1, 65535)
_RANGES = ((80, 82), (8080, 8090), (1, 79), (1024, 65535))


def cluster_policy(choices: Choices, name: str) -> AnyResource:
    """A policy of one of the three kinds."""
    match choices.pick(("cluster", "cluster", "admin", "baseline")):
        case "cluster":
            return _cluster(choices, name)
        case "admin":
            return _admin(choices, name)
        case _:
            return _baseline(choices)


def _cluster(choices: Choices, name: str) -> KubernetesClusterNetworkPolicy:
    return KubernetesClusterNetworkPolicy(
        metadata=Metadata(name=name),
        spec=ClusterNetworkPolicySpec(
            tier=choices.pick(("Admin", "Admin", "Baseline")),
            priority=choices.pick(_PRIORITIES),
            subject=_subject(choices),
            ingress=tuple(
                ClusterIngressRule(
                    action=choices.pick(_CLUSTER_ACTIONS), from_=_sources(choices), protocols=_protocols(choices)
                )
                for _ in range(choices.integer(0, 3))
            ),
            egress=tuple(_cluster_egress(choices) for _ in range(choices.integer(0, 3))),
        ),
    )


def _cluster_egress(choices: Choices) -> ClusterEgressRule:
    to = _destinations(choices)
    protocols = _protocols(choices, named=_all_pods(to))
    return ClusterEgressRule(action=choices.pick(_CLUSTER_ACTIONS), to=to, protocols=protocols)


def _admin(choices: Choices, name: str) -> KubernetesAdminNetworkPolicy:
    return KubernetesAdminNetworkPolicy(
        metadata=Metadata(name=name),
        spec=AdminNetworkPolicySpec(
            priority=choices.pick(_PRIORITIES),
            subject=_subject(choices),
            ingress=tuple(
                AdminIngressRule(action=choices.pick(_ADMIN_ACTIONS), from_=_sources(choices), ports=_ports(choices))
                for _ in range(choices.integer(0, 3))
            ),
            egress=tuple(_admin_egress(choices) for _ in range(choices.integer(0, 3))),
        ),
    )


def _admin_egress(choices: Choices) -> AdminEgressRule:
    to = _destinations(choices)
    return AdminEgressRule(action=choices.pick(_ADMIN_ACTIONS), to=to, ports=_ports(choices, named=_all_pods(to)))


def _baseline(choices: Choices) -> KubernetesBaselineAdminNetworkPolicy:
    return KubernetesBaselineAdminNetworkPolicy(
        metadata=Metadata(name="default"),
        spec=BaselineAdminNetworkPolicySpec(
            subject=_subject(choices),
            ingress=tuple(
                BaselineIngressRule(
                    action=choices.pick(_BASELINE_ACTIONS), from_=_sources(choices), ports=_ports(choices)
                )
                for _ in range(choices.integer(0, 3))
            ),
            egress=tuple(_baseline_egress(choices) for _ in range(choices.integer(0, 3))),
        ),
    )


def _baseline_egress(choices: Choices) -> BaselineEgressRule:
    to = _destinations(choices)
    ports = _ports(choices, named=_all_pods(to))
    return BaselineEgressRule(action=choices.pick(_BASELINE_ACTIONS), to=to, ports=ports)


def _subject(choices: Choices) -> Subject:
    if choices.chance(30):  # every pod: most rules of a policy about few are never asked
        return Subject(namespaces=LabelSelector())
    if choices.chance(50):
        return Subject(namespaces=label_selector(choices, NAMESPACE_KEYS))
    return Subject(pods=_pods(choices))


def _pods(choices: Choices) -> NamespacedPod:
    return NamespacedPod(
        pod_selector=label_selector(choices, POD_LABELS), namespace_selector=label_selector(choices, NAMESPACE_KEYS)
    )


def _sources(choices: Choices) -> tuple[IngressPeer, ...]:
    return tuple(_source(choices) for _ in range(choices.integer(1, 2)))


def _source(choices: Choices) -> IngressPeer:
    if choices.chance(50):
        return IngressPeer(namespaces=label_selector(choices, NAMESPACE_KEYS))
    return IngressPeer(pods=_pods(choices))


def _destinations(choices: Choices) -> tuple[EgressPeer, ...]:
    return tuple(_destination(choices) for _ in range(choices.integer(1, 2)))


def _destination(choices: Choices) -> EgressPeer:
    families: tuple[Family, ...] = (4, 6)
    match choices.pick(("namespaces", "pods", "networks") * 4 + ("nodes", "domains")):
        case "namespaces":
            return EgressPeer(namespaces=label_selector(choices, NAMESPACE_KEYS))
        case "pods":
            return EgressPeer(pods=_pods(choices))
        case "networks":
            nets = (cidr(choices, choices.pick(families)) for _ in range(choices.integer(1, 2)))
            return EgressPeer(networks=tuple(dict.fromkeys(nets)))
        case "nodes":
            return EgressPeer(nodes=label_selector(choices, {"zone": ("x",)}))
        case _:
            return EgressPeer(domain_names=("*.example.com",))


def _all_pods(peers: tuple[EgressPeer, ...]) -> bool:
    """Report whether ports may have names: only pods give them (K8S-12)."""
    return all(peer.namespaces is not None or peer.pods is not None for peer in peers)


def _protocols(choices: Choices, *, named: bool = True) -> tuple[ProtocolMatch, ...] | None:
    if choices.chance(40):
        return None
    return tuple(_protocol(choices, named=named) for _ in range(choices.integer(1, 3)))


def _protocol(choices: Choices, *, named: bool) -> ProtocolMatch:
    if named and choices.chance(30):
        return ProtocolMatch(destination_named_port=choices.pick(PORT_NAMES))
    if choices.chance(60):
        port = DestinationPort(number=choices.pick(_PORTS))
    else:
        start, end = choices.pick(_RANGES)
        port = DestinationPort(range=DestinationPortRange(start=start, end=end))
    transport = TransportMatch(destination_port=port)
    match choices.pick(("tcp", "tcp", "udp", "sctp")):
        case "tcp":
            return ProtocolMatch(tcp=transport)
        case "udp":
            return ProtocolMatch(udp=transport)
        case _:
            return ProtocolMatch(sctp=transport)


def _ports(choices: Choices, *, named: bool = True) -> tuple[AdminPort, ...] | None:
    if choices.chance(40):
        return None
    return tuple(_port(choices, named=named) for _ in range(choices.integer(1, 3)))


def _port(choices: Choices, *, named: bool) -> AdminPort:
    protocol: Literal["TCP", "UDP", "SCTP"] = choices.pick(("TCP", "TCP", "UDP", "SCTP"))
    if named and choices.chance(30):
        return AdminPort(named_port=choices.pick(PORT_NAMES))
    if choices.chance(60):
        return AdminPort(port_number=PortNumber(port=choices.pick(_PORTS), protocol=protocol))
    start, end = choices.pick(_RANGES)
    return AdminPort(port_range=AdminPortRange(start=start, end=end, protocol=protocol))
