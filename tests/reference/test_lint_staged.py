"""The linter on staged policies, one line per case: what they will be once they are committed, and what that changes."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

import pytest

from reference.analysis.lint import Finding, lint
from reference.loading import load_state
from reference.resources import parse

PODS = """
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}}
"""
ALLOW, WEB, DENY = "action: Allow", "action: Allow, protocol: TCP, destination: {ports: [80]}", "action: Deny"
SET = "apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: office, labels: {net: office}}, spec: {nets: [192.0.2.0/24]}"
FROM_SET = "action: Allow, source: {selector: net == 'office', namespaceSelector: global()}"
FROM_PODS = "action: Allow, source: {selector: app == 'web'}"
KUBERNETES = "{apiVersion: projectcalico.org/v3, kind: StagedKubernetesNetworkPolicy, metadata: {name: p, namespace: shop}, spec: {"


def calico(kind: str, name: str, spec: str, *rules: str) -> str:
    """A Calico policy of ingress rules, in namespace shop or in none."""
    namespace = "" if "Global" in kind else ", namespace: shop"
    body = f"{spec}, " if spec else ""
    listed = (
        f"types: [Ingress], ingress: [{', '.join(f'{{{rule}}}' for rule in rules)}]" if rules else "types: [Ingress]"
    )
    return f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}{namespace}}}, spec: {{{body}{listed}}}}}"


def staged(name: str, *rules: str, spec: str = "") -> str:
    """A StagedNetworkPolicy."""
    return calico("StagedNetworkPolicy", name, spec, *rules)


def enforced(name: str, *rules: str, spec: str = "") -> str:
    """A NetworkPolicy."""
    return calico("NetworkPolicy", name, spec, *rules)


def delete(name: str, kind: str = "StagedNetworkPolicy", spec: str = "") -> str:
    """A staged deletion."""
    namespace = "" if "Global" in kind else ", namespace: shop"
    return f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}{namespace}}}, spec: {{stagedAction: Delete{spec}}}}}"


def findings(*manifests: str) -> tuple[Finding, ...]:
    """What the linter says."""
    loaded = parse("\n---\n".join(manifests), "f.yaml")
    return lint(load_state(*loaded.resources), loaded.sources)


CASES: list[tuple[str, list[str], list[str]]] = [
    # -- as if committed
    ("rules that never decide", [staged("p", ALLOW, WEB)], ["MUS102 StagedNetworkPolicy shop/p spec.ingress[1] committed"]),
    ("a global one", [calico("StagedGlobalNetworkPolicy", "p", "", WEB, WEB)], ["MUS101 StagedGlobalNetworkPolicy p spec.ingress[1] committed"]),
    ("a Kubernetes one", [KUBERNETES + "podSelector: {}, ingress: [{ports: [{}]}]}}"], ["MUS501 StagedKubernetesNetworkPolicy shop/p spec.ingress[0].ports[0] committed"]),
    ("selects nothing", [PODS, staged("p", WEB, spec="selector: app == 'wbe'")], ["MUS201 StagedNetworkPolicy shop/p spec.selector committed"]),
    ("a peer that nobody is", [PODS, enforced("e", WEB), staged("p", "action: Allow, source: {selector: app == 'wbe'}")], ["MUS202 StagedNetworkPolicy shop/p spec.ingress[0].source.selector committed"]),
    ("a tier that is missing", [staged("p", WEB, spec="tier: nowhere").replace("name: p", "name: nowhere.p")], ["MUS301 StagedNetworkPolicy shop/nowhere.p spec.tier committed"]),
    ("default deny", [staged("p")], ["MUS305 StagedNetworkPolicy shop/p spec committed"]),
    ("only denies", [staged("p", "action: Deny, protocol: TCP")], ["MUS306 StagedNetworkPolicy shop/p spec.ingress committed"]),
    ("after another staged one", [staged("a", ALLOW, spec="order: 1"), staged("b", WEB, spec="order: 2")], ["MUS103 StagedNetworkPolicy shop/b spec.ingress committed"]),
    ("Learn and Ignore propose nothing", [staged("p", ALLOW, WEB, spec="stagedAction: Learn"), staged("q", ALLOW, WEB, spec="stagedAction: Ignore")], []),
    # -- what that does to others
    ("an enforced one is shadowed", [staged("a", ALLOW, spec="order: 1"), enforced("b", WEB, spec="order: 2")], ["MUS103 NetworkPolicy shop/b spec.ingress committed"]),
    ("a fault that is there today is said once", [staged("a", WEB), enforced("b", ALLOW, WEB)], ["MUS102 NetworkPolicy shop/b spec.ingress[1]"]),
    ("a fault that is replaced is still there today", [staged("b", WEB), enforced("b", ALLOW, WEB)], ["MUS102 NetworkPolicy shop/b spec.ingress[1]", "MUS803 StagedNetworkPolicy shop/b metadata.name"]),
    ("a set that a staged rule uses", [f"{{{SET}}}", staged("p", FROM_SET)], []),
    ("a set that a staged rule no longer uses", [f"{{{SET}}}", enforced("p", FROM_SET), staged("p", FROM_PODS)], ["MUS204 GlobalNetworkSet office metadata committed", "MUS803 StagedNetworkPolicy shop/p metadata.name"]),
    # -- MUS801
    ("MUS801 no such policy", [delete("p")], ["MUS801 StagedNetworkPolicy shop/p spec.stagedAction"]),
    ("MUS801 another tier", [calico("GlobalNetworkPolicy", "p", "", WEB), delete("p", "StagedGlobalNetworkPolicy", ", tier: security"), "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: security}, spec: {order: 5}}"], ["MUS801 StagedGlobalNetworkPolicy p spec.stagedAction"]),
    ("MUS801 not where it exists", [enforced("p", WEB), delete("p")], ["MUS803 StagedNetworkPolicy shop/p metadata.name"]),
    # -- MUS802
    ("MUS802 the same", [enforced("p", WEB), staged("p", WEB)], ["MUS802 StagedNetworkPolicy shop/p spec"]),
    ("MUS802 the same, and faulty: said of the enforced one", [enforced("p", WEB, WEB), staged("p", WEB, WEB)], ["MUS101 NetworkPolicy shop/p spec.ingress[1]", "MUS802 StagedNetworkPolicy shop/p spec"]),
    ("MUS802 not with another order", [enforced("p", WEB), staged("p", WEB, spec="order: 7")], ["MUS803 StagedNetworkPolicy shop/p metadata.name"]),
    # -- MUS804
    ("MUS804 nobody governed it", [PODS, staged("p", WEB)], ["MUS804 StagedNetworkPolicy shop/p spec"]),
    ("MUS804 not where it is closed already", [PODS, enforced("q", WEB), staged("p", "action: Allow, protocol: UDP")], []),
    ("MUS804 closed the other way", [PODS, enforced("q", ALLOW).replace("ingress", "egress").replace("Ingress", "Egress"), staged("p", WEB)], ["MUS804 StagedNetworkPolicy shop/p spec"]),
    ("MUS804 another staged one closes nothing", [PODS, staged("q", WEB), staged("p", "action: Allow, protocol: UDP")], ["MUS804 StagedNetworkPolicy shop/p spec", "MUS804 StagedNetworkPolicy shop/q spec"]),
    ("MUS804 closed in another tier only", [PODS, "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: security}, spec: {order: 5}}", calico("GlobalNetworkPolicy", "q", "tier: security", "action: Pass"), staged("p", WEB)], ["MUS804 StagedNetworkPolicy shop/p spec"]),
    ("MUS804 not in a tier that passes", [PODS, "{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: security}, spec: {order: 5, defaultAction: Pass}}", calico("StagedGlobalNetworkPolicy", "p", "tier: security", WEB)], []),
]  # fmt: skip


@pytest.mark.parametrize(("case", "manifests", "expected"), CASES, ids=[case[0] for case in CASES])
def test_cases(case: str, manifests: list[str], expected: list[str]) -> None:
    """The linter says exactly this, and marks what only holds once the staged policies are committed."""
    found = [f"{one.id} {one.resource} {one.field}{' committed' * one.committed}" for one in findings(*manifests)]
    assert sorted(found) == sorted(expected)


def test_lines_are_those_of_the_staged_manifest() -> None:
    """A finding stands where the staged policy is written."""
    (finding,) = findings("# one\n" + staged("p", WEB).replace("ingress: [", "ingress: [\n{action: Allow},\n"))
    assert finding.place == "f.yaml:4"
    assert finding.message.startswith("once committed: rule 0 (Allow) before it matches everything")


def test_messages() -> None:
    """What staged policies would do is said with names."""
    said = [finding.message for finding in findings(PODS, staged("p", WEB), delete("q"))]
    assert said == [
        "no policy of tier default governs ingress of shop/db, shop/web today; once committed, all ingress that no rule "
        "of the tier matches is denied",
        "there is no such policy; name one that exists",
    ]
