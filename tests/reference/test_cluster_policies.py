"""Cluster-scoped Kubernetes policies on both roads (K8S-12, K8S-13, trap 1), one line per packet."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import yaml

from reference.analysis.lint import lint
from reference.loading import load_state
from reference.naming import packet_between, parse_port
from reference.packet import Packet
from reference.policy import allowed, evaluate
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.state import State

CLUSTER = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: lab, labels: {team: b}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}]},
 status: {podIPs: [{ip: 10.244.0.1}, {ip: "fd00:10:244::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {containers: [{name: c, ports: [{name: sql, containerPort: 5432}, {name: dns, containerPort: 53, protocol: UDP}]}]},
 status: {podIPs: [{ip: 10.244.0.2}, {ip: "fd00:10:244::2"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: tool, namespace: lab, labels: {app: web}},
 spec: {containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]}, status: {podIP: 10.244.0.3}}
---
{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: s, namespace: lab}, spec: {nets: [192.0.2.0/24]}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: g, labels: {app: web}}, spec: {nets: [198.51.100.0/24]}}
"""
WEB, DB, TOOL, SET, GLOBAL_SET, NOBODY = "shop/web", "shop/db", "lab/tool", "192.0.2.1", "198.51.100.1", "203.0.113.1"
V1, V2 = "policy.networking.k8s.io/v1alpha1", "policy.networking.k8s.io/v1alpha2"
KINDS = {
    "cnp": (V2, "ClusterNetworkPolicy", {"tier": "Admin", "priority": 10}),
    "base": (V2, "ClusterNetworkPolicy", {"tier": "Baseline", "priority": 10}),
    "anp": (V1, "AdminNetworkPolicy", {"priority": 10}),
    "banp": (V1, "BaselineAdminNetworkPolicy", {}),
}
SUBJECT = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "db"}}}}


def policy(kind: str, spec: str, name: str = "p") -> dict[str, Any]:
    """A policy of a kind; it is about pods of app db unless it says otherwise."""
    version, word, base = KINDS[kind]
    body = {**base, "subject": SUBJECT, **yaml.safe_load(f"{{{spec}}}")}
    return {
        "apiVersion": version,
        "kind": word,
        "metadata": {"name": "default" if kind == "banp" else name},
        "spec": body,
    }


@lru_cache
def cluster(*texts: str) -> State:
    """The cluster with policies: `<kind> <spec>`, or a whole manifest."""
    made = [
        yaml.safe_load(text) if text.startswith("{") else policy(*text.split(" ", 1), name=f"p{n}")
        for n, text in enumerate(texts)
    ]  # type: ignore[arg-type]
    return load_state(*yaml.safe_load_all(CLUSTER), *made)


def packet(state: State, source: str, destination: str, port: str) -> Packet:
    """A packet to a port, or an ICMP one."""
    number, protocol = parse_port(port)
    return packet_between(state, source, destination, protocol, number, family=6 if ":" in source + destination else 4)


def check(state: State, source: str, destination: str, port: str, expected: bool) -> None:
    """Both roads agree on what is expected."""
    asked = packet(state, source, destination, port)

    assert allowed(state, asked) == expected, evaluate(state, asked).explain()
    assert decide(Compiler().compile(state), state, asked).allowed == expected


