# ruff: noqa: E501 - a table has one line per case
"""The staged kinds as resources: what is filled in, what is refused, what keeps a tier (1.1, 2b.2, POL-2)."""

from __future__ import annotations

from typing import Any

import pytest

from reference.errors import RefusedError
from reference.loading import load_state
from reference.resources import (
    GlobalNetworkPolicy,
    Key,
    KubernetesNetworkPolicy,
    ManifestError,
    NetworkPolicy,
    load,
    parse,
)
from reference.resources.admission import admit_delete
from reference.resources.staged import as_enforced

# fmt: off
SNP = ("apiVersion: projectcalico.org/v3\nkind: StagedNetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1, StagedNetworkPolicy shop/web: ")
SGNP = ("apiVersion: projectcalico.org/v3\nkind: StagedGlobalNetworkPolicy\nmetadata: {name: web}\nspec: {body}\n", "m.yaml:4: document 1, StagedGlobalNetworkPolicy web: ")
SKNP = ("apiVersion: projectcalico.org/v3\nkind: StagedKubernetesNetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1, StagedKubernetesNetworkPolicy shop/web: ")
NAME = ("apiVersion: projectcalico.org/v3\nkind: StagedNetworkPolicy\nmetadata: {name: {body}, namespace: shop}\nspec: {tier: ops}\n", "m.yaml:3: document 1, StagedNetworkPolicy shop/{body}: ")
ALONE = "stagedAction Delete needs nothing but the tier; remove the field"

