"""Near misses: the rules that one field alone kept from matching and that would have turned the verdict.

A rule missed by one field only if it matches once that field is taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from reference.policy.ordering import Policy
from reference.policy.question import Question
from reference.policy.relaxing import Kept, Relaxed, relax
from reference.policy.rules import PolicyRule
from reference.policy.verdict import PROFILE_TIER, NearMiss
from reference.policy.view import ProfileOnWay, TierOnWay, Way
from reference.policy.walk import walk

_KEPT = 10  # of one side


class Miss(NamedTuple):
    """A rule that was looked at and did not match, and the first field that did not."""

    tier: TierOnWay | None  # None in the profiles
    policy: Policy | ProfileOnWay
    rule: PolicyRule
    field: str


def near_misses(
    way: Way, question: Question, misses: Iterable[Miss], kept: Kept, *, allowed: bool
) -> tuple[NearMiss, ...]:
    """The nearest of the misses, those with most fields that fit first, then in the order of the walk."""
    same = ("Log", "Allow" if allowed else "Deny")  # rules that would not have turned the verdict
    near = [
        (relaxed.others, miss)
        for miss in misses
        if miss.rule.action not in same
        and not _misses_elsewhere(miss, question)
        and (relaxed := _relaxed(miss, kept)) is not None
        and relaxed.rule.miss(question) is None
        and _outcome(way, miss, question) != allowed
    ]
    near.sort(key=lambda pair: -pair[0])
    return tuple(_told(miss, others, question) for others, miss in near[:_KEPT])


def _misses_elsewhere(miss: Miss, question: Question) -> bool:
    """Report whether the other end does not fit either, which is quick to say: each end has its own fields."""
    side, dot, _ = miss.field.partition(".")
    if not dot:
        return False
    if side == "source":
        return miss.rule.miss_by_end("destination", question.destination, question) is not None
    return miss.rule.miss_by_end("source", question.source, question) is not None


def _outcome(way: Way, miss: Miss, question: Question) -> bool:
    """The verdict, had the rule matched: a Pass goes on behind its tier, or behind its profile (POL-14)."""
    if miss.rule.action != "Pass":
        return miss.rule.action == "Allow"
    if miss.tier is not None:
        rest = Way(way.direction, way.tiers[way.tiers.index(miss.tier) + 1 :], way.profiles)
    else:
        names = [profile.name for profile in way.profiles]
        rest = Way(way.direction, (), way.profiles[names.index(miss.policy.name) + 1 :])
    return walk(rest, question)


def _told(miss: Miss, others: int, question: Question) -> NearMiss:
    assert miss.rule.action != "Log", "a Log rule decides nothing"
    return NearMiss(
        tier=PROFILE_TIER if miss.tier is None else miss.tier.tier.name,
        policy=miss.policy.id,
        rule=miss.rule.index,
        action=miss.rule.action,
        field=miss.field,
        others=others,
        reason=miss.rule.why(miss.field, question),
    )


def _relaxed(miss: Miss, kept: Kept) -> Relaxed | None:
    key = (miss.rule, miss.field)
    found = kept.get(key)
    if found is None and key not in kept:
        found = kept[key] = relax(miss.rule, miss.field, miss.policy.namespace)
    return found
