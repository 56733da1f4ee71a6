"""The kinds of policy.networking.k8s.io, as their API checks them (K8S-12).

Its limits differ by version: a ClusterNetworkPolicy has at most 25 rules a direction, an AdminNetworkPolicy 100.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from reference.resources.addresses import parse_cidr
from reference.resources.faults import FieldPath, fail, parsed, shown
from reference.resources.names import port_name
from reference.resources.policy_api import (
    AdminEgressRule,
    AdminIngressRule,
    AdminPort,
    ClusterEgressRule,
    ClusterIngressRule,
    DestinationPort,
    EgressPeer,
    IngressPeer,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
    NamespacedPod,
    ProtocolMatch,
    Subject,
)
from reference.resources.validation_kubernetes import check_label_selector

ClusterPolicy = KubernetesClusterNetworkPolicy | KubernetesAdminNetworkPolicy | KubernetesBaselineAdminNetworkPolicy
_Rule = ClusterIngressRule | ClusterEgressRule | AdminIngressRule | AdminEgressRule
_HIGHEST_PRIORITY = 1000
_MAX_NAME = 100
_MAX_NETWORKS = 25
_DOMAIN = re.compile(r"(\*\.)?([a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?")


def check_cluster_policy(policy: ClusterPolicy) -> None:
    """Priority, subject and every rule.

    Raises:
        FieldError: the first thing wrong.
    """
    spec = policy.spec
    if isinstance(policy, KubernetesBaselineAdminNetworkPolicy):
        if policy.name != "default":
            fail(("metadata", "name"), f"{shown(policy.name)}; there is one BaselineAdminNetworkPolicy, named default")
    elif not 0 <= policy.spec.priority <= _HIGHEST_PRIORITY:
        fail(("spec", "priority"), f"{policy.spec.priority} is not a priority from 0 to {_HIGHEST_PRIORITY}")
    most = 25 if isinstance(policy, KubernetesClusterNetworkPolicy) else 100
    check = _Checks(most, namespaces_required=not isinstance(policy, KubernetesClusterNetworkPolicy))
    check.pods(spec.subject, ("spec", "subject"))
    check.rules(spec.ingress, ("spec", "ingress"))
    check.rules(spec.egress, ("spec", "egress"))


class _Checks:
    """The checks of one API version: how many of everything, and whether pods need their namespaceSelector."""

    def __init__(self, most: int, *, namespaces_required: bool) -> None:
        self._most = most
        self._namespaces_required = namespaces_required

    def rules(self, rules: Sequence[_Rule], path: FieldPath) -> None:
        self._count(rules, path, "rules")
        for index, rule in enumerate(rules):
            self._rule(rule, (*path, index))

    def _rule(self, rule: _Rule, path: FieldPath) -> None:
        if len(rule.name) > _MAX_NAME:
            fail((*path, "name"), f"{len(rule.name)} characters; at most {_MAX_NAME}")
        peers: Sequence[IngressPeer | EgressPeer] = rule.peers
        where = (*path, "from" if isinstance(rule, (ClusterIngressRule, AdminIngressRule)) else "to")
        if not peers:
            fail(where, "an empty list; name a peer, namespaces: {} for every pod")
        self._count(peers, where, "peers")
        for index, peer in enumerate(peers):
            self._peer(peer, (*where, index))
        names = self._ports(rule, path)
        outside = next((peer for peer in peers if isinstance(peer, EgressPeer) and _is_outside(peer)), None)
        if names and outside is not None:
            fail(names[0], "a port has a name only at a pod; networks, nodes and domainNames are no pods")

    def _ports(self, rule: _Rule, path: FieldPath) -> list[FieldPath]:
        """Check a rule's ports, and return where the named ones are."""
        if isinstance(rule, (ClusterIngressRule, ClusterEgressRule)):
            self._list(rule.protocols, (*path, "protocols"), "protocols")
            entries = [_check_protocol(p, (*path, "protocols", i)) for i, p in enumerate(rule.protocols or ())]
        else:
            self._list(rule.ports, (*path, "ports"), "ports")
            entries = [_check_admin_port(port, (*path, "ports", i)) for i, port in enumerate(rule.ports or ())]
        return [named for named in entries if named is not None]

    def _peer(self, peer: IngressPeer | EgressPeer, path: FieldPath) -> None:
        self.pods(peer, path)
        if isinstance(peer, EgressPeer):
            check_label_selector(peer.nodes, (*path, "nodes"))
            _check_networks(peer.networks, (*path, "networks"))
            _check_domains(peer.domain_names, (*path, "domainNames"))

    def pods(self, picks: Subject | IngressPeer | EgressPeer, path: FieldPath) -> None:
        """Exactly one of the fields, and the selectors of pods."""
        fields: dict[str, object] = {"namespaces": picks.namespaces, "pods": picks.pods}
        if isinstance(picks, EgressPeer):
            fields |= {"networks": picks.networks, "nodes": picks.nodes, "domainNames": picks.domain_names}
        _exactly_one(fields, path)
        check_label_selector(picks.namespaces, (*path, "namespaces"))
        if picks.pods is not None:
            self._namespaced_pod(picks.pods, (*path, "pods"))

    def _namespaced_pod(self, pods: NamespacedPod, path: FieldPath) -> None:
        if pods.namespace_selector is None and self._namespaces_required:
            fail((*path, "namespaceSelector"), "required, but missing; {} is every namespace")
        check_label_selector(pods.namespace_selector, (*path, "namespaceSelector"))
        check_label_selector(pods.pod_selector, (*path, "podSelector"))

    def _list(self, entries: Sequence[object] | None, path: FieldPath, what: str) -> None:
        if entries is not None and not entries:
            fail(path, "an empty list; leave the field out to match every packet")
        self._count(entries or (), path, what)

    def _count(self, entries: Sequence[object], path: FieldPath, what: str) -> None:
        if len(entries) > self._most:
            fail(path, f"{len(entries)} {what}; at most {self._most}")


