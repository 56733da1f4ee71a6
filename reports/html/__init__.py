"""One self-contained HTML page: no script, no network, light and dark, from a phone to a wall."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import dedent

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.grid import WRONG, Grid, grids, joined, mark
from reports.junit import verdicts
from reports.results import Check, RunResult, ScenarioResult, plural
from reports.sides import sides, word

_environment = Environment(
    loader=PackageLoader("reports", "html"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Moment:
    """A step, or the end, with its matrices."""

    title: str
    grids: list[Grid]
    checks: int
    wrong: int


def page(result: RunResult) -> str:
    """The whole run as a page."""
    mismatches = (check for scenario in result.scenarios for check in scenario.mismatches)
    anchors = {id(check): f"mismatch-{number}" for number, check in enumerate(mismatches, 1)}
    return _environment.get_template("page.jinja").render(
        result=result,
        started=datetime.fromtimestamp(result.started, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        moments=lambda scenario: list(moments(scenario)),
        anchor=lambda check: anchors[id(check)],
        lines=lambda text: dedent(text).strip().splitlines(),
        hover=hover,
        look=look,
        mark=mark,
        plural=plural,
        verdicts=verdicts,
        beside=sides(result),
        word=word,
        number={id(scenario): at for at, scenario in enumerate(result.scenarios, 1)},
        id=id,
    )


def moments(scenario: ScenarioResult) -> Iterator[Moment]:
    """Every step in order, with what the network was like if it looked; and the end, if it looked there."""
    by_step: dict[int, list[Check]] = {}
    for check in scenario.checks:
        by_step.setdefault(check.step, []).append(check)
    titles = [f"Step {number}: {step}" for number, step in enumerate(scenario.steps, 1)]
    for step, title in enumerate([*titles, "At the end"]):
        checks = by_step.get(step, [])
        if checks or step < len(titles):
            wrong = sum(check.status != "passed" for check in checks)
            yield Moment(title, joined(grids(scenario, step)), len(checks), wrong)


def hover(checks: tuple[Check, ...]) -> str:
    """What a cell says when it is pointed at: the flow, the reason, the evidence; for each family."""
    return "\n\n".join(f"{check.flow}: {verdicts(check)}\n{check.oracle_reason}\n{check.evidence}" for check in checks)


def look(check: Check) -> str:
    """The class of a cell."""
    return "mismatch" if mark(check) == WRONG else check.kernel
