"""Interleaved timing: A B A B …, so that a drifting machine drifts for both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One line of a result: what was done how often, the median seconds per round, and the ratio to the floor."""

    name: str
    count: int  # operations in a round
    seconds: float  # median of the rounds
    ratio: float | None  # median of the ratios round by round to the floor; None for the floor itself

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.count / self.seconds


@dataclass
class Result:
    """One benchmark's outcome."""

    title: str
    target: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """A section of docs/performance.md."""
        lines = [f"### {self.title}", "", f"Target: {self.target}", "", "| what | operations | time | rate | ratio |",
                 "|---|---|---|---|---|"]  # fmt: skip
        for figure in self.figures:
            ratio = "floor" if figure.ratio is None else f"{figure.ratio:.2f}"
            lines.append(
                f"| {figure.name} | {figure.count:,} | {_time(figure.seconds)} | {figure.rate:,.0f}/s | {ratio} |"
            )
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes, ""])


def interleaved(
    contenders: Mapping[str, tuple[int, Callable[[], object]]], *, floor: str, rounds: int = 5, warm: bool = True
) -> list[Figure]:
    """Run every contender once per round, in turn; `floor` names the one the others are held against.

    The ratio is of times per operation: 2.00 means twice as slow as the floor. Work that returns a float has timed
    itself, in seconds: what it needed to set up is then left out.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + warm):
        for name, (_count, work) in contenders.items():
            gc.collect()
            start = time.perf_counter()
            timed = work()
            if number >= warm:
                times[name].append(timed if isinstance(timed, float) else time.perf_counter() - start)
    per_floor = [seconds / contenders[floor][0] for seconds in times[floor]]
    figures = []
    for name, (count, _work) in contenders.items():
        ratios = [seconds / count / base for seconds, base in zip(times[name], per_floor, strict=True)]
        ratio = None if name == floor else statistics.median(ratios)
        figures.append(Figure(name, count, statistics.median(times[name]), ratio))
    return figures


def _time(seconds: float) -> str:
    return (
        f"{seconds:.2f} s"
        if seconds >= 1
        else f"{seconds * 1e3:.2f} ms"
        if seconds >= 1e-3
        else f"{seconds * 1e6:.0f} µs"
    )
