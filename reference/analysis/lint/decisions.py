"""Rules and policies that never decide anything: MUS101 … MUS105.

Only what is certain is reported, whatever pods there are or come to be: a rule is shadowed when the boxes of earlier
rules take away all of its own, and an earlier policy counts only where its selector is implied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reference.analysis.lint.boxes import Box, Way, covered, is_possible
from reference.analysis.lint.cluster_rules import ClusterPolicy, ClusterRule, unknown_peers
from reference.analysis.lint.implication import implies
from reference.analysis.lint.subject import WAYS, Finding, PolicyFacts, RuleFacts, Subject
from reference.policy.ordering import OrderedTier
from reference.resources import GlobalNetworkPolicy, NetworkPolicy


def never_deciding(subject: Subject) -> Iterator[Finding]:
    """MUS101 to MUS104, one finding for each rule or policy at most."""
    for way in WAYS:
        walk = _Walk(subject, way)
        for policy in subject.policies:
            if way in policy.governs:
                yield from _of_policy(subject, walk, policy)


def rules_outside_types(subject: Subject) -> Iterator[Finding]:
    """MUS105: rules for a direction that is not in `types` (POL-8)."""
    for policy in subject.policies:
        if isinstance(policy.resource, ClusterPolicy):
            continue  # they have no types
        for way in WAYS:
            count = len(policy.rules(way))
            if way not in policy.governs and count:
                types = "types" if isinstance(policy.resource, NetworkPolicy | GlobalNetworkPolicy) else "policyTypes"
                yield subject.finding(
                    "MUS105", policy.key, ("spec", way),
                    f"{count} {way} {'rule is' if count == 1 else 'rules are'} ignored: {types} does not name "
                    f"{way.capitalize()}; add it, or take the rules out",
                )  # fmt: skip


def _of_policy(subject: Subject, walk: _Walk, policy: PolicyFacts) -> Iterator[Finding]:
    way = walk.way
    why = walk.never_reached(policy)
    if why:
        yield subject.finding(
            "MUS103", policy.key, _policy_path(policy, way), f"its {way} rules are never reached: {why}"
        )
        return
    earlier = _Earlier(walk.deciding_before(policy))
    for rule in policy.rules(way):
        yield from _of_rule(subject, rule, earlier)
        if rule.decides:
            earlier.add(rule)


@dataclass
class _Earlier:
    """The deciding rules before a rule, and the one after which nothing is left."""

    boxes: list[Box]
    catch_all: RuleFacts | None = None

    def __init__(self, boxes: Iterable[Box]) -> None:
        self.boxes = list(boxes)

    def add(self, rule: RuleFacts) -> None:
        self.boxes.extend(rule.boxes)
        if rule.matches_everything and self.catch_all is None:
            self.catch_all = rule


def _of_rule(subject: Subject, rule: RuleFacts, earlier: _Earlier) -> Iterator[Finding]:
    key, path = rule.policy.key, rule.path
    if rule.rule is None:
        return
    if not rule.boxes:
        if not isinstance(rule.rule, ClusterRule) or not unknown_peers(rule.rule):  # MUS505 says why
            yield subject.finding(
            "MUS104", key, path,
            "no packet can match it: its protocol, ports, nets and family contradict each other; check notNets and "
            "notPorts that exclude all the rest, and nets of the other family than the protocol's",
        )  # fmt: skip
    elif not all(map(is_possible, rule.boxes)):
        return  # MUS205 says which selector is to blame
    elif earlier.catch_all is not None:
        other = earlier.catch_all
        yield subject.finding(
            "MUS102", key, path,
            f"rule {other.index} ({other.action}) before it matches everything; put this rule before it, or take it "
            "out",
        )  # fmt: skip
    elif all(covered(box, earlier.boxes) for box in rule.boxes):
        yield subject.finding(
            "MUS101", key, path,
            f"all it matches is decided by {_culprits(rule, earlier)}; put it first, narrow the other, or take it out",
        )  # fmt: skip


def _culprits(rule: RuleFacts, earlier: _Earlier) -> str:
    """Name one rule of the same policy that is enough, if there is one."""
    for other in rule.policy.rules(rule.way)[: rule.index]:
        if other.decides and all(covered(box, other.boxes) for box in rule.boxes):
            return f"rule {other.index} ({other.action}) before it"
    return "earlier rules together"


class _Walk:
    """One direction of the walk: which rules stand before a policy wherever it applies."""

    def __init__(self, subject: Subject, way: Way) -> None:
        self.way = way
        self._subject = subject
        self._earlier: dict[PolicyFacts, list[PolicyFacts]] = {}
        self._place = {tier.name: number for number, tier in enumerate(subject.tiers)}

    def deciding_before(self, policy: PolicyFacts) -> Iterator[Box]:
        """What earlier policies decide for good before this one, wherever it applies."""
        for tier in self._tiers_before(policy):
            for rule in self._before_any_pass(policy, tier):
                yield from rule.boxes
        for other in self._before_in_tier(policy):
            yield from (box for rule in other.rules(self.way) if rule.decides for box in rule.boxes)

    def never_reached(self, policy: PolicyFacts) -> str:
        """Why nothing ever reaches the policy, or "" (MUS103)."""
        for tier in self._tiers_before(policy):
            for rule in self._before_any_pass(policy, tier):
                if rule.matches_everything:
                    return f"rule {rule.index} of {rule.policy.key} in tier {tier.name} ({rule.action}) matches all"
            if tier.default_action == "Deny" and not self._may_pass(policy, tier):
                for other in self._applying(policy, tier):
                    return (
                        f"tier {tier.name} ends in Deny for the endpoints of {other.key}, which are all of its own, "
                        f"and no rule there says Pass; pass on in {tier.name} what later tiers shall decide"
                    )
        for other in self._before_in_tier(policy):
            for rule in other.rules(self.way):
                if rule.decides and rule.matches_everything:
                    return (
                        f"rule {rule.index} of {other.key} ({rule.action}) before it in tier {other.tier} matches all; "
                        "change the orders, or narrow that rule"
                    )
        return ""

    def _tiers_before(self, policy: PolicyFacts) -> Iterator[OrderedTier]:
        """The tiers that come first; for the lists that end in Pass only rules matter there (POL-9)."""
        return (tier for tier in self._subject.tiers[: self._place[policy.tier]] if policy.lane == "normal")

    def _before_in_tier(self, policy: PolicyFacts) -> list[PolicyFacts]:
        found = self._earlier.get(policy)
        if found is None:
            before = self._subject.before(policy)
            found = self._earlier[policy] = [other for other in before if self._applies_wherever(other, policy)]
        return found

    def _applying(self, policy: PolicyFacts, tier: OrderedTier) -> Iterator[PolicyFacts]:
        others = self._subject.meeting(tier.name, policy.namespace)
        return (other for other in others if self._applies_wherever(other, policy))

    def _before_any_pass(self, policy: PolicyFacts, tier: OrderedTier) -> Iterator[RuleFacts]:
        """The deciding rules that apply in an earlier tier, up to the first rule that may lead out of it."""
        for other in self._subject.meeting(tier.name, policy.namespace):
            if self.way not in other.governs or other.lane != policy.lane:
                continue
            applies = self._applies_wherever(other, policy)
            for rule in other.rules(self.way):
                if rule.action == "Pass":
                    return
                if applies and rule.decides:
                    yield rule

    def _may_pass(self, policy: PolicyFacts, tier: OrderedTier) -> bool:
        return any(
            rule.action == "Pass"
            for other in self._subject.meeting(tier.name, policy.namespace)
            if self.way in other.governs and other.lane == policy.lane
            for rule in other.rules(self.way)
        )

    def _applies_wherever(self, other: PolicyFacts, policy: PolicyFacts) -> bool:
        """Report whether `other` certainly governs every endpoint, in every list, that `policy` governs."""
        if self.way not in other.governs or other.lane != policy.lane:
            return False
        if policy.is_forwarded and not other.is_forwarded:
            return False
        if other.namespace and other.namespace != policy.namespace:
            return False  # cheap, and most pairs end here
        if policy.scope is None or other.scope is None:
            return False
        return implies(policy.scope, other.scope)


def _policy_path(policy: PolicyFacts, way: Way) -> tuple[str, ...]:
    return ("spec", way) if policy.rules(way) else ("spec",)
