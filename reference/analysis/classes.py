"""Equivalence classes: addresses that no rule on a way tells apart share one walk.

A rule misses because of the packet, because of its source or because of its destination, each on its own. So all that a
way can ask of one end is one bit per rule, and ends with equal bits are equal for the walk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reference.policy.peers import Party
from reference.policy.question import End, Question
from reference.policy.rules import PolicyRule
from reference.policy.view import Way


class Columns:
    """For a rule and an end, the parties that fit it, as a bit mask; worked out once for all ways and ports."""

    def __init__(self, parties: dict[End, tuple[Party | None, ...]]) -> None:
        self._parties = parties
        self._fits: dict[tuple[PolicyRule, End, int, int], int] = {}

    def fitting(self, rule: PolicyRule, end: End, question: Question) -> int:
        """The parties at that end which the rule fits, whoever is at the other."""
        asks = rule.asks(end)
        sensitive = asks == "address and port"
        key = (rule, end, question.protocol if sensitive else 0, question.destination_port if sensitive else 0)
        found = self._fits.get(key)
        if found is None:
            found = self._fits[key] = self._compute(rule, end, question)
        return found

    def _compute(self, rule: PolicyRule, end: End, question: Question) -> int:
        mask = 0
        for place, party in enumerate(self._parties[end]):
            if party is not None and rule.miss_by_end(end, party, question) is None:
                mask |= 1 << place
        return mask

    def partition(self, members: int, rules: Iterable[PolicyRule], end: End, question: Question) -> list[int]:
        """The members in classes that none of the rules tells apart for this packet."""
        masks = {self.fitting(rule, end, question) for rule in rules if rule.asks(end) != "nothing"}
        return split(members, masks)


def rules_in_question(way: Way, question: Question) -> list[PolicyRule]:
    """The rules on a way that the packet's own fields leave open, whoever its ends are."""
    return [rule for rule in rules_on(way) if rule.miss_by_packet(question) is None]


def rules_on(way: Way) -> Iterator[PolicyRule]:
    """Every rule a packet may meet on a way."""
    for tier in way.tiers:
        for policy in tier.policies:
            yield from policy.rules(way.direction)
    for profile in way.profiles:
        yield from profile.rules


def split(members: int, masks: Iterable[int]) -> list[int]:
    """The members in the coarsest classes of which every mask holds all or none."""
    classes = [members] if members else []
    for mask in masks:
        classes = [part for old in classes for part in (old & mask, old & ~mask) if part]
    return classes


def facing(question: Question, end: End, party: Party) -> Question:
    """The same packet with another party at one end."""
    return Question(
        question.family,
        question.protocol,
        party if end == "source" else question.source,
        party if end == "destination" else question.destination,
        question.source_port,
        question.destination_port,
        question.icmp_type,
        question.icmp_code,
    )
