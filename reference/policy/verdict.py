"""What the oracle answers: a verdict with the walk that led to it, for both ends of the connection."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Literal

import msgspec

from reference.packet import Packet

SideName = Literal["egress", "ingress"]
HitAction = Literal["allow", "deny", "pass"]
PROFILE_TIER = "__PROFILE__"  # the tier of a profile's hits (FL-5)


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One decision on the way, in the terms of FL-5. `rule` -1 is the end of a tier, `policy` then only the trigger."""

    tier: str  # "__PROFILE__" for profiles
    kind: str  # np, gnp, knp, pro
    namespace: str  # empty for cluster-scoped kinds
    name: str
    action: HitAction
    rule: int

    @property
    def policy(self) -> str:
        """`<kind>:[<namespace>/]<name>`."""
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind}:{place}"

    def render(self, index: int) -> str:
        """FL-5: `<index>|<tier>|<kind>:[<namespace>/]<name>|<action>|<rule>`."""
        return f"{index}|{self.tier}|{self.policy}|{self.action}|{self.rule}"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the walk for people: what was looked at, and what came of it."""

    tier: str
    policy: str  # "" when the step is about the tier itself
    rule: int | None  # None when the step is about the policy or the tier
    outcome: Literal["match", "miss", "end of tier", "log"]
    text: str  # "rule 2 misses: destination port 443 is not in 80, 8080-8090"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one end decided: egress at the source's endpoint, ingress at the destination's."""

    direction: SideName
    endpoint: str  # "namespace/pod"
    allowed: bool
    hits: tuple[Hit, ...]
    steps: tuple[Step, ...]
    reason: str  # "allowed by rule 0 of np:shop/web in tier default"

    def hit_strings(self) -> tuple[str, ...]:
        """The enforced trace in FL-5 format."""
        return tuple(hit.render(index) for index, hit in enumerate(self.hits))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
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

    @property
    def trace(self) -> tuple[Side, ...]:
        """The sides that were consulted, egress first."""
        return tuple(side for side in (self.egress, self.ingress) if side is not None)

    def explain(self) -> str:
        """The whole walk as text for a terminal, ending in the verdict."""
        lines = [str(self.packet), f"from {self.source} to {self.destination}"]
        for side in self.trace:
            lines += ["", f"{side.direction} at {side.endpoint}", *_step_lines(side)]
            lines += [f"  = {side.reason}", *(f"    {hit}" for hit in side.hit_strings())]
        return "\n".join([*lines, "", f"{'ALLOWED' if self.allowed else 'DENIED'}: {self.reason}", ""])


def _step_lines(side: Side) -> Iterator[str]:
    """The steps under the tier and the policy they are about."""
    for tier, steps in groupby(side.steps, key=lambda step: step.tier):
        yield "  profiles" if tier == PROFILE_TIER else f"  tier {tier}"
        for policy, members in groupby(steps, key=lambda step: step.policy):
            if policy:
                yield f"    {policy}"
            yield from (f"{'      ' if policy else '    '}{step.text}" for step in members)