def _is_outside(peer: EgressPeer) -> bool:
    return any(field is not None for field in (peer.networks, peer.nodes, peer.domain_names))


def _exactly_one(fields: Mapping[str, object], path: FieldPath) -> str:
    """The name of the one field that is given; it is a fault when there is another one, or none."""
    given = [name for name, value in fields.items() if value is not None]
    if len(given) != 1:
        said = f"{' and '.join(given)} are given" if given else "nothing is given"
        fail(path, f"{said}; give exactly one of {', '.join(fields)}")
    return given[0]


def _check_protocol(entry: ProtocolMatch, path: FieldPath) -> FieldPath | None:
    """Check an entry of `protocols`; where its port name is, if it has one."""
    name = entry.destination_named_port
    transports = {"tcp": entry.tcp, "udp": entry.udp, "sctp": entry.sctp}
    given = _exactly_one({**transports, "destinationNamedPort": name}, path)
    if name is not None:
        return _check_port_name(name, (*path, "destinationNamedPort"))
    transport = transports[given]
    if transport is not None:
        _check_destination_port(transport.destination_port, (*path, given, "destinationPort"))
    return None


def _check_destination_port(port: DestinationPort, path: FieldPath) -> None:
    _exactly_one({"number": port.number, "range": port.range}, path)
    if port.number is not None:
        _check_number(port.number, (*path, "number"))
    elif port.range is not None:
        _check_range(port.range.start, port.range.end, (*path, "range"))


def _check_admin_port(entry: AdminPort, path: FieldPath) -> FieldPath | None:
    """Check an entry of `ports`; where its name is, if it has one."""
    _exactly_one({"portNumber": entry.port_number, "portRange": entry.port_range, "namedPort": entry.named_port}, path)
    if entry.port_number is not None:
        _check_number(entry.port_number.port, (*path, "portNumber", "port"))
    if entry.port_range is not None:
        _check_range(entry.port_range.start, entry.port_range.end, (*path, "portRange"))
    return None if entry.named_port is None else _check_port_name(entry.named_port, (*path, "namedPort"))


def _check_port_name(name: str, path: FieldPath) -> FieldPath:
    problem = port_name(name)
    if problem:
        fail(path, problem)
    return path


def _check_range(start: int, end: int, path: FieldPath) -> None:
    _check_number(start, (*path, "start"))
    _check_number(end, (*path, "end"))
    if start >= end:
        fail((*path, "end"), f"{end} is not above start {start}")


def _check_number(port: int, path: FieldPath) -> None:
    if not 1 <= port <= 65535:
        fail(path, f"{port} is not a port from 1 to 65535")


def _check_networks(networks: tuple[str, ...] | None, path: FieldPath) -> None:
    if networks is None:
        return
    if not networks:
        fail(path, "an empty list; name a CIDR")
    if len(networks) > _MAX_NETWORKS:
        fail(path, f"{len(networks)} CIDRs; at most {_MAX_NETWORKS}")
    for index, text in enumerate(networks):
        parsed(lambda text: parse_cidr(text, host_bits=True), text, (*path, index))
        if text in networks[:index]:
            fail((*path, index), f"{text} is there twice")


def _check_domains(names: tuple[str, ...] | None, path: FieldPath) -> None:
    if names is None:
        return
    if not names:
        fail(path, "an empty list; name a domain")
    if len(names) > _MAX_NETWORKS:
        fail(path, f"{len(names)} names; at most {_MAX_NETWORKS}")
    for index, name in enumerate(names):
        if not _DOMAIN.fullmatch(name):
            fail((*path, index), f"{shown(name)} is not a domain such as example.com or *.example.com")
        if name in names[:index]:
            fail((*path, index), f"{name} is there twice")
