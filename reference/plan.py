"""A command being decided: the state it began from, what it has decided so far, and the state that leads to.

A command that raises leaves nothing behind, because only a finished plan becomes a `Decision`. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reference.events import AnyEvent, Draft
from reference.resources import Key
from reference.state import Progress, State

Result = Literal["created", "configured", "unchanged", "deleted"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did to one resource, in kubectl's words."""

    key: Key
    result: Result

    def __str__(self) -> str:
        return f"{self.key} {self.result}"


@dataclass(frozen=True, slots=True)
class Decision:
    """One command, decided: append all of `drafts` to the log, or none of them."""

    drafts: tuple[Draft, ...]
    outcomes: tuple[Outcome, ...]
    state: State  # what appending the drafts leads to


class Plan:
    """Drafts in the making. `progress` always shows the state as if they had happened."""

    def __init__(self, state: State, now: float) -> None:
        """Begin from `state`; `now` is in seconds since the epoch."""
        self.now = now
        self.progress = Progress(state)
        self._before = state
        self._drafts: list[Draft] = []
        self._outcomes: list[Outcome] = []

    def emit(self, actor: str, event: AnyEvent) -> None:
        """Decide one more event."""
        self.progress.advance(event)
        self._drafts.append(Draft(actor, event))

    @property
    def drafts(self) -> Sequence[Draft]:
        """What was decided so far."""
        return self._drafts

    def report(self, key: Key, result: Result) -> None:
        """Tell the user what became of a resource."""
        self._outcomes.append(Outcome(key, result))

    def decision(self) -> Decision:
        """The finished command."""
        state = self.progress.freeze() if self._drafts else self._before
        return Decision(tuple(self._drafts), tuple(self._outcomes), state)
