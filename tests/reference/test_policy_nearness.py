"""Near misses: rules that one field kept from turning the verdict; one line per rule and packet."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from typing import Any

import pytest
import yaml

from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import Side, evaluate

PODS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: bot, namespace: shop}}
---
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: ops}, spec: {order: 10}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {serviceAccountName: bot, containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {containers: [{name: c, image: i, ports: [{name: sql, containerPort: 80}]}]}, status: {podIP: 10.244.0.2}}
"""


def policy(name: str, rules: str, kind: str = "NetworkPolicy", **spec: Any) -> dict[str, Any]:
    """A policy for the ingress of shop/db; `rules` is YAML."""
    metadata = {"name": name} | ({"namespace": "shop"} if kind == "NetworkPolicy" else {})
    body = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": yaml.safe_load(rules), **spec}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": body}


def knp(ingress: str) -> dict[str, Any]:
    """A Kubernetes policy for the ingress of shop/db."""
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": yaml.safe_load(ingress)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "k", "namespace": "shop"},
        "spec": spec,
    }


def ingress_of(*policies: dict[str, Any], protocol: str = "TCP") -> Side:
    """What shop/db says of web -> db:80."""
    state = load_state(*yaml.safe_load_all(PODS), *policies)
    side = evaluate(state, packet_between(state, "shop/web", "shop/db", protocol)).ingress
    assert side is not None
    return side


FIELDS = [
    # the one field that misses, the rule, how many others fit
    ("ipVersion", "{action: Allow, ipVersion: 6}", 0),
    ("protocol", "{action: Allow, protocol: UDP}", 0),
    ("protocol", "{action: Allow, protocol: UDP, destination: {ports: [80]}}", 1),
    ("notProtocol", "{action: Allow, notProtocol: TCP}", 0),
    ("icmp", "{action: Allow, protocol: ICMP, icmp: {type: 3}}", 1),
    ("notICMP", "{action: Allow, protocol: ICMP, notICMP: {type: 8}}", 1),
    ("destination.ports", "{action: Allow, protocol: TCP, destination: {ports: [81, '90:99']}}", 1),
    ("destination.ports", "{action: Allow, protocol: TCP, destination: {ports: [other]}}", 1),
    ("destination.notPorts", "{action: Allow, protocol: TCP, destination: {notPorts: [80]}}", 1),
    ("destination.notPorts", "{action: Allow, protocol: TCP, destination: {notPorts: [sql]}}", 1),
    ("source.ports", "{action: Allow, protocol: TCP, source: {ports: [81]}}", 1),
    ("source.nets", "{action: Allow, source: {nets: [10.0.0.0/30]}}", 0),
    ("source.notNets", "{action: Allow, source: {notNets: [10.244.0.0/30]}}", 0),
    ("source.selector", "{action: Allow, source: {selector: app == 'api'}}", 0),
    ("source.notSelector", "{action: Allow, source: {notSelector: app == 'web'}}", 0),
    ("source.notSelector", "{action: Allow, source: {selector: has(app), notSelector: app == 'web'}}", 1),
    ("source.namespaceSelector", "{action: Allow, source: {namespaceSelector: team == 'b'}}", 0),
    ("source.serviceAccounts", "{action: Allow, source: {serviceAccounts: {names: [other]}}}", 0),
    ("source.services", "{action: Allow, source: {services: {name: none}}}", 0),
    ("destination.nets", "{action: Allow, source: {selector: app == 'web'}, destination: {nets: [10.0.0.0/30]}}", 1),
]  # fmt: skip


@pytest.mark.parametrize(("field", "rule", "others"), FIELDS)
def test_one_field_missed(field: str, rule: str, others: int) -> None:
    """A rule that all but one field fit is a near miss, and the field is named."""
    side = ingress_of(policy("p", f"[{rule}]"), protocol="ICMP" if "icmp" in field.lower() else "TCP")

    assert [(miss.policy, miss.rule, miss.action, miss.field, miss.others) for miss in side.near_misses] == [
        ("np:shop/p", 0, "Allow", field, others)
    ]
    assert side.near_misses[0].tier == "default"
    assert f"rule 0 (Allow) misses: {side.near_misses[0].reason}" in [step.text for step in side.steps]


NOT_NEAR = [
    ("two fields miss", "[{action: Allow, protocol: UDP, destination: {ports: [81]}}]"),
    ("two fields of one end miss", "[{action: Allow, source: {nets: [10.0.0.0/30], selector: app == 'api'}}]"),
    ("it would have denied as well", "[{action: Deny, protocol: UDP}]"),
    ("it would only have logged", "[{action: Log, protocol: UDP}]"),
    ("the tier behind it denies too", "[{action: Pass, protocol: UDP}]"),
    ("it is behind the rule that decided", "[{action: Deny}, {action: Allow, protocol: UDP}]"),
]


@pytest.mark.parametrize("rules", [case[1] for case in NOT_NEAR], ids=[case[0] for case in NOT_NEAR])
def test_not_near(rules: str) -> None:
    """A rule that two fields kept away, or that would have changed nothing, is no near miss."""
    shut = policy("shut", "[]", tier="kube-baseline", kind="GlobalNetworkPolicy")
    last = policy("last", "[{action: Deny}]", tier="zzz", kind="GlobalNetworkPolicy")

    assert ingress_of(policy("p", rules), shut, last).near_misses == ()


