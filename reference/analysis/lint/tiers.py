"""Tiers, orders and default denials: MUS301 … MUS306."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import inf

from reference.analysis.lint.boxes import Way, may_overlap
from reference.analysis.lint.cluster_rules import ClusterPolicy
from reference.analysis.lint.implication import satisfiable
from reference.analysis.lint.labels import every
from reference.analysis.lint.subject import WAYS, Finding, PolicyFacts, RuleFacts, Subject
from reference.policy.ordering import OrderedTier
from reference.resources import KubernetesNetworkPolicy, Tier
from reference.resources.faults import FieldPath, nearest


def missing_tiers(subject: Subject) -> Iterator[Finding]:
    """MUS301: a policy of a tier that does not exist (POL-4)."""
    known = [tier.name for tier in subject.tiers if tier.exists]
    for policy in subject.policies:
        if policy.tier in known:
            continue
        near = nearest(policy.tier, known)
        hint = f'did you mean "{near}"?' if near else "declare the Tier, or name one that exists"
        yield subject.finding(
            "MUS301", policy.key, ("spec", "tier"),
            f'no tier is named "{policy.tier}": the policy is enforced after all others, and denies what it does not '
            f"match; {hint}",
        )  # fmt: skip


def order_ties(subject: Subject) -> Iterator[Finding]:
    """MUS302: two policies of equal order that decide the same packets differently (POL-3)."""
    opinions = {policy: _opinions(policy) for policy in subject.policies}
    for later in subject.policies:
        for earlier in subject.before(later):
            if earlier.order != later.order or len(opinions[earlier] | opinions[later]) < 2:
                continue
            clash = _clash(earlier, later)
            if clash:
                yield _tie(subject, earlier, later, clash)
                break


def _opinions(policy: PolicyFacts) -> frozenset[str]:
    """What its rules say of packets."""
    return frozenset(rule.action for rule in policy.all_rules if rule.decides)


def _tie(subject: Subject, earlier: PolicyFacts, later: PolicyFacts, clash: tuple[RuleFacts, RuleFacts]) -> Finding:
    order = "no order" if later.order == inf else f"order {later.order:g}"
    one, other = clash
    return subject.finding(
        "MUS302", later.key, _order_path(later),
        f"{order}, as {earlier.key}, which comes first by its name alone; their {one.way} rules {one.index} "
        f"({one.action}) and {other.index} ({other.action}) contradict each other; give them different orders",
    )  # fmt: skip


def _order_path(policy: PolicyFacts) -> FieldPath:
    return (
        ("metadata", "name")
        if isinstance(policy.resource, KubernetesNetworkPolicy)
        else (("spec", "priority") if isinstance(policy.resource, ClusterPolicy) else ("spec", "order"))
    )


def _clash(one: PolicyFacts, other: PolicyFacts) -> tuple[RuleFacts, RuleFacts] | None:
    """Two rules that may meet the same packet at the same endpoint and decide differently."""
    if one.lane != other.lane:
        return None
    pairs = (
        (first, second)
        for way in WAYS
        if way in one.governs & other.governs
        for first in one.rules(way)
        for second in other.rules(way)
        if first.decides and second.decides and first.action != second.action
    )
    found = next((pair for pair in pairs if _meet(*pair)), None)
    return found if found and _may_share_endpoints(one, other) else None


def _meet(one: RuleFacts, other: RuleFacts) -> bool:
    return any(may_overlap(left, right) for left in one.boxes for right in other.boxes)


def _may_share_endpoints(one: PolicyFacts, other: PolicyFacts) -> bool:
    if one.scope is None or other.scope is None:
        return False
    return satisfiable(every((one.scope, other.scope)))


def tier_ties(subject: Subject) -> Iterator[Finding]:
    """MUS303: tiers of equal order, or of none (POL-1)."""
    tiers = sorted(subject.state.all(Tier), key=lambda tier: (_order(tier), tier.name))
    for earlier, later in pairwise(tiers):
        if _order(earlier) == _order(later):
            order = "no order" if later.spec.order is None else f"order {later.spec.order:g}"
            yield subject.finding(
                "MUS303", later.key, ("spec", "order"),
                f"{order}, as tier {earlier.name}, which comes first by its name alone; give them different orders",
            )  # fmt: skip


def _order(tier: Tier) -> float:
    return inf if tier.spec.order is None else tier.spec.order


def activations(subject: Subject) -> Iterator[Finding]:
    """MUS304 to MUS306: policies that make the end of their tier deny more than their rules say (POL-7, POL-13)."""
    tiers = {tier.name: tier for tier in subject.tiers}
    for policy in subject.policies:
        if policy.lane != "normal":
            continue  # such tiers end in Pass (POL-9)
        tier = tiers[policy.tier]
        if tier.default_action == "Deny":
            yield from _activation(subject, policy, tier)


def _activation(subject: Subject, policy: PolicyFacts, tier: OrderedTier) -> Iterator[Finding]:
    empty = [way for way in WAYS if way in policy.governs and not policy.rules(way)]
    if set(empty) == policy.governs:
        both = " and ".join(empty)
        yield subject.finding(
            "MUS305", policy.key, ("spec",),
            f"it has no rules, so it denies all {both} that no other policy of tier {tier.name} matches, for every "
            "endpoint it selects",
        )  # fmt: skip
        return
    for way in empty:
        yield subject.finding(
            "MUS304", policy.key, _types_path(policy),
            f"{_why_governed(subject, policy, way)}, but it has no {way} rules: all {way} of its endpoints that no "
            f"other policy of tier {tier.name} matches is denied; leave the type out, or add rules",
        )  # fmt: skip
    for way in WAYS:
        if way in policy.governs and _only_denies(policy, way) and not _others_let_through(subject, policy, way):
            yield subject.finding(
                "MUS306", policy.key, ("spec", way),
                f"it only denies, but what its {way} rules do not match reaches the end of tier {tier.name} and is "
                f"denied too; add a last rule that says {'Pass' if tier.name != 'default' else 'Allow or Pass'}",
            )  # fmt: skip


def _why_governed(subject: Subject, policy: PolicyFacts, way: Way) -> str:
    path = _types_path(policy)
    if subject.spelled(policy.key, path) is False:  # only Kubernetes': Calico's types follow the rules (POL-6, K8S-8)
        return f"{path[-1]} is absent, which always means {way.capitalize()}"
    return f"{way.capitalize()} is in its {path[-1]}"


def _types_path(policy: PolicyFacts) -> FieldPath:
    return ("spec", "policyTypes" if isinstance(policy.resource, KubernetesNetworkPolicy) else "types")


def _only_denies(policy: PolicyFacts, way: Way) -> bool:
    """Report whether it denies something, but not everything, and lets nothing through."""
    rules = [rule for rule in policy.rules(way) if rule.decides]
    denials = bool(rules) and all(rule.action == "Deny" for rule in rules)
    return denials and not any(rule.matches_everything for rule in rules)


def _others_let_through(subject: Subject, policy: PolicyFacts, way: Way) -> bool:
    """Report whether another policy of the tier may apply to its endpoints and allow or pass something."""
    return any(
        rule.action in ("Allow", "Pass")
        for other in subject.meeting(policy.tier, policy.namespace)
        if other is not policy and way in other.governs and _could_meet(policy, other)
        for rule in other.rules(way)
    )


def _could_meet(policy: PolicyFacts, other: PolicyFacts) -> bool:
    if policy.scope is None or other.scope is None:
        return True
    return satisfiable(every((policy.scope, other.scope)))
