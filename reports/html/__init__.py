"""One self-contained HTML page: no script from elsewhere, no network, readable without JavaScript."""

from __future__ import annotations

from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.grid import grids, mark
from reports.junit import verdicts
from reports.results import RunResult

_environment = Environment(
    loader=PackageLoader("reports", "html"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(result: RunResult) -> str:
    """The whole run as a page."""
    return _environment.get_template("page.jinja").render(
        result=result,
        started=datetime.fromtimestamp(result.started, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        grids=grids,
        mark=mark,
        verdicts=verdicts,
        checks=sum(len(s.checks) + len(s.observations) for s in result.scenarios),
        wrong=sum(len(s.mismatches) + sum(o.status != "passed" for o in s.observations) for s in result.scenarios),
    )
