"""The trace of one list of a host endpoint, with what surrounds it: who is in the list, and near misses."""

from __future__ import annotations

from msgspec.structs import replace

from reference.policy.hosts import Guard
from reference.policy.nearness import near_misses
from reference.policy.question import Question
from reference.policy.trace import Trace
from reference.policy.verdict import NearMiss, Side, SideName, Variant
from reference.policy.view import View


class HostTrace(Trace):
    """Writes down one walk at a host endpoint."""

    def __init__(
        self, view: View, where: str, guard: Guard, variant: Variant, direction: SideName, question: Question
    ) -> None:
        super().__init__(question, direction, where, view.hosts.tiers(variant))
        self._view = view
        self._variant = variant
        self._way = view.hosts.way(guard, variant, direction)
        later = view.pending.hosts
        self._later = later.way(later.like(guard), variant, direction)

    def side(self, *, allowed: bool) -> Side:
        """What was written down, and its surroundings. Only at the end of the normal list does a Pass deny."""
        misses = [miss for miss in self.misses if self._variant == "normal" or miss.rule.action != "Pass"]
        near: tuple[NearMiss, ...] = ()
        if self._way is not None:
            near = near_misses(self._way, self._question, misses, self._view.relaxed, allowed=allowed)
        return replace(
            super().side(allowed=allowed),
            variant=self._variant,
            selecting=() if self._later is None else self._view.selecting(self._later),
            near_misses=near,
        )