ALL = "from: [{namespaces: {}}]"
DENY_NS = "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: b}}}]}]"
CASES = [
    # id, policy, source, destination, port, allowed
    ("K8S-12 no rule, no effect", "cnp egress: []", WEB, DB, "80/TCP", True),
    ("K8S-12 only its subject", f"cnp ingress: [{{action: Deny, {ALL}}}]", DB, WEB, "80/TCP", True),
    ("K8S-12 its subject by pods", f"cnp ingress: [{{action: Deny, {ALL}}}]", WEB, DB, "80/TCP", False),
    ("K8S-12 subject by namespaces", f"cnp subject: {{namespaces: {{matchLabels: {{team: a}}}}}}, ingress: [{{action: Deny, {ALL}}}]", TOOL, WEB, "80/TCP", False),
    ("K8S-12 and not elsewhere", f"cnp subject: {{namespaces: {{matchLabels: {{team: a}}}}}}, ingress: [{{action: Deny, {ALL}}}]", WEB, TOOL, "80/TCP", True),
    ("K8S-12 both selectors of pods", f"cnp subject: {{pods: {{namespaceSelector: {{matchLabels: {{team: b}}}}, podSelector: {{matchLabels: {{app: db}}}}}}}}, ingress: [{{action: Deny, {ALL}}}]", WEB, DB, "80/TCP", True),
    ("K8S-12 without namespaceSelector: all", f"cnp subject: {{pods: {{podSelector: {{matchLabels: {{app: web}}}}}}}}, ingress: [{{action: Deny, {ALL}}}]", DB, TOOL, "80/TCP", False),
    ("K8S-12 types: only directions with rules", f"cnp ingress: [{{action: Deny, {ALL}}}]", DB, WEB, "80/TCP", True),
    ("K8S-12 no match leaves the rest alone", "cnp ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: x}}}]}]", WEB, DB, "80/TCP", True),
    ("K8S-12 the first rule decides", f"cnp ingress: [{{action: Accept, {ALL}}}, {{action: Deny, {ALL}}}]", WEB, DB, "80/TCP", True),
    ("K8S-12 Pass leaves the tier", f"cnp ingress: [{{action: Pass, {ALL}}}, {{action: Deny, {ALL}}}]", WEB, DB, "80/TCP", True),
    ("K8S-12 from namespaces", f"cnp {DENY_NS}", TOOL, DB, "80/TCP", False),
    ("K8S-12 from other namespaces", f"cnp {DENY_NS}", WEB, DB, "80/TCP", True),
    ("K8S-12 (!) network sets live in them too", f"cnp {DENY_NS}", SET, DB, "80/TCP", False),
    ("K8S-12 (!) not where nothing is selected", f"cnp {DENY_NS}", GLOBAL_SET, DB, "80/TCP", True),
    ("K8S-12 (!) {} is any namespace", f"cnp ingress: [{{action: Deny, {ALL}}}]", GLOBAL_SET, DB, "80/TCP", True),
    ("K8S-12 (!) a negation holds outside them", "cnp ingress: [{action: Deny, from: [{namespaces: {matchExpressions: [{key: team, operator: NotIn, values: [b]}]}}]}]", GLOBAL_SET, DB, "80/TCP", False),
    ("K8S-12 and never for nobody's address", "cnp ingress: [{action: Deny, from: [{namespaces: {matchExpressions: [{key: team, operator: NotIn, values: [b]}]}}]}]", NOBODY, DB, "80/TCP", True),
    ("K8S-12 from pods are pods only", "cnp ingress: [{action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {}}}]}]", SET, DB, "80/TCP", True),
    ("K8S-12 from pods", "cnp ingress: [{action: Deny, from: [{pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}]}]", WEB, DB, "80/TCP", False),
    ("K8S-12 from pods of other namespaces", "cnp ingress: [{action: Deny, from: [{pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}]}]", TOOL, DB, "80/TCP", True),
    ("K8S-12 peers OR", "cnp ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: x}}}, {namespaces: {matchLabels: {team: a}}}]}]", WEB, DB, "80/TCP", False),
    ("K8S-12 to namespaces: pods only", "cnp egress: [{action: Deny, to: [{namespaces: {matchLabels: {team: b}}}]}]", DB, SET, "80/TCP", True),
    ("K8S-12 to namespaces", "cnp egress: [{action: Deny, to: [{namespaces: {matchLabels: {team: b}}}]}]", DB, TOOL, "80/TCP", False),
    ("K8S-12 to networks", "cnp egress: [{action: Deny, to: [{networks: [203.0.113.0/24]}]}]", DB, NOBODY, "80/TCP", False),
    ("K8S-12 networks: pods too", "cnp egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]", DB, WEB, "80/TCP", False),
    ("K8S-12 networks of one family", "cnp egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]", DB, "2001:db8::1", "80/TCP", True),
    ("K8S-12 networks of both", "cnp egress: [{action: Deny, to: [{networks: [10.0.0.0/8, '2001:db8::/32']}]}]", DB, "2001:db8::1", "80/TCP", False),
    ("K8S-12 host bits are masked", "cnp egress: [{action: Deny, to: [{networks: [203.0.113.9/24]}]}]", DB, NOBODY, "80/TCP", False),
    ("K8S-12 a port", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{tcp: {{destinationPort: {{number: 80}}}}}}]}}]", WEB, DB, "80/TCP", False),
    ("K8S-12 another port", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{tcp: {{destinationPort: {{number: 80}}}}}}]}}]", WEB, DB, "81/TCP", True),
    ("K8S-12 another protocol", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{tcp: {{destinationPort: {{number: 80}}}}}}]}}]", WEB, DB, "80/UDP", True),
    ("K8S-12 no protocols: any packet", f"cnp ingress: [{{action: Deny, {ALL}}}]", WEB, DB, "icmp", False),
    ("K8S-12 protocols: not ICMP", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{tcp: {{destinationPort: {{number: 80}}}}}}]}}]", WEB, DB, "icmp", True),
    ("K8S-12 the last of a range", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{sctp: {{destinationPort: {{range: {{start: 80, end: 90}}}}}}}}]}}]", WEB, DB, "90/SCTP", False),
    ("K8S-12 past the range", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{sctp: {{destinationPort: {{range: {{start: 80, end: 90}}}}}}}}]}}]", WEB, DB, "91/SCTP", True),
    ("K8S-12 protocols OR", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{tcp: {{destinationPort: {{number: 80}}}}}}, {{udp: {{destinationPort: {{number: 53}}}}}}]}}]", WEB, DB, "53/UDP", False),
    ("K8S-12 a name of the subject", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{destinationNamedPort: sql}}]}}]", WEB, DB, "5432/TCP", False),
    ("K8S-12 a name of somebody else", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{destinationNamedPort: http}}]}}]", WEB, DB, "8080/TCP", True),
    ("K8S-12 names carry no protocol", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{destinationNamedPort: dns}}]}}]", WEB, DB, "53/UDP", False),
    ("K8S-12 and are of the protocol declared", f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{destinationNamedPort: dns}}]}}]", WEB, DB, "53/TCP", True),
    ("K8S-12 a name at the destination", "cnp egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{destinationNamedPort: http}]}]", DB, TOOL, "9090/TCP", False),
    ("K8S-12 of the peer's pods only", "cnp egress: [{action: Deny, to: [{namespaces: {matchLabels: {team: a}}}], protocols: [{destinationNamedPort: http}]}]", DB, TOOL, "9090/TCP", True),
    ("K8S-12 a bad Deny denies all", "cnp egress: [{action: Deny, to: [{nodes: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}]", DB, WEB, "443/TCP", False),
    ("K8S-12 a bad Pass denies all", "cnp egress: [{action: Pass, to: [{namespaces: {}}, {nodes: {}}]}]", DB, WEB, "80/TCP", False),
    ("K8S-12 a bad Accept accepts nothing", "cnp egress: [{action: Accept, to: [{domainNames: [example.com]}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]", DB, NOBODY, "80/TCP", False),
    ("K8S-12 a bad Accept alone governs nothing", "cnp egress: [{action: Accept, to: [{domainNames: [example.com]}]}]", DB, NOBODY, "80/TCP", True),
    ("K8S-12 baseline denies what nobody allowed", f"base ingress: [{{action: Deny, {ALL}}}]", WEB, DB, "80/TCP", False),
    ("trap 1 AdminNetworkPolicy denies", f"anp ingress: [{{action: Deny, {ALL}}}]", WEB, DB, "80/TCP", False),
    ("trap 1 from namespaces is pods only", f"anp {DENY_NS}", SET, DB, "80/TCP", True),
    ("trap 1 a port", f"anp ingress: [{{action: Deny, {ALL}, ports: [{{portNumber: {{port: 80}}}}]}}]", WEB, DB, "80/TCP", False),
    ("trap 1 of TCP unless it says", f"anp ingress: [{{action: Deny, {ALL}, ports: [{{portNumber: {{port: 80}}}}]}}]", WEB, DB, "80/UDP", True),
    ("trap 1 a range", f"anp ingress: [{{action: Deny, {ALL}, ports: [{{portRange: {{protocol: UDP, start: 50, end: 53}}}}]}}]", WEB, DB, "53/UDP", False),
    ("trap 1 a name", f"anp ingress: [{{action: Deny, {ALL}, ports: [{{namedPort: sql}}]}}]", WEB, DB, "5432/TCP", False),
    ("trap 1 networks", "anp egress: [{action: Deny, to: [{networks: [203.0.113.0/24]}]}]", DB, NOBODY, "80/TCP", False),
    ("trap 1 nodes fail closed", "anp egress: [{action: Deny, to: [{nodes: {}}]}]", DB, WEB, "80/TCP", False),
    ("trap 1 BaselineAdminNetworkPolicy denies", f"banp ingress: [{{action: Deny, {ALL}}}]", WEB, DB, "80/TCP", False),
    ("trap 1 and allows", f"banp ingress: [{{action: Allow, {ALL}}}, {{action: Deny, {ALL}}}]", WEB, DB, "80/TCP", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "text", "source", "destination", "port", "expected"), CASES, ids=[c[0] for c in CASES]
)
def test_one_policy(case: str, text: str, source: str, destination: str, port: str, expected: bool) -> None:
    """With one policy about the pods of app db, the packet passes or not, on both roads."""
    check(cluster(text), source, destination, port, expected)