INVALID = [
    (SNP, "{stagedAction: Remove}", 'spec.stagedAction: expected Delete, Ignore, Learn or Set, found "Remove"'),
    (SNP, "{stagedAction: delete}", 'spec.stagedAction: expected Delete, Ignore, Learn or Set, found "delete"; did you mean "Delete"?'),
    (SNP, "{stagedAction: Delete, order: 0}", f"spec.order: {ALONE}"),
    (SNP, "{stagedAction: Delete, selector: all()}", f"spec.selector: {ALONE}"),
    (SNP, "{stagedAction: Delete, serviceAccountSelector: all()}", f"spec.serviceAccountSelector: {ALONE}"),
    (SNP, "{stagedAction: Delete, types: [Ingress]}", f"spec.types: {ALONE}"),
    (SNP, "{stagedAction: Delete, ingress: [{action: Allow}]}", f"spec.ingress: {ALONE}"),
    (SNP, "{stagedAction: Delete, egress: [{action: Allow}]}", f"spec.egress: {ALONE}"),
    (SNP, "{stagedAction: Delete, performanceHints: [AssumeNeededOnEveryNode]}", f"spec.performanceHints: {ALONE}"),
    (SGNP, "{stagedAction: Delete, namespaceSelector: all()}", f"spec.namespaceSelector: {ALONE}"),
    (SGNP, "{stagedAction: Delete, applyOnForward: true}", f"spec.applyOnForward: {ALONE}"),
    (SGNP, "{stagedAction: Delete, doNotTrack: true}", f"spec.doNotTrack: {ALONE}"),
    (SGNP, "{stagedAction: Delete, preDNAT: true}", f"spec.preDNAT: {ALONE}"),
    (SKNP, "{stagedAction: Delete, podSelector: {matchLabels: {a: b}}}", f"spec.podSelector: {ALONE}"),
    (SKNP, "{stagedAction: Delete, policyTypes: [Egress]}", f"spec.policyTypes: {ALONE}"),
    (SKNP, "{stagedAction: Delete, ingress: [{}]}", f"spec.ingress: {ALONE}"),
    (SKNP, "{stagedAction: Delete, egress: [{}]}", f"spec.egress: {ALONE}"),
    (SKNP, "{tier: ops}", "spec.tier: unknown field; known: podSelector, policyTypes, ingress, egress, stagedAction"),
    (SNP, "{doNotTrack: true}", "spec.doNotTrack: unknown field; known: tier, order, selector, serviceAccountSelector, types, ingress, egress, performanceHints, stagedAction"),
    (SNP, "{selector: app ==}", "spec.selector: selector 'app ==', column 7: found the end, expected a quoted value"),
    (SNP, "{tier: a.b}", 'spec.tier: "a.b" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
    (SNP, "{types: [Ingress, Ingress]}", "spec.types[1]: Ingress is there twice"),
    (SNP, "{ingress: [{action: Allow, destination: {ports: [80]}}]}", "spec.ingress[0].destination.ports[0]: port 80 needs a protocol: TCP, UDP or SCTP"),
    (SGNP, "{preDNAT: true}", "spec.preDNAT: needs applyOnForward: true"),
    (SKNP, "{ingress: [{from: [{}]}]}", "spec.ingress[0].from[0]: an empty peer; give podSelector, namespaceSelector or ipBlock"),
    (NAME, "dev.web", 'metadata.name: "dev.web" is neither a DNS label nor the old form with its own tier, "ops.web"'),
]
# fmt: on


@pytest.mark.parametrize(("template", "body", "message"), INVALID)
def test_invalid(template: tuple[str, str], body: str, message: str) -> None:
    """A staged policy is checked as the one it stands for; one that deletes says nothing but its tier (2b.2)."""
    text, prefix = (part.replace("{body}", body) for part in template)
    with pytest.raises(ManifestError) as caught:
        parse(text, "m.yaml")

    assert str(caught.value) == prefix + message


def staged(kind: str, spec: dict[str, Any], name: str = "web") -> dict[str, Any]:
    """A manifest of a staged kind."""
    metadata = {"name": name} | ({} if kind == "StagedGlobalNetworkPolicy" else {"namespace": "shop"})
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("kind", ["StagedNetworkPolicy", "StagedGlobalNetworkPolicy"])
def test_calico_defaults(kind: str) -> None:
    """Staged Calico policies get the action Set, a tier, its label, and types from their rules (1.1, POL-5, POL-6)."""
    policy: Any = load(staged(kind, {"egress": [{"action": "Allow"}]})).resources[0]

    assert policy.spec.staged_action == "Set"
    assert policy.spec.tier == "default"
    assert policy.spec.types == ("Egress",)
    assert policy.metadata.labels == {"projectcalico.org/tier": "default"}


def test_kubernetes_defaults() -> None:
    """A staged Kubernetes policy gets the action Set and its policyTypes (1.1, K8S-8)."""
    policy: Any = load(staged("StagedKubernetesNetworkPolicy", {"egress": [{}]})).resources[0]

    assert policy.spec.staged_action == "Set"
    assert policy.spec.policy_types == ("Ingress", "Egress")


@pytest.mark.parametrize(
    ("kind", "attribute"),
    [
        ("StagedNetworkPolicy", "types"),
        ("StagedGlobalNetworkPolicy", "types"),
        ("StagedKubernetesNetworkPolicy", "policy_types"),
    ],
)
def test_deleting_gets_no_types(kind: str, attribute: str) -> None:
    """A policy that deletes governs nothing, so no direction is filled in and it stays valid."""
    policy = load(staged(kind, {"stagedAction": "Delete"})).resources[0]

    assert getattr(policy.spec, attribute) == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "enforced", "spec"),
    [
        ("StagedNetworkPolicy", NetworkPolicy, {"order": 5, "tier": "ops", "ingress": [{"action": "Deny"}]}),
        ("StagedGlobalNetworkPolicy", GlobalNetworkPolicy, {"namespaceSelector": "a == 'b'", "applyOnForward": True}),
        ("StagedKubernetesNetworkPolicy", KubernetesNetworkPolicy, {"ingress": [{"ports": [{"port": 80}]}]}),
    ],
)
def test_as_enforced(kind: str, enforced: type, spec: dict[str, Any]) -> None:
    """What a staged policy stands for is the resource that the same manifest of the enforced kind gives."""
    policy: Any = load(staged(kind, spec)).resources[0]
    api = "networking.k8s.io/v1" if enforced is KubernetesNetworkPolicy else "projectcalico.org/v3"
    plain = staged(kind, spec) | {"kind": kind.removeprefix("Staged").replace("Kubernetes", ""), "apiVersion": api}

    assert as_enforced(policy) == load(plain).resources[0]
    assert type(as_enforced(policy)) is enforced


@pytest.mark.parametrize("kind", ["StagedNetworkPolicy", "StagedGlobalNetworkPolicy"])
def test_staged_policies_keep_their_tier(kind: str) -> None:
    """POL-2: a tier that owns staged policies cannot be deleted either."""
    tier = {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "ops"}}
    state = load_state(tier, staged(kind, {"tier": "ops"}))
    with pytest.raises(RefusedError, match=f"Tier ops still owns {kind} (shop/)?web; delete or move"):
        admit_delete(state.resources, Key("Tier", "", "ops"))


def test_a_staged_kubernetes_policy_keeps_no_tier() -> None:
    """POL-2: a StagedKubernetesNetworkPolicy is not counted, whatever its name says."""
    tier = {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "ops"}}
    state = load_state(tier, staged("StagedKubernetesNetworkPolicy", {}, name="ops.web"))

    admit_delete(state.resources, Key("Tier", "", "ops"))
