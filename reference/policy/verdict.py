"""What the oracle answers: a verdict with the walk that led to it, for both ends of the connection."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Literal

import msgspec

from reference.packet import Packet
from reference.policy.hits import PROFILE_TIER, Hit, HitAction

__all__ = [
    "PROFILE_TIER",
    "Hit",
    "HitAction",
    "NearMiss",
    "Selecting",
    "Side",
    "SideName",
    "Step",
    "Variant",
    "Verdict",
]

SideName = Literal["egress", "ingress"]
Variant = Literal["doNotTrack", "preDNAT", "normal", "applyOnForward"]  # the lists of a host endpoint (HEP-3)
_SHOWN = 3  # near misses in a text


class Step(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the walk for people: what was looked at, and what came of it."""

    tier: str
    policy: str  # "" when the step is about the tier itself
    rule: int | None  # None when the step is about the policy or the tier
    outcome: Literal["match", "miss", "end of tier", "log"]
    text: str  # "rule 2 misses: destination port 443 is not in 80, 8080-8090"


class NearMiss(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A rule that one field alone kept from matching, and that would have turned the verdict of its side."""

    tier: str  # "__PROFILE__" for profiles
    policy: str  # np:shop/web
    rule: int
    action: Literal["Allow", "Deny", "Pass"]
    field: str  # the one that missed: "destination.ports"
    others: int  # fields of the rule that did fit: the more, the nearer
    reason: str  # "destination port 443 is not in 80, 8080-8090"


class Selecting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A policy that selects the endpoint and governs the direction, in the order of the walk."""

    tier: str
    policy: str  # np:shop/web
    order: float | None  # None sorts last (POL-3)
    staged: bool


class Side(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one list of policies decided: egress at the source's endpoint, ingress at the destination's.

    `variant` is empty for a pod, which has one list each way, and says which of a host endpoint's four it was.
    `allowed` is true of a list that decides nothing, too: the packet goes on.
    """

    direction: SideName
    endpoint: str  # "namespace/pod", "host/node-1/eth0", "host/node-1/*"
    allowed: bool
    hits: tuple[Hit, ...]
    steps: tuple[Step, ...]
    reason: str  # "allowed by rule 0 of np:shop/web in tier default"
    variant: Variant | Literal[""] = ""
    tier_default: str = ""  # the tier whose default action decided, if one did
    selecting: tuple[Selecting, ...] = ()  # staged policies too
    near_misses: tuple[NearMiss, ...] = ()  # the nearest first
    pending_hits: tuple[Hit, ...] = ()  # as if staged policies were enforced (FL-6); for pods only
    pending_allowed: bool | None = None  # what the pending trace ends in; None where there is none

    def hit_strings(self) -> tuple[str, ...]:
        """The enforced trace in FL-5 format."""
        return _rendered(self.hits)

    def pending_hit_strings(self) -> tuple[str, ...]:
        """The pending trace in FL-5 format (FL-6)."""
        return _rendered(self.pending_hits)


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The oracle's answer to one packet.

    A side is None when no policy is consulted at that end (a host outside the cluster, CT-1, a pod to itself).
    """

    packet: Packet
    source: str  # what the source address is: "shop/web", "node/node-1", "host/internet", "10.9.9.9"
    destination: str
    allowed: bool
    reason: str  # the one line that decided
    egress: Side | None = None
    ingress: Side | None = None
    sides: tuple[Side, ...] = ()  # all of them in order, when host endpoints were consulted too
    answer_implied: bool = True  # false where untracked policy stands: answers need rules of their own there (HEP-4)

    @property
    def trace(self) -> tuple[Side, ...]:
        """The sides that were consulted, in that order."""
        return self.sides or tuple(side for side in (self.egress, self.ingress) if side is not None)

    def explain(self) -> str:
        """The whole walk as text for a terminal, ending in the verdict."""
        lines = [str(self.packet), f"from {self.source} to {self.destination}"]
        for side in self.trace:
            variant = f", {side.variant} policies" if side.variant else ""
            lines += ["", f"{side.direction} at {side.endpoint}{variant}", *_step_lines(side)]
            lines += [f"  = {side.reason}", *(f"    {hit}" for hit in side.hit_strings()), *_aside(side)]
        if self.allowed and not self.answer_implied:
            lines += ["", "untracked policy stands on the way: the answer is not implied, it needs a rule of its own"]
        return "\n".join([*lines, "", f"{'ALLOWED' if self.allowed else 'DENIED'}: {self.reason}", ""])


def _rendered(hits: tuple[Hit, ...]) -> tuple[str, ...]:
    return tuple(hit.render(index) for index, hit in enumerate(hits))


def _aside(side: Side) -> Iterator[str]:
    """What else is worth knowing, in short: who selects the endpoint, what nearly matched, what is staged."""
    if side.pending_allowed is None and not side.variant:
        return  # nothing more is known of it
    enforced = [one for one in side.selecting if not one.staged]
    yield f"  selected by {', '.join(map(_selecting_text, enforced)) or 'no policy'}"
    if side.near_misses:
        yield "  near misses"
        yield from (f"    {_near_miss_text(miss, side)}" for miss in side.near_misses[:_SHOWN])
        more = len(side.near_misses) - _SHOWN
        if more > 0:
            yield f"    and {more} more"
    if side.pending_allowed is not None and any(one.staged for one in side.selecting):
        yield f"  if staged policies were enforced: {'allowed' if side.pending_allowed else 'denied'}"
        yield from (f"    {hit}" for hit in side.pending_hit_strings())


def _selecting_text(one: Selecting) -> str:
    order = "" if one.order is None else f", order {one.order:g}"
    return f"{one.policy} (tier {one.tier}{order})"


def _near_miss_text(miss: NearMiss, side: Side) -> str:
    turned = "denied" if side.allowed else "allowed"
    return f"{miss.policy} rule {miss.rule} ({miss.action}) would have {turned} it, but {miss.reason}"


def _step_lines(side: Side) -> Iterator[str]:
    """The steps under the tier and the policy they are about."""
    for tier, steps in groupby(side.steps, key=lambda step: step.tier):
        yield "  profiles" if tier == PROFILE_TIER else f"  tier {tier}"
        for policy, members in groupby(steps, key=lambda step: step.policy):
            if policy:
                yield f"    {policy}"
            yield from (f"{'      ' if policy else '    '}{step.text}" for step in members)