CALICO = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: c}, spec: {%s, selector: app == 'db', ingress: [{action: %s}]}}"
TIER = (
    "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: mine}, spec: {order: 5000, defaultAction: Pass}}"
)
KNP = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: k, namespace: shop}, spec: {podSelector: {matchLabels: {app: db}}, ingress: [%s]}}"
KNP_OPEN, KNP_SHUT = KNP % "{}", KNP % ""
ADMIN_DENY, ADMIN_ACCEPT, ADMIN_PASS = (
    f"cnp priority: %d, ingress: [{{action: {action}, {ALL}}}]" for action in ("Deny", "Accept", "Pass")
)
BASE_DENY, BASE_ACCEPT = (f"base priority: %d, ingress: [{{action: {action}, {ALL}}}]" for action in ("Deny", "Accept"))
ANP_DENY, ANP_ALLOW = (f"anp priority: %d, ingress: [{{action: {action}, {ALL}}}]" for action in ("Deny", "Allow"))
BANP_DENY, BANP_ALLOW = (f"banp ingress: [{{action: {action}, {ALL}}}]" for action in ("Deny", "Allow"))
PRECEDENCE = [
    # id, policies, is WEB -> DB allowed
    ("admin Deny over NetworkPolicy", (ADMIN_DENY % 1, KNP_OPEN), False),
    ("admin Accept over NetworkPolicy", (ADMIN_ACCEPT % 1, KNP_SHUT), True),
    ("admin Pass hands over to NetworkPolicy", (ADMIN_PASS % 1, KNP_SHUT), False),
    ("admin Pass hands over, and nobody objects", (ADMIN_PASS % 1,), True),
    ("the lower priority first", (ADMIN_DENY % 2, ADMIN_ACCEPT % 1), True),
    ("whatever the names", (ADMIN_DENY % 1, ADMIN_ACCEPT % 2), False),
    ("priority 0 is the first", (ADMIN_DENY % 1, ADMIN_ACCEPT % 0), True),
    ("at one priority by name", (ADMIN_ACCEPT % 7, ADMIN_DENY % 7), True),
    ("Pass skips the rest of the tier", (ADMIN_PASS % 1, ADMIN_DENY % 2), True),
    ("Calico policy in kube-admin by order", (ADMIN_ACCEPT % 10, CALICO % ("tier: kube-admin, order: 9", "Deny")), False),
    ("and after it", (ADMIN_ACCEPT % 10, CALICO % ("tier: kube-admin, order: 11", "Deny")), True),
    ("user tier after admin", (ADMIN_ACCEPT % 10, TIER, CALICO % ("tier: mine", "Deny")), True),
    ("user tier after admin Pass", (ADMIN_PASS % 10, TIER, CALICO % ("tier: mine", "Deny")), False),
    ("user tier before default", (KNP_OPEN, TIER, CALICO % ("tier: mine", "Deny")), False),
    ("Calico and NetworkPolicy interleave by order: before", (KNP_OPEN, CALICO % ("order: 999", "Deny")), False),
    ("Calico and NetworkPolicy interleave by order: after", (KNP_OPEN, CALICO % ("order: 1001", "Deny")), True),
    ("NetworkPolicy over baseline", (KNP_OPEN, BASE_DENY % 1), True),
    ("NetworkPolicy's end is no Pass to baseline", (KNP_SHUT, BASE_ACCEPT % 1), False),
    ("Calico Pass in default reaches baseline", (CALICO % ("order: 1", "Pass"), BASE_DENY % 1), False),
    ("baseline where nobody governs", (BASE_DENY % 1,), False),
    ("baseline's end is the namespace's allow", ("base priority: 1, ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: b}}}]}]",), True),
    ("baseline by priority", (BASE_DENY % 2, BASE_ACCEPT % 1), True),
    ("AdminNetworkPolicy over NetworkPolicy", (ANP_DENY % 1, KNP_OPEN), False),
    ("AdminNetworkPolicy Allow over NetworkPolicy", (ANP_ALLOW % 1, KNP_SHUT), True),
    ("both APIs in one tier, by priority", (ANP_DENY % 5, ADMIN_ACCEPT % 4), True),
    ("both APIs in one tier, the other first", (ANP_DENY % 3, ADMIN_ACCEPT % 4), False),
    ("BaselineAdminNetworkPolicy under NetworkPolicy", (BANP_DENY, KNP_OPEN), True),
    ("BaselineAdminNetworkPolicy last in its tier", (BANP_DENY, BASE_ACCEPT % 1000), True),
    ("BaselineAdminNetworkPolicy is reached", (BANP_DENY, ADMIN_PASS % 1), False),
    ("BaselineAdminNetworkPolicy under Calico's own", (BANP_ALLOW, CALICO % ("tier: kube-baseline, order: 5", "Deny")), False),
]  # fmt: skip


