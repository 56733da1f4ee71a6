"""One policy or profile, compiled: its rules, the sets they need, whom it selects and where it stands (2a, 2b)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import inf
from typing import Literal

from reference.program import cluster_policies, kubernetes
from reference.program.cluster_policies import ClusterPolicy
from reference.program.rewriting import policy_selector
from reference.program.rules import NumberedRule, compile_rules
from reference.program.sets import SetSpec
from reference.program.types import FlowDirection, Match, PolicyProgram, ProgramRule
from reference.resources import (
    GlobalNetworkPolicy,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
    KubernetesNetworkPolicy,
    NetworkPolicy,
    Profile,
)
from reference.resources.calico import Rule
from reference.selectors import Selector

AnyPolicy = NetworkPolicy | GlobalNetworkPolicy | KubernetesNetworkPolicy | ClusterPolicy
PROFILE_TIER = "__PROFILE__"
DEFAULT_TIER = "default"
_DENY_ALL = (ProgramRule(action="deny", index=-1, match=Match()),)
EVERYWHERE = "AssumeNeededOnEveryNode"
Variant = Literal["normal", "untracked", "pre_dnat"]  # the latter two speak to host endpoints only (POL-9, POL-10)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a policy stands among the others. Compared by identity: an unchanged placement is the same object."""

    id: str  # PolicyProgram id
    tier: str
    rank: tuple[float, bytes]  # order with null last, then name/namespace/kind bytewise (POL-3)
    ingress: bool
    egress: bool
    variant: Variant = "normal"
    forward: bool = False  # also in the list for forwarded traffic (POL-9)

    def governs(self, direction: FlowDirection) -> bool:
        """Report whether the policy has a say in a direction (POL-6)."""
        return self.ingress if direction == "ingress" else self.egress

    def same_as(self, other: Placement) -> bool:
        """Report whether the other says the same."""
        return all(getattr(self, field.name) == getattr(other, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPolicy:
    """What the compiler knows of one policy; a pure function of the resource."""

    program: PolicyProgram
    sets: dict[str, SetSpec]  # by base id
    scope: Selector | None = None  # None for profiles, which endpoints name themselves
    placement: Placement | None = None
    everywhere: bool = False  # every node gets it, needed or not


def compile_policy(policy: AnyPolicy) -> CompiledPolicy | None:
    """Compile a policy."""
    match policy:
        case KubernetesNetworkPolicy():
            return _kubernetes(policy)
        case KubernetesClusterNetworkPolicy() | KubernetesAdminNetworkPolicy() | KubernetesBaselineAdminNetworkPolicy():
            return _cluster(policy)
        case _:
            return _calico(policy)


def compile_profile(name: str, profile: Profile | None) -> CompiledPolicy:
    """Compile a profile; one that does not exist is a stand-in that denies all, whatever profiles follow (POL-16)."""
    if profile is None:
        return CompiledPolicy(
            PolicyProgram(id=f"pro:{name}", tier=PROFILE_TIER, ingress=_DENY_ALL, egress=_DENY_ALL), {}
        )
    sets: dict[str, SetSpec] = {}
    ingress, egress = profile.spec.ingress, profile.spec.egress
    program = PolicyProgram(
        id=f"pro:{name}",
        tier=PROFILE_TIER,
        ingress=compile_rules(_numbered(ingress), "", sets),
        egress=compile_rules(_numbered(egress), "", sets),
    )
    return CompiledPolicy(program, sets)


def _kubernetes(policy: KubernetesNetworkPolicy) -> CompiledPolicy:
    sets: dict[str, SetSpec] = {}
    ingress, egress = kubernetes.governs(policy)
    program = PolicyProgram(
        id=f"knp:{policy.namespace}/{policy.name}",
        tier=DEFAULT_TIER,
        ingress=compile_rules(kubernetes.ingress_rules(policy) if ingress else (), policy.namespace, sets),
        egress=compile_rules(kubernetes.egress_rules(policy) if egress else (), policy.namespace, sets),
    )
    placement = Placement(program.id, DEFAULT_TIER, _rank(policy, kubernetes.ORDER), ingress, egress)
    return CompiledPolicy(program, sets, kubernetes.scope(policy), placement)


def _cluster(policy: ClusterPolicy) -> CompiledPolicy:
    """Governs the directions in which anything was converted (K8S-12)."""
    sets: dict[str, SetSpec] = {}
    found = cluster_policies.convert(policy)
    program = PolicyProgram(
        id=f"{found.short_kind}:{policy.name}",
        tier=found.tier,
        ingress=compile_rules(found.ingress, "", sets),
        egress=compile_rules(found.egress, "", sets),
    )
    rank = _rank(policy, found.order)
    placement = Placement(program.id, found.tier, rank, bool(found.ingress), bool(found.egress))
    return CompiledPolicy(program, sets, found.scope, placement)


def _calico(policy: NetworkPolicy | GlobalNetworkPolicy) -> CompiledPolicy:
    """Rules of a direction the policy does not govern are left out (POL-8); without types it governs both (POL-6)."""
    spec = policy.spec
    ingress, egress = (direction in (spec.types or ("Ingress", "Egress")) for direction in ("Ingress", "Egress"))
    sets: dict[str, SetSpec] = {}
    short = f"np:{policy.namespace}/{policy.name}" if isinstance(policy, NetworkPolicy) else f"gnp:{policy.name}"
    program = PolicyProgram(
        id=short,
        tier=spec.tier or DEFAULT_TIER,
        ingress=compile_rules(_numbered(spec.ingress) if ingress else (), policy.namespace, sets),
        egress=compile_rules(_numbered(spec.egress) if egress else (), policy.namespace, sets),
    )
    variant, forward = _lists(policy)
    placement = Placement(short, program.tier, _rank(policy, spec.order), ingress, egress, variant, forward)
    everywhere = EVERYWHERE in spec.performance_hints and variant == "normal"
    return CompiledPolicy(program, sets, policy_selector(policy), placement, everywhere)


def _lists(policy: NetworkPolicy | GlobalNetworkPolicy) -> tuple[Variant, bool]:
    """The list a policy is in, and whether it is in the one for forwarded traffic too (POL-9)."""
    if not isinstance(policy, GlobalNetworkPolicy):
        return "normal", False
    spec = policy.spec
    variant: Variant = "untracked" if spec.do_not_track else "pre_dnat" if spec.pre_dnat else "normal"
    return variant, spec.apply_on_forward and variant == "normal"


def _rank(policy: AnyPolicy, order: float | None) -> tuple[float, bytes]:
    tie = f"{policy.name}/{policy.namespace}/{policy.key.kind}"
    return (inf if order is None else order, tie.encode())


def _numbered(rules: Iterable[Rule]) -> Iterable[NumberedRule]:
    return (NumberedRule(index, rule) for index, rule in enumerate(rules))
