"""The matrix of a scenario: sources down, destinations across, a mark per flow. Shared by terminal and page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.results import Check, ScenarioResult

MARKS = {"allowed": ".", "denied": "X", "unreachable": "!", "unknown": "?"}
WRONG = "*"


@dataclass(frozen=True)
class Grid:
    """One port and family: `cells[source][destination]` is the check of that flow."""

    port: str  # "80/TCP", "ICMP"
    families: tuple[int, ...]  # one, or both when they do not differ in any mark
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    cells: dict[str, dict[str, Check]]

    @property
    def title(self) -> str:
        """`80/TCP IPv4`, `80/TCP IPv4 and IPv6`."""
        return f"{self.port} {' and '.join(f'IPv{family}' for family in self.families)}"

    @property
    def is_square(self) -> bool:
        """Report whether every destination is a source too."""
        return set(self.destinations) <= set(self.sources)

    def at(self, source: str, destination: str) -> Check | None:
        """The check of one flow, or None when it was not asked."""
        return self.cells.get(source, {}).get(destination)

    def marks(self) -> tuple[str, ...]:
        """A string of marks per source."""
        return tuple("".join(mark(self.at(source, to)) for to in self.destinations) for source in self.sources)


def grids(scenario: ScenarioResult, step: int | None = None) -> list[Grid]:
    """A grid for every port and family probed in one step, or in all of them.

    Of several checks of one flow the last counts; but a mismatch is never covered by a check that passed.
    """
    asked: dict[tuple[str, int], dict[str, dict[str, Check]]] = {}
    for check in scenario.checks:
        if step is None or check.step == step:
            port = check.protocol if check.port == 0 else f"{check.port}/{check.protocol}"
            row = asked.setdefault((port, check.family), {}).setdefault(check.source, {})
            if check.status != "passed" or check.destination not in row or row[check.destination].status == "passed":
                row[check.destination] = check
    return [_grid(scenario, port, family, cells) for (port, family), cells in asked.items()]


def _grid(scenario: ScenarioResult, port: str, family: int, cells: dict[str, dict[str, Check]]) -> Grid:
    present = {destination for row in cells.values() for destination in row}
    sources = tuple(name for name in scenario.endpoints if name in cells)
    destinations = tuple(name for name in scenario.endpoints if name in present)
    return Grid(port, (family,), sources, destinations, cells)


def joined(found: Iterable[Grid]) -> list[Grid]:
    """The grids with the two families of a port as one where they look the same."""
    by_look: dict[tuple[object, ...], list[Grid]] = {}
    for grid in found:
        by_look.setdefault((grid.port, grid.sources, grid.destinations, grid.marks()), []).append(grid)
    return [
        Grid(first.port, tuple(f for one in same for f in one.families), first.sources, first.destinations, first.cells)
        for same in by_look.values()
        for first in same[:1]
    ]


def mark(check: Check | None) -> str:
    """One letter: what the kernel did; `*` marks a mismatch."""
    if check is None:
        return " "
    return MARKS[check.kernel] if check.status != "failed" else WRONG