@pytest.mark.parametrize(("case", "texts", "expected"), PRECEDENCE, ids=[case[0] for case in PRECEDENCE])
def test_precedence(case: str, texts: tuple[str, ...], expected: bool) -> None:
    """K8S-13: kube-admin, then the user's tiers, then default, then kube-baseline, then the namespace's allow."""
    check(cluster(*texts), WEB, DB, "80/TCP", expected)


HITS = [
    (f"cnp ingress: [{{action: Accept, {ALL}}}]", ["0|kube-admin|kcnp:p0|allow|0"]),
    (f"base ingress: [{{action: Pass, {ALL}}}]", ["0|kube-baseline|kcnp:p0|pass|0", "1|__PROFILE__|pro:kns.shop|allow|0"]),
    (f"anp ingress: [{{action: Deny, {ALL}}}]", ["0|kube-admin|kanp:p0|deny|0"]),
    (f"banp ingress: [{{action: Deny, {ALL}}}]", ["0|kube-baseline|kbanp:default|deny|0"]),
    (f"cnp {DENY_NS}", ["0|kube-admin|kcnp:p0|pass|-1", "1|__PROFILE__|pro:kns.shop|allow|0"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "hits"), HITS)
def test_hits(text: str, hits: list[str]) -> None:
    """FL-5 names the kind and the tier; the built-in tiers end in Pass (POL-2)."""
    state = cluster(text)
    side = evaluate(state, packet(state, WEB, DB, "80/TCP")).ingress

    assert side is not None
    assert list(side.hit_strings()) == hits


REASONS = [
    (f"cnp ingress: [{{action: Deny, {ALL}, protocols: [{{tcp: {{destinationPort: {{range: {{start: 81, end: 90}}}}}}}}, {{destinationNamedPort: sql}}]}}]", WEB, DB, "rule 0 (Deny) misses: destination port 80/TCP is not in 81-90/TCP, sql"),
    (f"cnp {DENY_NS}", WEB, DB, "rule 0 (Deny) misses: source 10.244.0.1 (shop/web) is none of the 1 peers in from"),
    ("cnp egress: [{action: Deny, to: [{networks: [192.0.2.0/24]}]}]", DB, NOBODY, "rule 0 (Deny) misses: destination 203.0.113.1 is none of the 1 peers in to"),
    ("cnp egress: [{action: Accept, to: [{nodes: {}}]}, {action: Pass, to: [{namespaces: {}}]}]", DB, WEB, "rule 0 (Allow) misses: its peer nodes is not supported, so the rule fails closed and accepts nothing (K8S-12)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "source", "destination", "reason"), REASONS)
def test_a_miss_says_why(text: str, source: str, destination: str, reason: str) -> None:
    """A rule that misses says which part of it did."""
    state = cluster(text)
    verdict = evaluate(state, packet(state, source, destination, "80/TCP"))

    assert reason in [step.text for side in verdict.trace for step in side.steps]


def test_the_linter_knows_who_lives_in_namespaces() -> None:
    """A network set that only `namespaces` in `from` speaks of is not called unused (K8S-12)."""
    rule = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: c}, spec: {ingress: [{action: Allow, source: {selector: app == 'x'}}]}}"

    def unused(*texts: str) -> list[str]:
        return [finding.resource for finding in lint(cluster(rule, *texts)) if finding.id == "MUS204"]

    assert unused() == ["NetworkSet lab/s", "GlobalNetworkSet g"]
    assert unused(f"cnp {DENY_NS}") == ["GlobalNetworkSet g"]
