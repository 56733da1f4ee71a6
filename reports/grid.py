"""The matrix of a scenario: sources down, destinations across, a mark per flow. Shared by terminal and page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.results import Check, ScenarioResult

MARKS = {"allowed": ".", "denied": "X", "unreachable": "!", "unknown": "?"}
WRONG = "*"


@dataclass(frozen=True)
class Grid:
    """One port and family: `cells[source][destination]` is the check of that flow, one per family in `families`."""

    port: str  # "80/TCP", "ICMP"
    families: tuple[int, ...]  # one, or both when they do not differ in any mark
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    cells: dict[str, dict[str, tuple[Check, ...]]]

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
        found = self.every(source, destination)
        return found[0] if found else None

    def every(self, source: str, destination: str) -> tuple[Check, ...]:
        """The checks of one flow, one per family."""
        return self.cells.get(source, {}).get(destination, ())

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
    ports = list(dict.fromkeys(port for port, _ in asked))
    by_port = sorted(asked, key=lambda key: (ports.index(key[0]), key[1]))
    return [_grid(scenario, port, family, asked[port, family]) for port, family in by_port]


def _grid(scenario: ScenarioResult, port: str, family: int, cells: dict[str, dict[str, Check]]) -> Grid:
    present = {destination for row in cells.values() for destination in row}
    sources = tuple(name for name in scenario.endpoints if name in cells)
    destinations = tuple(name for name in scenario.endpoints if name in present)
    singly: dict[str, dict[str, tuple[Check, ...]]] = {
        source: {to: (check,) for to, check in row.items()} for source, row in cells.items()
    }
    return Grid(port, (family,), sources, destinations, singly)


def joined(found: Iterable[Grid]) -> list[Grid]:
    """The grids with the two families of a port as one where they look the same."""
    by_look: dict[tuple[object, ...], list[Grid]] = {}
    for grid in found:
        by_look.setdefault((grid.port, grid.sources, grid.destinations, grid.marks()), []).append(grid)
    return [_together(same) for same in by_look.values()]


def _together(same: list[Grid]) -> Grid:
    first = same[0]
    cells = {
        source: {to: tuple(check for grid in same for check in grid.every(source, to)) for to in row}
        for source, row in first.cells.items()
    }
    families = tuple(family for grid in same for family in grid.families)
    return Grid(first.port, families, first.sources, first.destinations, cells)


def mark(check: Check | None) -> str:
    """One letter: what the kernel did; `*` marks a mismatch."""
    if check is None:
        return " "
    return MARKS[check.kernel] if check.status != "failed" else WRONG