def test_a_pass_that_would_have_saved_the_packet() -> None:
    """A Pass is a near miss when what lies behind its tier decides otherwise (POL-12)."""
    side = ingress_of(policy("guard", "[{action: Pass, protocol: UDP}]", kind="GlobalNetworkPolicy", tier="ops"))

    assert not side.allowed
    assert [(miss.policy, miss.action) for miss in side.near_misses] == [("gnp:guard", "Pass")]


def test_an_allowed_packet_has_near_denials() -> None:
    """For an allowed packet the near misses are the rules that would have denied it."""
    side = ingress_of(policy("p", "[{action: Deny, protocol: UDP}, {action: Allow, protocol: SCTP}, {action: Allow}]"))

    assert side.allowed
    assert [(miss.rule, miss.action) for miss in side.near_misses] == [(0, "Deny")]


def test_the_nearest_come_first() -> None:
    """Near misses are ranked by how many fields fit, then by their place in the walk."""
    rules = """
    - {action: Allow, protocol: UDP}
    - {action: Allow, protocol: TCP, destination: {ports: [81]}}
    - {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [82]}}
    - {action: Allow, protocol: TCP, destination: {ports: [83]}}
    """
    side = ingress_of(policy("p", rules))

    assert [(miss.rule, miss.others) for miss in side.near_misses] == [(2, 2), (1, 1), (3, 1), (0, 0)]


@pytest.mark.parametrize(
    ("ingress", "near"),
    [
        ("[{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 81}]}]", [("ports", 1)]),
        ("[{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 80}]}]", [("peers", 1)]),
        ("[{ports: [{port: other}]}]", [("ports", 0)]),
        ("[{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 81}]}]", []),
    ],
)
def test_kubernetes_rules(ingress: str, near: list[tuple[str, int]]) -> None:
    """A Kubernetes rule misses by its peers or by its ports; by both, it is not near."""
    assert [(miss.field, miss.others) for miss in ingress_of(knp(ingress)).near_misses] == near


@pytest.mark.parametrize(
    ("rule", "near"),
    [
        ("{action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 81}}}]}", ["ports"]),
        (
            "{action: Accept, from: [{namespaces: {matchLabels: {team: b}}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}",
            ["peers"],
        ),
        (
            "{action: Accept, from: [{namespaces: {matchLabels: {team: b}}}], protocols: [{tcp: {destinationPort: {number: 81}}}]}",
            [],
        ),
    ],
)
def test_cluster_rules(rule: str, near: list[str]) -> None:
    """So it is with the rules of a ClusterNetworkPolicy."""
    spec = {"tier": "Admin", "priority": 5, "subject": {"namespaces": {}}, "ingress": [yaml.safe_load(rule)]}
    guard = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "g"},
        "spec": spec,
    }
    side = ingress_of(guard, policy("shut", "[]"))

    assert [miss.field for miss in side.near_misses] == near


def test_a_policy_speaks_of_its_own_namespace() -> None:
    """RULE-9: a selector of a namespaced policy misses other namespaces, and that is told as what missed."""
    stranger = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "s", "namespace": "other", "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}  # fmt: skip
    rules = "[{action: Allow, source: {selector: app == 'web'}}]"
    state = load_state(*yaml.safe_load_all(PODS), stranger, policy("p", rules))
    side = evaluate(state, packet_between(state, "other/s", "shop/db")).ingress
    assert side is not None

    assert [(miss.field, miss.others) for miss in side.near_misses] == [("source.namespace", 1)]


def test_only_the_nearest_are_kept() -> None:
    """Ten near misses are told, the text shows three and says how many more there are."""
    rules = "\n".join(
        f"- {{action: Allow, protocol: TCP, destination: {{ports: [{1000 + number}]}}}}" for number in range(20)
    )
    state = load_state(*yaml.safe_load_all(PODS), policy("p", rules))
    verdict = evaluate(state, packet_between(state, "shop/web", "shop/db"))
    assert verdict.ingress is not None

    assert [miss.rule for miss in verdict.ingress.near_misses] == list(range(10))
    text = verdict.explain()
    assert text.count("would have allowed it") == 3
    assert "    and 7 more\n" in text


@pytest.mark.parametrize(
    ("policies", "tier"),
    [
        ([], ""),
        ([policy("p", "[{action: Deny}]")], ""),
        ([policy("p", "[]")], "default"),
        ([policy("g", "[]", kind="GlobalNetworkPolicy", tier="ops")], "ops"),
        ([policy("g", "[]", kind="GlobalNetworkPolicy", tier="kube-admin")], ""),
        ([policy("g", "[]", kind="GlobalNetworkPolicy", tier="kube-admin"), policy("p", "[]")], "default"),
    ],
)
def test_the_deciding_default(policies: list[dict[str, Any]], tier: str) -> None:
    """The tier whose default action decided is named; a default that only passes decides nothing (POL-13)."""
    assert ingress_of(*policies).tier_default == tier
