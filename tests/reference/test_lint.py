"""The linter's findings, one line per case: what is found, and what only looks like it."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

import pytest

from reference.analysis.lint import RANKS, RULES, Finding, lint, worst
from reference.loading import load_state
from reference.resources import parse

CALICO = "apiVersion: projectcalico.org/v3"
PODS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: red}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: bot, namespace: shop, labels: {trust: high}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {serviceAccountName: bot, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: data, labels: {app: db}}}
"""


def np(name: str, spec: str, namespace: str = "shop") -> str:
    """A Calico NetworkPolicy."""
    return f"{{{CALICO}, kind: NetworkPolicy, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}"


def gnp(name: str, spec: str) -> str:
    """A GlobalNetworkPolicy."""
    return f"{{{CALICO}, kind: GlobalNetworkPolicy, metadata: {{name: {name}}}, spec: {{{spec}}}}}"


def knp(name: str, spec: str) -> str:
    """A Kubernetes NetworkPolicy."""
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: shop}}, spec: {{{spec}}}}}"


def cnp(name: str, ingress: str, priority: int = 1) -> str:
    """A ClusterNetworkPolicy of the Admin tier for all pods."""
    return f"{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: {name}}}, spec: {{tier: Admin, priority: {priority}, subject: {{namespaces: {{}}}}, ingress: [{ingress}]}}}}"


def other(kind: str, name: str, rest: str) -> str:
    """Any other Calico resource."""
    return f"{{{CALICO}, kind: {kind}, metadata: {{name: {name}}}, {rest}}}"


def rules(*texts: str) -> str:
    """An ingress policy of these rules."""
    return f"selector: app == 'web', types: [Ingress], ingress: [{', '.join(f'{{{text}}}' for text in texts)}]"


def findings(*manifests: str) -> tuple[Finding, ...]:
    """What the linter says."""
    loaded = parse("\n---\n".join(manifests), "f.yaml")
    return lint(load_state(*loaded.resources), loaded.sources)


def said(*manifests: str) -> list[str]:
    """Ids and fields of what the linter says."""
    return [f"{finding.id} {finding.field}" for finding in findings(*manifests)]


SECURITY = other("Tier", "security", "spec: {order: 1}")
PASSING = other("Tier", "passing", "spec: {order: 1, defaultAction: Pass}")
ALLOW, DENY, PASS, LOG = (f"action: {action}" for action in ("Allow", "Deny", "Pass", "Log"))
WEB = f"{ALLOW}, protocol: TCP, destination: {{ports: [80]}}"
GUESTS = "source: {selector: role == 'guest'}"

