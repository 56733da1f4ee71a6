"""The pending trace: what the flow logs would say if staged policies were enforced (FL-6).

Calico computes it with another walk than the one that enforces, and so it is here: the end of a tier names the first
policy in scope, a profile that passes denies, and profiles that all stay silent leave no hit.
"""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from reference.policy.ordering import Policy
from reference.policy.question import Question
from reference.policy.rules import PolicyRule
from reference.policy.verdict import PROFILE_TIER, Hit, HitAction
from reference.policy.view import ProfileOnWay, TierOnWay, Way

_ACTIONS: dict[str, HitAction] = {"Allow": "allow", "Deny": "deny", "Pass": "pass"}


class Pending(NamedTuple):
    """The pending trace of one side, and the verdict it ends in."""

    hits: tuple[Hit, ...]
    allowed: bool


def pending(way: Way, question: Question, missed: Set[PolicyRule] = frozenset()) -> Pending:
    """Walk a way on which staged policies stand among the enforced ones. Rules known to have missed are not tried."""
    hits: list[Hit] = []
    for tier in way.tiers:
        hit = _in_tier(tier, way, question, missed)
        hits.append(hit)
        if hit.action != "pass":
            return Pending(tuple(hits), hit.action == "allow")
    last = _in_profiles(way, question, missed)
    if last is not None:
        hits.append(last)
    return Pending(tuple(hits), last is not None and last.action == "allow")


def _in_tier(tier: TierOnWay, way: Way, question: Question, missed: Set[PolicyRule]) -> Hit:
    """The first rule that decides; at the end of the tier the default action, in the name of its first policy.

    A tier all of whose policies are staged ends no differently: they count as enforced here.
    """
    for policy in tier.policies:
        rule = _deciding(policy.rules(way.direction), question, missed)
        if rule is not None:
            return _hit(tier.tier.name, policy, rule.action, rule.index)
    return _hit(tier.tier.name, tier.policies[0], tier.tier.default_action, -1)


def _in_profiles(way: Way, question: Question, missed: Set[PolicyRule]) -> Hit | None:
    """The profile that decides. Without any there is a hit that names none; when none of them decides, no hit."""
    for profile in way.profiles:
        if not profile.exists:  # POL-16
            return _hit(PROFILE_TIER, profile, "Deny", -1)
        rule = _deciding(profile.rules, question, missed)
        if rule is not None:  # a Pass denies here, unlike in the enforced walk (POL-14)
            return _hit(PROFILE_TIER, profile, "Allow" if rule.action == "Allow" else "Deny", rule.index)
    if way.profiles:
        return None
    return Hit(tier=PROFILE_TIER, kind="pro", namespace="", name=PROFILE_TIER, action="deny", rule=-1)


def _deciding(rules: tuple[PolicyRule, ...], question: Question, missed: Set[PolicyRule]) -> PolicyRule | None:
    """The first rule that matches and does not merely log."""
    for rule in rules:
        if rule not in missed and rule.action != "Log" and rule.miss(question) is None:
            return rule
    return None


def _hit(tier: str, policy: Policy | ProfileOnWay, action: str, rule: int) -> Hit:
    return Hit(
        tier=tier, kind=policy.kind, namespace=policy.namespace, name=policy.name, action=_ACTIONS[action], rule=rule
    )
