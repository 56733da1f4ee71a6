"""Questions about a whole state: who can reach whom, and what a change changes."""

from __future__ import annotations

from reference.analysis.matrix import matrix
from reference.analysis.table import Change, Counts, Matrix

__all__ = ["Change", "Counts", "Matrix", "matrix"]
