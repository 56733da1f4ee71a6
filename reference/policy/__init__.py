"""The oracle: from a state and a packet to a verdict and its trace (semantics 2a, 2b).

It interprets the user's resources directly, packet by packet, in code meant to be read beside the documentation.
"""

from __future__ import annotations

from reference.policy.oracle import allowed, evaluate
from reference.policy.verdict import Hit, Side, Step, Verdict

__all__ = ["Hit", "Side", "Step", "Verdict", "allowed", "evaluate"]
