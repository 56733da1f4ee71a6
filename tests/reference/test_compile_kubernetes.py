"""Kubernetes policies on the compiler's road (K8S-6 to K8S-11)."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml

from reference.program import kubernetes
from reference.program.policies import compile_policy
from reference.resources import KubernetesNetworkPolicy, Metadata
from reference.resources.calico import EntityRule
from reference.resources.kubernetes import KubernetesNetworkPolicySpec, LabelSelector, PolicyPeer, PolicyPort
from reference.selectors import parse

POD = "projectcalico.org/orchestrator == 'k8s'"


def policy(text: str) -> KubernetesNetworkPolicy:
    """The policy shop/p with this spec."""
    spec = msgspec.convert(yaml.safe_load(text), KubernetesNetworkPolicySpec)
    return KubernetesNetworkPolicy(metadata=Metadata(name="p", namespace="shop"), spec=spec)


SELECTORS = [
    ("empty", "{}", "all()"),
    ("labels by key", "{matchLabels: {b: '2', a: '1'}}", "a == '1' && b == '2'"),
    ("In", "{matchExpressions: [{key: a, operator: In, values: [x, y]}]}", "a in {'x', 'y'}"),
    ("NotIn", "{matchExpressions: [{key: a, operator: NotIn, values: [x]}]}", "a not in {'x'}"),
    ("Exists", "{matchExpressions: [{key: a, operator: Exists}]}", "has(a)"),
    ("DoesNotExist", "{matchExpressions: [{key: a, operator: DoesNotExist}]}", "! has(a)"),
    ("labels, then expressions in order", "{matchExpressions: [{key: z, operator: Exists}, {key: b, operator: Exists}], matchLabels: {q: ''}}", "q == '' && has(z) && has(b)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "selector"), [case[1:] for case in SELECTORS], ids=[case[0] for case in SELECTORS])
def test_label_selectors(text: str, selector: str) -> None:
    """K8S-7: a label selector in Calico's language."""
    converted = kubernetes.selector_text(msgspec.convert(yaml.safe_load(text), LabelSelector))
    assert parse(converted) == parse(selector)


PEERS = [
    ("podSelector stays in the namespace", "{podSelector: {matchLabels: {a: x}}}", EntityRule(selector=f"{POD} && a == 'x'")),
    ("an empty podSelector is the namespace's pods", "{podSelector: {}}", EntityRule(selector=f"{POD} && all()")),
    ("namespaceSelector alone is all their pods", "{namespaceSelector: {matchLabels: {t: x}}}", EntityRule(selector=f"{POD} && all()", namespace_selector="t == 'x'")),
    ("an empty namespaceSelector is all namespaces", "{namespaceSelector: {}}", EntityRule(selector=f"{POD} && all()", namespace_selector="all()")),
    ("both are ANDed", "{podSelector: {matchLabels: {a: x}}, namespaceSelector: {}}", EntityRule(selector=f"{POD} && a == 'x'", namespace_selector="all()")),
    ("an ipBlock with exceptions", "{ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16]}}", EntityRule(nets=("10.1.2.3/8",), not_nets=("10.1.0.0/16",))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "entity"), [case[1:] for case in PEERS], ids=[case[0] for case in PEERS])
def test_peers(text: str, entity: EntityRule) -> None:
    """K8S-9: a peer as an entity; by label it is always a pod."""
    assert kubernetes.peer_entity(msgspec.convert(yaml.safe_load(text), PolicyPeer)) == entity


PORTS: list[tuple[str, str, list[tuple[str | None, list[int | str]]]]] = [
    ("absent: any protocol", "null", [(None, [])]),
    ("empty: any protocol", "[]", [(None, [])]),
    ("an empty entry: all TCP", "[{}]", [("TCP", [])]),
    ("an entry without port absorbs those before", "[{port: 80}, {protocol: TCP}]", [("TCP", [])]),
    ("and those after", "[{protocol: TCP}, {port: 80}]", [("TCP", [])]),
    ("a range", "[{port: 80, endPort: 90}]", [("TCP", ["80:90"])]),
    ("a name", "[{port: http}]", [("TCP", ["http"])]),
    ("protocols by name", "[{port: 53, protocol: UDP}, {port: 1, protocol: SCTP}, {port: 53}]", [("SCTP", [1]), ("TCP", [53]), ("UDP", [53])]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in PORTS], ids=[case[0] for case in PORTS])
