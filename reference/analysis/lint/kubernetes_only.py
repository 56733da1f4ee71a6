"""Kubernetes NetworkPolicies that read otherwise than they work: MUS501 … MUS504."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from reference.analysis.lint.boxes import Box
from reference.analysis.lint.cluster_rules import ClusterRule, unknown_peers
from reference.analysis.lint.spans import common
from reference.analysis.lint.subject import WAYS, Finding, RuleFacts, Subject
from reference.resources import KubernetesNetworkPolicy
from reference.resources.faults import FieldPath
from reference.resources.kubernetes import EgressRule, IngressRule, PolicyPeer

_UDP, _DNS = 17, 53


def empty_port_entries(subject: Subject) -> Iterator[Finding]:
    """MUS501: an entry of `ports` that says neither port nor protocol (K8S-10)."""
    for rule, one in _rules(subject):
        for index, port in enumerate(one.ports or ()):
            path = (*rule.path, "ports", index)
            if port.port is None and subject.spelled(rule.policy.key, (*path, "protocol")) is False:
                yield subject.finding(
                    "MUS501", rule.policy.key, path,
                    "it means every TCP port and nothing else; take ports out to mean any protocol, or say protocol: "
                    "TCP",
                )  # fmt: skip


def separate_selectors(subject: Subject) -> Iterator[Finding]:
    """MUS502: a lone namespaceSelector followed by a lone podSelector in the same list (K8S-9)."""
    for rule, one in _rules(subject):
        field, peers = _peers(one)
        for index, (first, second) in enumerate(pairwise(peers), 1):
            if _only_namespaces(first) and _only_pods(second):
                yield subject.finding(
                    "MUS502", rule.policy.key, (*rule.path, field, index),
                    "these are two alternatives: every pod of those namespaces, or such pods of namespace "
                    f"{rule.policy.namespace}; to mean such pods of those namespaces write both in one entry, without "
                    "the second dash",
                )  # fmt: skip


def _only_namespaces(peer: PolicyPeer) -> bool:
    return peer.namespace_selector is not None and peer.pod_selector is None


def _only_pods(peer: PolicyPeer) -> bool:
    return peer.pod_selector is not None and peer.namespace_selector is None


def empty_lists(subject: Subject) -> Iterator[Finding]:
    """MUS503: `from: []`, `to: []` and `ports: []` (K8S-9, K8S-10)."""
    for rule, one in _rules(subject):
        field, _ = _peers(one)
        found: list[tuple[FieldPath, object, str]] = [
            ((*rule.path, field), one.from_ if isinstance(one, IngressRule) else one.to, "everybody"),
            ((*rule.path, "ports"), one.ports, "every port of every protocol"),
        ]
        for path, value, meaning in found:
            if value == ():
                yield subject.finding(
                    "MUS503", rule.policy.key, path,
                    f"empty means {meaning}; take the field out if that is meant, or the rule if nothing shall match",
                )  # fmt: skip


def egress_without_dns(subject: Subject) -> Iterator[Finding]:
    """MUS504: a policy with egress rules, none of which lets UDP port 53 out of any of its endpoints (POL-13)."""
    for policy in subject.policies:
        if not isinstance(policy.resource, KubernetesNetworkPolicy) or not policy.rules("egress"):
            continue
        if "egress" not in policy.governs or _asks_names(subject, policy.namespace):
            continue
        yield subject.finding(
            "MUS504", policy.key, ("spec", "egress"),
            "no egress rule of this namespace lets UDP port 53 out, so these pods resolve no names; add a rule for it "
            "if they need to",
        )  # fmt: skip


def _asks_names(subject: Subject, namespace: str) -> bool:
    """Report whether any rule for the namespace's egress lets a DNS query out."""
    return any(
        rule.action in ("Allow", "Pass") and (rule.rule is None or any(map(_carries_dns, rule.boxes)))
        for other in subject.policies
        if other.namespace in ("", namespace) and "egress" in other.governs
        for rule in other.rules("egress")
    )


def _carries_dns(box: Box) -> bool:
    return bool(common(box.protocols, ((_UDP, _UDP),)) and common(box.destination_ports, ((_DNS, _DNS),)))


def unknown_kinds_of_peers(subject: Subject) -> Iterator[Finding]:
    """MUS505: peers `nodes` and `domainNames`, with which a rule fails closed (K8S-12)."""
    for policy in subject.policies:
        for way in WAYS:
            for rule in policy.rules(way):
                for place in unknown_peers(rule.rule) if isinstance(rule.rule, ClusterRule) else ():
                    effect = "accepts nothing" if rule.action == "Allow" else "denies everything"
                    yield subject.finding(
                        "MUS505", policy.key, (*rule.path, "to", place),
                        f"Calico knows no peers by node or domain name, so the whole rule {effect}; use namespaces, "
                        "pods or networks",
                    )  # fmt: skip


def _rules(subject: Subject) -> Iterator[tuple[RuleFacts, IngressRule | EgressRule]]:
    for policy in subject.policies:
        for rule in policy.all_rules:
            if isinstance(rule.rule, IngressRule | EgressRule):
                yield rule, rule.rule


def _peers(one: IngressRule | EgressRule) -> tuple[str, tuple[PolicyPeer, ...]]:
    return ("from", one.from_ or ()) if isinstance(one, IngressRule) else ("to", one.to or ())