CASES: list[tuple[str, list[str], list[str]]] = [
    # -- rules that never decide
    ("MUS101 the same rule twice", [np("p", rules(WEB, WEB))], ["MUS101 spec.ingress[1]"]),
    ("MUS101 not after Log", [np("p", rules(f"{LOG}, protocol: TCP", WEB))], []),
    ("MUS101 a Log rule can be shadowed", [np("p", rules(WEB, f"{LOG}, protocol: TCP, destination: {{ports: [80]}}"))], ["MUS101 spec.ingress[1]"]),
    ("MUS101 by an earlier policy of all endpoints", [gnp("p", f"order: 1, {rules(WEB)}"), np("q", f"order: 2, {rules(WEB, f'{ALLOW}, protocol: UDP')}")], ["MUS101 spec.ingress[0]"]),
    ("MUS101 not by a later policy", [gnp("p", f"order: 3, {rules(WEB)}"), np("q", f"order: 2, {rules(WEB, f'{ALLOW}, protocol: UDP')}")], []),
    ("MUS101 not by a policy of other endpoints", [np("p", f"order: 1, {rules(WEB)}".replace("web", "api")), np("q", f"order: 2, {rules(WEB)}")], []),
    ("MUS101 not by a policy of fewer endpoints", [np("p", f"order: 1, {rules(WEB)}".replace("app == 'web'", "app == 'web' && x == 'y'")), np("q", f"order: 2, {rules(WEB)}")], []),
    ("MUS101 by an Allow of an earlier tier", [SECURITY, gnp("p", f"tier: security, {rules(WEB, PASS)}"), np("q", rules(WEB, f"{ALLOW}, protocol: UDP"))], ["MUS101 spec.ingress[0]"]),
    ("MUS101 not by one after a Pass there", [SECURITY, gnp("p", f"tier: security, {rules(f'{PASS}, {GUESTS}', WEB, PASS)}"), np("q", rules(WEB))], []),
    ("MUS101 Kubernetes rules too", [knp("p", "podSelector: {}, ingress: [{ports: [{port: 80, endPort: 90}]}, {from: [{podSelector: {}}], ports: [{port: 85}]}]")], ["MUS101 spec.ingress[1]"]),
    ("MUS101 pods of one namespace among all", [knp("p", "podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}, {from: [{podSelector: {}}]}]")], ["MUS101 spec.ingress[1]"]),
    ("MUS101 but not addresses among pods", [knp("p", "podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}, {from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]")], []),
    ("MUS102 after Deny", [np("p", rules(DENY, WEB))], ["MUS102 spec.ingress[1]"]),
    ("MUS102 after Pass", [np("p", rules(PASS, WEB))], ["MUS102 spec.ingress[1]"]),
    ("MUS102 not after Log", [np("p", rules(LOG, WEB))], []),
    ("MUS102 not after one of a family", [np("p", rules(f"{ALLOW}, ipVersion: 4", WEB))], []),
    ("MUS102 after an empty Kubernetes rule", [knp("p", "podSelector: {}, ingress: [{}, {ports: [{port: 80}]}]")], ["MUS102 spec.ingress[1]"]),
    ("MUS103 after an Allow of all", [np("p", f"order: 1, {rules(ALLOW)}"), np("q", f"order: 2, {rules(WEB)}")], ["MUS103 spec.ingress"]),
    ("MUS103 the end of an earlier tier", [SECURITY, gnp("p", f"tier: security, {rules(WEB)}"), np("q", rules(f"{ALLOW}, protocol: UDP"))], ["MUS103 spec.ingress"]),
    ("MUS103 not of a tier that passes", [PASSING, gnp("p", f"tier: passing, {rules(WEB)}"), np("q", rules(f"{ALLOW}, protocol: UDP"))], []),
    ("MUS103 not for other endpoints", [SECURITY, gnp("p", f"tier: security, {rules(WEB)}"), np("q", rules(f"{ALLOW}, protocol: UDP").replace("web", "api"))], []),
    ("MUS103 not in the other direction", [SECURITY, gnp("p", f"tier: security, {rules(WEB)}"), np("q", "types: [Egress], egress: [{action: Allow}]")], []),
    ("MUS103 an Allow of all in an earlier tier", [SECURITY, gnp("p", f"tier: security, {rules(ALLOW)}"), np("q", rules(WEB))], ["MUS103 spec.ingress"]),
    ("MUS103 not for forwarded traffic", [gnp("p", f"order: 1, {rules(ALLOW)}"), gnp("q", f"order: 2, applyOnForward: true, {rules(WEB)}")], []),
    ("MUS104 the halves of everything", [np("p", rules(f"{ALLOW}, ipVersion: 4, source: {{notNets: [0.0.0.0/1, 128.0.0.0/1]}}"))], ["MUS104 spec.ingress[0]"]),
    ("MUS104 excluded ports", [np("p", rules(f"{ALLOW}, protocol: TCP, destination: {{ports: ['80:90'], notPorts: ['1:100']}}"))], ["MUS104 spec.ingress[0]"]),
    ("MUS104 excluded protocol", [np("p", rules(f"{ALLOW}, protocol: TCP, notProtocol: 6"))], ["MUS104 spec.ingress[0]"]),
    ("MUS105 Kubernetes", [knp("p", "podSelector: {}, policyTypes: [Ingress], ingress: [{}], egress: [{}]")], ["MUS105 spec.egress"]),
    # -- selectors and names
    ("MUS201 another namespace", [PODS, np("p", rules(ALLOW), "data")], ["MUS201 spec.selector"]),
    ("MUS201 Kubernetes", [PODS, knp("p", "podSelector: {matchLabels: {app: wbe}}, ingress: [{}]")], ["MUS201 spec.podSelector"]),
    ("MUS201 by service account", [PODS, np("p", "serviceAccountSelector: trust == 'high', ingress: [{action: Allow}]")], []),
    ("MUS201 by namespace", [PODS, gnp("p", "namespaceSelector: team == 'blue', ingress: [{action: Allow}]")], ["MUS201 spec.selector"]),
    ("MUS201 unknown without pods", [np("p", rules(ALLOW), "data")], []),
    ("MUS202 by namespace", [PODS, gnp("p", rules(f"{ALLOW}, source: {{namespaceSelector: team == 'blue'}}"))], ["MUS202 spec.ingress[0].source.namespaceSelector"]),
    ("MUS202 by account", [PODS, np("p", rules(f"{ALLOW}, source: {{serviceAccounts: {{names: [bto]}}}}"))], ["MUS202 spec.ingress[0].source.serviceAccounts"]),
    ("MUS202 a notSelector that excludes nobody", [PODS, gnp("p", rules(f"{ALLOW}, source: {{selector: all(), notSelector: app == 'dbb'}}"))], []),
    ("MUS202 Kubernetes", [PODS, knp("p", "podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]")], ["MUS202 spec.ingress[0].from[0]"]),
    ("MUS202 a network set is somebody", [PODS, other("GlobalNetworkSet", "s", "spec: {nets: [192.0.2.0/24]}").replace("name: s", "name: s, labels: {a: b}"), gnp("p", rules(f"{ALLOW}, source: {{selector: a == 'b'}}"))], []),
    ("MUS203 for another protocol", [PODS, np("p", rules(f"{ALLOW}, protocol: UDP, destination: {{ports: [http]}}"))], ["MUS203 spec.ingress[0].destination.ports[0]"]),
    ("MUS203 of any protocol", [PODS, np("p", rules(f"{ALLOW}, destination: {{ports: [http]}}"))], []),
    ("MUS203 Kubernetes", [PODS, knp("p", "podSelector: {}, ingress: [{ports: [{port: htpt}]}]")], ["MUS203 spec.ingress[0].ports[0].port"]),
    ("MUS204 unknown without rules", [other("GlobalNetworkSet", "s", "spec: {nets: [192.0.2.0/24]}")], []),
    ("MUS205 in a rule", [np("p", rules(f"{ALLOW}, source: {{selector: a == 'x' && !has(a)}}"))], ["MUS205 spec.ingress[0].source.selector"]),
    ("MUS205 an excluded selector", [np("p", rules(f"{ALLOW}, source: {{selector: a == 'x', notSelector: has(a)}}"))], ["MUS205 spec.ingress[0].source.selector"]),
    ("MUS206 a namespace's label, misspelt", [gnp("p", "namespaceSelector: kubernetes.io/metadata.names == 'shop', ingress: [{action: Allow}]")], ["MUS206 spec.namespaceSelector"]),
    ("MUS206 the domain misspelt", [gnp("p", "selector: projectcalico.com/namespace == 'shop', ingress: [{action: Allow}]")], ["MUS206 spec.selector"]),
    ("MUS206 behind pcns.", [gnp("p", "selector: pcns.projectcalico.org/nmae == 'shop', ingress: [{action: Allow}]")], ["MUS206 spec.selector"]),
    ("MUS206 Kubernetes", [knp("p", "podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.nam: x}}}]}]")], ["MUS206 spec.ingress[0].from[0].namespaceSelector"]),
    ("MUS206 labels of others", [np("p", "selector: app.kubernetes.io/name == 'x' && example.com/namespace == 'y', ingress: [{action: Allow}]")], []),
    ("MUS208 preDNAT", [PODS, gnp("p", "selector: app == 'web', preDNAT: true, applyOnForward: true, types: [Ingress], ingress: [{action: Deny}]")], ["MUS208 spec.preDNAT"]),
    # -- tiers and orders
    ("MUS301 near another", [SECURITY, np("p", f"tier: securty, {rules(ALLOW)}")], ["MUS301 spec.tier"]),
    ("MUS302 no orders", [np("p", rules(f"{DENY}, {GUESTS}", ALLOW)), np("q", rules(f"{DENY}, protocol: UDP", ALLOW).replace("app == 'web'", "x == 'y'"))], ["MUS302 spec.order"]),
    ("MUS302 not of the same mind", [np("p", rules(WEB)), np("q", rules(f"{ALLOW}, protocol: UDP").replace("app == 'web'", "x == 'y'"))], []),
    ("MUS302 not of other packets", [np("p", rules(WEB)), np("q", rules(f"{DENY}, protocol: UDP", f"{ALLOW}, protocol: UDP, ipVersion: 4").replace("app == 'web'", "x == 'y'"))], ["MUS101 spec.ingress[1]"]),
    ("MUS302 not of other endpoints", [np("p", rules(WEB)), np("q", rules(f"{DENY}, protocol: TCP", ALLOW).replace("web", "db"))], []),
    ("MUS302 not across namespaces", [np("p", rules(WEB)), np("q", rules(f"{DENY}, protocol: TCP", ALLOW), "data")], []),
    ("MUS303 none", [other("Tier", "a", "spec: {}"), other("Tier", "b", "spec: {}")], ["MUS303 spec.order"]),
    ("MUS303 as a built-in one", [other("Tier", "a", "spec: {order: 1000}")], ["MUS303 spec.order"]),
    ("MUS304 Calico", [np("p", "selector: app == 'web', types: [Ingress, Egress], ingress: [{action: Allow}]")], ["MUS304 spec.types"]),
    ("MUS304 Kubernetes, absent types", [knp("p", "podSelector: {}, egress: [{}]")], ["MUS304 spec.policyTypes"]),
    ("MUS304 not in a tier that passes", [PASSING, np("p", "tier: passing, types: [Ingress, Egress], ingress: [{action: Allow}]")], []),
    ("MUS305 Kubernetes", [knp("p", "podSelector: {}, policyTypes: [Ingress, Egress]")], ["MUS305 spec"]),
    ("MUS305 not in a tier that passes", [PASSING, np("p", "tier: passing, types: [Ingress]")], []),
    ("MUS306 in a tier of one's own", [SECURITY, gnp("p", f"tier: security, {rules(f'{DENY}, {GUESTS}')}")], ["MUS306 spec.ingress"]),
    ("MUS306 not in a tier that passes", [PASSING, gnp("p", f"tier: passing, {rules(f'{DENY}, {GUESTS}')}")], []),
    ("MUS306 not when another allows", [np("p", f"order: 1, {rules(f'{DENY}, {GUESTS}')}"), np("q", f"order: 2, {rules(WEB)}")], []),
    ("MUS306 another of other endpoints", [np("p", f"order: 1, {rules(f'{DENY}, {GUESTS}')}"), np("q", f"order: 2, {rules(WEB)}".replace("web", "db"))], ["MUS306 spec.ingress"]),
    ("MUS306 not when all is denied", [np("p", rules(DENY))], []),
    # -- families and fields
    ("MUS401 an Allow rule", [np("p", rules(f"{ALLOW}, source: {{nets: [192.0.2.0/24]}}"))], []),
    ("MUS401 not with ipVersion", [np("p", rules(f"{DENY}, ipVersion: 4, source: {{nets: [192.0.2.0/24]}}", ALLOW))], []),
    ("MUS401 not where there is no IPv6", [f"{{{CALICO}, kind: IPPool, metadata: {{name: four}}, spec: {{cidr: 10.244.0.0/16}}}}", PODS, np("p", rules(f"{DENY}, source: {{nets: [192.0.2.0/24]}}", ALLOW))], []),
    ("MUS402 not with nets beside", [np("p", rules(f"{ALLOW}, source: {{nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}}"))], []),
    ("MUS403 Calico", [np("p", "types: [Egress], egress: [{action: Allow, destination: {nets: ['::/0']}}]")], ["MUS403 spec.egress[0].destination.nets[0]"]),
    ("MUS403 not with its twin", [np("p", "types: [Egress], egress: [{action: Allow, destination: {nets: ['::/0']}}, {action: Allow, destination: {nets: [0.0.0.0/0]}}]")], []),
    ("MUS404 ICMP", [np("p", rules(f"{ALLOW}, protocol: 1, icmp: {{type: 128}}"))], ["MUS404 spec.ingress[0].icmp.type"]),
    ("MUS405 not in a namespace", [np("p", rules(f"{ALLOW}, source: {{notSelector: role == 'guest'}}"))], []),
    ("MUS405 not with nets", [gnp("p", rules(f"{ALLOW}, ipVersion: 4, source: {{nets: [10.0.0.0/8], notSelector: role == 'guest'}}"))], []),
    ("MUS405 not in a Log rule", [gnp("p", rules(f"{LOG}, source: {{notSelector: role == 'guest'}}", ALLOW))], []),
    ("MUS407 an exception", [knp("p", "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.7/28]}}]}]")], ["MUS407 spec.ingress[0].from[0].ipBlock.except[0]"]),
    ("MUS407 a network set", [other("GlobalNetworkSet", "s", "spec: {nets: [192.0.2.7/24, 192.0.2.7]}")], ["MUS407 spec.nets[0]"]),
    # -- Kubernetes
    ("MUS501 not with a protocol", [knp("p", "podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]")], []),
    ("MUS502 the other way round", [knp("p", "podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {a: b}}}, {namespaceSelector: {matchLabels: {c: d}}}]}]")], []),
    ("MUS503 ports", [knp("p", "podSelector: {}, ingress: [{ports: []}]")], ["MUS503 spec.ingress[0].ports"]),
    ("MUS504 another policy lets it out", [knp("p", "podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]"), knp("q", "podSelector: {matchLabels: {a: b}}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]")], []),
    ("MUS504 an open policy", [knp("p", "podSelector: {}, policyTypes: [Egress], egress: [{}]")], []),
    # -- cluster-scoped policies
    ("MUS101 ClusterNetworkPolicy", [cnp("p", "{action: Accept, from: [{namespaces: {}}]}, {action: Deny, from: [{pods: {podSelector: {matchLabels: {a: b}}, namespaceSelector: {}}}]}")], ["MUS101 spec.ingress[1]"]),
    ("MUS101 not of other ports", [cnp("p", "{action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}, {action: Deny, from: [{namespaces: {}}]}")], []),
    ("MUS101 a lower priority", [cnp("p", "{action: Accept, from: [{namespaces: {}}]}", 1), cnp("q", "{action: Deny, from: [{namespaces: {matchLabels: {a: b}}}]}", 2)], ["MUS101 spec.ingress[0]"]),
    ("MUS201 ClusterNetworkPolicy", [PODS, cnp("p", "{action: Deny, from: [{namespaces: {}}]}").replace("subject: {namespaces: {}}", "subject: {namespaces: {matchLabels: {team: blue}}}")], ["MUS201 spec.subject"]),
    ("MUS202 ClusterNetworkPolicy", [PODS, cnp("p", "{action: Deny, from: [{namespaces: {matchLabels: {team: blue}}}]}")], ["MUS202 spec.ingress[0].from[0]"]),
    ("MUS302 the same priority", [cnp("p", "{action: Accept, from: [{namespaces: {matchLabels: {c: d}}}]}"), cnp("q", "{action: Deny, from: [{namespaces: {matchLabels: {a: b}}}]}")], ["MUS302 spec.priority"]),
    # -- nothing
    ("usual: default deny by Deny, then one door", [np("deny", "order: 100, types: [Ingress], ingress: [{action: Deny}]"), np("web", f"order: 10, {rules(WEB)}")], []),
    ("usual: Kubernetes, peers and ports", [knp("p", "podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}, {from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}]}]")], []),
]  # fmt: skip


