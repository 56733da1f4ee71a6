"""The same scenarios on several dataplanes, side by side. Shared by terminal and page."""

from __future__ import annotations

from dataclasses import dataclass

from reports.results import RunResult, ScenarioResult


@dataclass(frozen=True)
class Sides:
    """A row per scenario, a column per dataplane; `rows` holds the results by dataplane."""

    dataplanes: tuple[str, ...]
    rows: dict[str, dict[str, ScenarioResult]]


def sides(result: RunResult) -> Sides | None:
    """The table, or None when no scenario was run on more than one dataplane."""
    dataplanes = tuple(dict.fromkeys(scenario.dataplane for scenario in result.scenarios))
    rows: dict[str, dict[str, ScenarioResult]] = {}
    for scenario in result.scenarios:
        rows.setdefault(scenario.plain_name, {})[scenario.dataplane] = scenario
    return Sides(dataplanes, rows) if any(len(row) > 1 for row in rows.values()) else None


def word(scenario: ScenarioResult | None) -> str:
    """A cell: how it ended, with the number of what did not pass."""
    if scenario is None:
        return ""
    wrong = scenario.count("failed") + scenario.count("unknown")
    return f"{scenario.status} ({wrong})" if wrong else scenario.status


def is_repeated(scenario: ScenarioResult, result: RunResult) -> bool:
    """Report whether the same scenario passed on another dataplane before: its matrices would say nothing new."""
    first = next(one for one in result.scenarios if one.plain_name == scenario.plain_name)
    return scenario is not first and scenario.status == first.status == "passed"
