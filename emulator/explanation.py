"""Model and kernel side by side: one probe, sent for real while every node traces it, beside the oracle's walk."""

from __future__ import annotations

import msgspec

from emulator.dataplane.contract import TraceStep
from emulator.probe.types import Outcome
from reference.policy.verdict import Verdict


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What the oracle says, what the network did, and the packet's way through the nodes' kernels."""

    verdict: Verdict
    outcome: Outcome
    steps: tuple[TraceStep, ...]

    @property
    def agrees(self) -> bool:
        """Report whether model and kernel say the same; an unknown outcome agrees with nothing."""
        return self.outcome.bears_out(allowed=self.verdict.allowed, answer_implied=self.verdict.answer_implied)

    def text(self) -> str:
        """Both ways, for a terminal."""
        lines = [
            "MODEL",
            self.verdict.explain(),
            "",
            "KERNEL",
            self.kernel_text(),
            "",
            "model and kernel agree" if self.agrees else "MODEL AND KERNEL DISAGREE",
        ]
        return "\n".join(lines)

    def kernel_text(self) -> str:
        """The packet's way through the kernels, a line per rule, and what became of it."""
        steps = [f"  {step.node} {step.chain}: {step.rule or step.text} -> {step.verdict}" for step in self.steps]
        return "\n".join([*steps, f"  {self.outcome.result.upper()}: {self.outcome.evidence}"])