@pytest.mark.parametrize(("case", "manifests", "expected"), CASES, ids=[case[0] for case in CASES])
def test_cases(case: str, manifests: list[str], expected: list[str]) -> None:
    """The linter says exactly this."""
    assert said(*manifests) == expected


def test_every_id_is_found_somewhere() -> None:
    """The registry's ids are the keys, and severities are known."""
    assert all(rule.id == key and rule.severity in RANKS for key, rule in RULES.items())
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


def test_finding_says_where_and_what_to_do() -> None:
    """A finding has the file, the line of the field, the resource and a remedy."""
    (finding,) = findings("# a comment\n" + np("p", rules(ALLOW, WEB)))

    assert (finding.place, finding.resource) == ("f.yaml:2", "NetworkPolicy shop/p")
    assert finding.message.startswith("rule 0 (Allow) before it matches everything; put this rule before it")
    assert (finding.severity, finding.page) == ("warning", "docs/lint/MUS102.md")


def test_without_sources() -> None:
    """A state of no manifests is linted too; findings have no place then."""
    loaded = parse(np("p", rules(ALLOW, WEB)))
    (finding,) = lint(load_state(*loaded.resources))

    assert (finding.id, finding.place, finding.line) == ("MUS102", "", 0)


def test_ignored_and_worst() -> None:
    """What is ignored is left out; the worst of nothing is nothing."""
    loaded = parse("\n---\n".join((np("p", rules(ALLOW, WEB)), np("q", "types: [Egress]"))))
    found = lint(load_state(*loaded.resources))

    assert {finding.id for finding in found} == {"MUS102", "MUS305"}
    assert worst(found) == "warning"
    assert worst(lint(load_state(*loaded.resources), ignore=["MUS102"])) == "note"
    assert worst(()) is None
