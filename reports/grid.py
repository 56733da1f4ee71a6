"""The matrix of a scenario: sources down, destinations across, a mark per flow. Shared by terminal and page."""

from __future__ import annotations

from dataclasses import dataclass

from reports.results import Check, ScenarioResult

MARKS = {"allowed": ".", "denied": "X", "unreachable": "!", "unknown": "?"}


@dataclass(frozen=True)
class Grid:
    """One port and family: `cells[source][destination]` is the last check of that flow, or None."""

    title: str  # "80/TCP IPv4"
    names: tuple[str, ...]
    cells: dict[str, dict[str, Check]]

    def at(self, source: str, destination: str) -> Check | None:
        """The check of one flow, or None when it was not asked."""
        return self.cells.get(source, {}).get(destination)


def grids(scenario: ScenarioResult, step: int | None = None) -> list[Grid]:
    """A grid for every port and family that was probed (in one step, or in the last step each was probed in)."""
    asked: dict[str, dict[str, dict[str, Check]]] = {}
    for check in scenario.checks:
        if step is None or check.step == step:
            port = check.protocol if check.port == 0 else f"{check.port}/{check.protocol}"
            cells = asked.setdefault(f"{port} IPv{check.family}", {})
            cells.setdefault(check.source, {})[check.destination] = check
    return [Grid(title, _names(scenario, cells), cells) for title, cells in asked.items()]


def _names(scenario: ScenarioResult, cells: dict[str, dict[str, Check]]) -> tuple[str, ...]:
    present = set(cells) | {destination for row in cells.values() for destination in row}
    return tuple(name for name in scenario.endpoints if name in present)


def mark(check: Check | None) -> str:
    """One letter: what the kernel did; `*` marks a mismatch."""
    if check is None:
        return " "
    return MARKS[check.kernel] if check.status == "passed" else "*"
