"""The trace of a walk at a pod, with what surrounds it: who selects the pod, near misses, the pending trace (FL-6)."""

from __future__ import annotations

from msgspec.structs import replace

from reference.endpoints import WorkloadEndpoint
from reference.policy.nearness import near_misses
from reference.policy.ordering import OrderedTier
from reference.policy.pending import pending
from reference.policy.question import Question
from reference.policy.trace import Trace
from reference.policy.verdict import Side, SideName
from reference.policy.view import View


class PodTrace(Trace):
    """Writes down one walk at a workload endpoint."""

    def __init__(self, view: View, endpoint: WorkloadEndpoint, direction: SideName, question: Question) -> None:
        super().__init__(question, direction, endpoint.name, view.tiers)
        self._view = view
        self._way = view.way(endpoint, direction)
        self._later = view.pending.way(endpoint, direction)

    def why_skipped(self, tier: OrderedTier) -> str:
        """A tier whose policies here are all staged is as good as absent (POL-13)."""
        staged = any(one.tier.name == tier.name for one in self._later.tiers)
        return "no policy in it but staged ones (POL-13)" if staged else super().why_skipped(tier)

    def side(self, *, allowed: bool) -> Side:
        """What was written down, and its surroundings."""
        missed = {rule for _, _, rule, _ in self.misses}
        would_be = pending(self._later, self._question, missed)
        return replace(
            super().side(allowed=allowed),
            selecting=self._view.selecting(self._later),
            near_misses=near_misses(self._way, self._question, self.misses, self._view.relaxed, allowed=allowed),
            pending_hits=would_be.hits,
            pending_allowed=would_be.allowed,
        )
