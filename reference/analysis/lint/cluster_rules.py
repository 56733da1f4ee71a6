"""Cluster-scoped Kubernetes policies (K8S-12): whom they are about, and their rules as boxes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from reference.analysis.lint.boxes import ALL_ADDRESSES, ALL_PORTS, FAMILIES, Box, End, Way, net_spans, peer_box
from reference.analysis.lint.labels import ANY_POD, EVERYTHING, NAMESPACE, every, label_selector, of_namespaces
from reference.analysis.lint.spans import Spans
from reference.endpoints import Family
from reference.packet import PROTOCOLS
from reference.resources import (
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
)
from reference.resources.policy_api import (
    AdminEgressRule,
    AdminIngressRule,
    AdminPort,
    ClusterEgressRule,
    ClusterIngressRule,
    EgressPeer,
    IngressPeer,
    ProtocolMatch,
    Subject,
)
from reference.selectors import Has, Node

ClusterPolicy = KubernetesClusterNetworkPolicy | KubernetesAdminNetworkPolicy | KubernetesBaselineAdminNetworkPolicy
ClusterRule = ClusterIngressRule | ClusterEgressRule | AdminIngressRule | AdminEgressRule
_Port = tuple[Spans | None, Spans, str]  # protocol (None: any), numbers, name
_ANY_PORT: _Port = (None, ALL_PORTS, "")
_ACTIONS = {"Accept": "Allow"}


def cluster_scope(policy: ClusterPolicy) -> Node:
    """The pods a policy is about."""
    return _pods(policy.spec.subject)


def cluster_action(rule: ClusterRule) -> str:
    """What a match does; a rule with a peer nobody knows denies, if it does not accept."""
    action = _ACTIONS.get(rule.action, rule.action)
    return "Deny" if unknown_peers(rule) and action == "Pass" else action


def unknown_peers(rule: ClusterRule) -> list[int]:
    """The places of peers of a kind that Calico does not know: `nodes` and `domainNames`."""
    return [
        place
        for place, peer in enumerate(rule.peers)
        if isinstance(peer, EgressPeer) and (peer.nodes is not None or peer.domain_names)
    ]


def cluster_boxes(rule: ClusterRule, way: Way) -> list[Box]:
    """What a rule matches: any of its peers on any of its ports. One that fails closed matches all, or nothing."""
    if unknown_peers(rule):
        whole = [Box(family, sources=ALL_ADDRESSES[family], destinations=ALL_ADDRESSES[family]) for family in FAMILIES]
        return [] if cluster_action(rule) == "Allow" else whole
    far: End = "source" if way == "ingress" else "destination"
    peers: tuple[IngressPeer | EgressPeer, ...] = rule.peers
    ports = list(_ports(rule)) or [_ANY_PORT]
    found = (
        peer_box(family, far, cluster_peer(peer, rule), _networks(peer, family), port, ANY_POD)
        for family, peer, port in product(FAMILIES, peers, ports)
    )
    return [box for box in found if not box.is_empty]


def cluster_peer(peer: IngressPeer | EgressPeer, rule: ClusterRule) -> Node | None:
    """Who a peer picks; None for networks."""
    if isinstance(peer, EgressPeer) and peer.networks is not None:
        return None
    if isinstance(rule, ClusterIngressRule) and peer.namespaces is not None:
        # Whatever lives there, pods or not; with {} that is anything in any namespace (K8S-12).
        return of_namespaces(peer.namespaces, Has(NAMESPACE))
    return _pods(peer)


def _pods(picker: Subject | IngressPeer | EgressPeer) -> Node:
    if picker.namespaces is not None:
        return every((ANY_POD, of_namespaces(picker.namespaces, EVERYTHING)))
    assert picker.pods is not None, "validation lets one of the two through"
    there = picker.pods.namespace_selector
    namespaces = EVERYTHING if there is None else of_namespaces(there, EVERYTHING)
    return every((ANY_POD, namespaces, label_selector(picker.pods.pod_selector)))


def _networks(peer: IngressPeer | EgressPeer, family: Family) -> Spans:
    if isinstance(peer, EgressPeer) and peer.networks is not None:
        return net_spans(peer.networks, family)
    return ALL_ADDRESSES[family]


def _ports(rule: ClusterRule) -> Iterator[_Port]:
    if isinstance(rule, ClusterIngressRule | ClusterEgressRule):
        for match in rule.protocols or ():
            yield from _of_protocol(match)
    else:
        yield from map(_of_port, rule.ports or ())


def _of_protocol(match: ProtocolMatch) -> Iterator[_Port]:
    for name, transport in (("TCP", match.tcp), ("UDP", match.udp), ("SCTP", match.sctp)):
        if transport is not None:
            port = transport.destination_port
            low, high = (port.range.start, port.range.end) if port.range else (port.number or 0, port.number or 0)
            yield _protocol(name), ((low, high),), ""
    if match.destination_named_port is not None:
        yield None, ALL_PORTS, match.destination_named_port


def _of_port(port: AdminPort) -> _Port:
    if port.port_number is not None:
        return _protocol(port.port_number.protocol), ((port.port_number.port, port.port_number.port),), ""
    if port.port_range is not None:
        return _protocol(port.port_range.protocol), ((port.port_range.start, port.port_range.end),), ""
    return None, ALL_PORTS, port.named_port or ""


def _protocol(name: str) -> Spans:
    return ((PROTOCOLS[name], PROTOCOLS[name]),)