def test_ports(text: str, expected: list[tuple[str | None, list[int | str]]]) -> None:
    """K8S-10: the ports of a rule by protocol."""
    entries = msgspec.convert(yaml.safe_load(text), tuple[PolicyPort, ...] | None)
    assert [(protocol, list(ports)) for protocol, ports in kubernetes.ports_by_protocol(entries)] == expected


def test_one_rule_per_protocol_and_peer_with_the_index_of_the_users() -> None:
    """K8S-10: a rule of two protocols and two peers is four, all with its index and destination ports."""
    compiled = compile_policy(
        policy(
            "{ingress: [{}, {ports: [{port: 80}, {port: 53, protocol: UDP}], from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]}"
        )
    )
    assert compiled is not None
    rules = [
        (rule.index, rule.match.protocol, bool(rule.match.source_sets), rule.match.source_nets)
        for rule in compiled.program.ingress
    ]
    assert rules == [
        (0, None, False, ()),
        (1, 6, True, ()),
        (1, 6, False, ("10.0.0.0/8",)),
        (1, 17, True, ()),
        (1, 17, False, ("10.0.0.0/8",)),
    ]
    assert all(rule.match.destination_ports for rule in compiled.program.ingress[1:])


def test_egress_peers_are_destinations_with_the_ports() -> None:
    """K8S-10: in egress, the peer and the ports are both the destination's."""
    compiled = compile_policy(
        policy("{policyTypes: [Egress], egress: [{ports: [{port: 80}], to: [{podSelector: {}}]}]}")
    )
    assert compiled is not None
    (rule,) = compiled.program.egress
    assert rule.match.destination_sets
    assert rule.match.destination_ports
    assert not rule.match.source_sets


TYPES = [
    ("absent, no egress rules", "{}", (True, False)),
    ("absent, egress rules", "{egress: [{}]}", (True, True)),
    ("listed", "{policyTypes: [Egress]}", (False, True)),
    ("listed, whatever the rules", "{policyTypes: [Ingress], egress: [{}]}", (True, False)),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in TYPES], ids=[case[0] for case in TYPES])
def test_types(text: str, expected: tuple[bool, bool]) -> None:
    """K8S-8: which directions a policy governs; rules of another direction are not in the program (POL-8)."""
    compiled = compile_policy(policy(text))
    assert compiled is not None
    assert compiled.placement is not None
    assert (compiled.placement.ingress, compiled.placement.egress) == expected
    assert not compiled.program.egress or expected[1]


def test_scope_tier_and_order() -> None:
    """K8S-6: the pods of the namespace the podSelector chooses; tier default, order 1000."""
    compiled = compile_policy(policy("{podSelector: {matchLabels: {a: x}}}"))
    assert compiled is not None
    assert compiled.scope is not None
    pod = {"projectcalico.org/orchestrator": "k8s", "a": "x", "projectcalico.org/namespace": "shop"}
    assert compiled.scope.matches(pod)
    assert not any(compiled.scope.matches({**pod, label: "another"}) for label in pod)
    assert compiled.placement is not None
    assert (compiled.program.id, compiled.program.tier, compiled.placement.rank[0]) == ("knp:shop/p", "default", 1000)


def peer_matches(labels: dict[str, Any]) -> bool:
    """Report whether a pod peer in shop, from any namespace, matches these labels."""
    compiled = compile_policy(policy("{ingress: [{from: [{namespaceSelector: {}}]}]}"))
    assert compiled is not None
    (spec,) = compiled.sets.values()
    assert spec.selector is not None
    return spec.selector.matches(labels)


def test_label_peers_are_pods_only() -> None:
    """K8S-9: a network set in a namespace is no peer of a Kubernetes policy."""
    assert peer_matches({"projectcalico.org/orchestrator": "k8s", "projectcalico.org/namespace": "lab"})
    assert not peer_matches({"projectcalico.org/namespace": "lab"})
