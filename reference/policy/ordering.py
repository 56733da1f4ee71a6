"""Tiers and policies in the order they are walked (POL-1 … POL-6, K8S-6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Literal

from reference.policy.cluster_policies import (
    CLUSTER_POLICIES,
    ClusterPolicy,
    cluster_rules,
    governed_by,
    order_of,
    tier_of,
)
from reference.policy.kubernetes import kubernetes_rules
from reference.policy.rules import CalicoRule, PolicyRule
from reference.policy.verdict import SideName
from reference.resources import (
    GlobalNetworkPolicy,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
    KubernetesNetworkPolicy,
    NetworkPolicy,
    Tier,
)
from reference.state import State

AnyPolicy = NetworkPolicy | GlobalNetworkPolicy | KubernetesNetworkPolicy | ClusterPolicy
SHORT_KINDS: dict[type[AnyPolicy], str] = {  # FL-5
    NetworkPolicy: "np",
    GlobalNetworkPolicy: "gnp",
    KubernetesNetworkPolicy: "knp",
    KubernetesClusterNetworkPolicy: "kcnp",
    KubernetesAdminNetworkPolicy: "kanp",
    KubernetesBaselineAdminNetworkPolicy: "kbanp",
}
KUBERNETES_ORDER = 1000.0
DEFAULT_TIER = "default"
_BOTH: frozenset[SideName] = frozenset({"ingress", "egress"})
_SIDES: dict[str, SideName] = {"Ingress": "ingress", "Egress": "egress"}


class Policy:
    """A policy ready to be walked. Rules are prepared when first needed: most policies of a state never are."""

    def __init__(self, resource: AnyPolicy, *, staged: bool = False) -> None:
        self.resource = resource  # of a staged policy, what it stands for
        self.staged = staged
        self.kind = f"{'s' if staged else ''}{SHORT_KINDS[type(resource)]}"
        self.namespace = resource.namespace
        self.name = resource.name
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        self.id = f"{self.kind}:{place}"
        if isinstance(resource, CLUSTER_POLICIES):
            self.tier, self.order, self.governs = tier_of(resource), order_of(resource), governed_by(resource)
            return
        if isinstance(resource, KubernetesNetworkPolicy):
            self.tier, self.order = DEFAULT_TIER, KUBERNETES_ORDER
            types = resource.spec.policy_types
        else:
            self.tier = resource.spec.tier or DEFAULT_TIER  # POL-5
            self.order = inf if resource.spec.order is None else resource.spec.order
            types = resource.spec.types
        self.governs = frozenset(_SIDES[name] for name in types) or _BOTH  # POL-6

    @property
    def sort_key(self) -> tuple[float, str]:
        """The place inside the tier: order, then `name/namespace/kind` (POL-3)."""
        kind = f"{'Staged' if self.staged else ''}{type(self.resource).__name__}"
        return self.order, f"{self.name}/{self.namespace}/{kind}"

    @cached_property
    def ingress(self) -> tuple[PolicyRule, ...]:
        """The ingress rules, prepared."""
        return tuple(self._prepared("ingress"))

    @cached_property
    def egress(self) -> tuple[PolicyRule, ...]:
        """The egress rules, prepared."""
        return tuple(self._prepared("egress"))

    def rules(self, direction: SideName) -> tuple[PolicyRule, ...]:
        """The rules of one direction, prepared."""
        return self.ingress if direction == "ingress" else self.egress

    def _prepared(self, direction: SideName) -> Iterator[PolicyRule]:
        if isinstance(self.resource, KubernetesNetworkPolicy):
            yield from kubernetes_rules(self.resource, direction)
            return
        if isinstance(self.resource, CLUSTER_POLICIES):
            yield from cluster_rules(self.resource, direction)
            return
        rules = self.resource.spec.ingress if direction == "ingress" else self.resource.spec.egress
        for index, rule in enumerate(rules):
            yield CalicoRule(rule, index, self.namespace)


@dataclass(frozen=True, slots=True, eq=False)
class OrderedTier:
    """A tier in its place. `exists` is false for one that only policies speak of (POL-4)."""

    name: str
    default_action: Literal["Deny", "Pass"]
    exists: bool


def ordered_tiers(state: State, policies: Sequence[Policy]) -> tuple[OrderedTier, ...]:
    """Every tier: those that exist by order, no order last, ties by name; then the missing ones by name.

    A missing tier is still walked, and ends in a denial (POL-4).
    """
    known = sorted(state.all(Tier), key=lambda tier: (inf if tier.spec.order is None else tier.spec.order, tier.name))
    names = {tier.name for tier in known}
    missing = sorted({policy.tier for policy in policies} - names)
    return (
        *(OrderedTier(tier.name, tier.spec.default_action, exists=True) for tier in known),
        *(OrderedTier(name, "Deny", exists=False) for name in missing),
    )


def enforced_policies(state: State) -> list[Policy]:
    """Every policy a workload endpoint can meet.

    Untracked and preDNAT ones are inert for workloads: they do not even make their tier count (POL-9, POL-10).
    """
    policies = [Policy(resource) for resource in state.all(NetworkPolicy)]
    policies += [
        Policy(resource)
        for resource in state.all(GlobalNetworkPolicy)
        if not (resource.spec.do_not_track or resource.spec.pre_dnat)
    ]
    policies += [Policy(resource) for resource in state.all(KubernetesNetworkPolicy)]
    policies += [Policy(resource) for resource in state.all(KubernetesClusterNetworkPolicy)]
    policies += [Policy(resource) for resource in state.all(KubernetesAdminNetworkPolicy)]
    policies += [Policy(resource) for resource in state.all(KubernetesBaselineAdminNetworkPolicy)]
    return policies
