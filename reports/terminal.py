"""Progress while a run goes on, and its result, for people on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.grid import Grid, grids, mark
from reports.junit import verdicts
from reports.results import Check, RunResult, ScenarioResult, Status

COLOURS: dict[Status, str] = {"passed": "green", "failed": "bold red", "unknown": "yellow"}
STYLES = {".": "green", "X": "red", "!": "yellow", "?": "yellow", "*": "bold white on red", " ": ""}
MOST_SHOWN = 5  # mismatches shown in full per scenario; the report has all


class Progress:
    """Says what is being done: a line in passing on a terminal, a line per scenario elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._head = ""

    def scenario_started(self, name: str, number: int, count: int) -> None:
        """A scenario begins."""
        self._head = f"[{number}/{count}] {name}"
        self.step("bringing up the cluster")

    def step(self, text: str) -> None:
        """Something is being done."""
        if self._console.is_terminal:
            self._console.file.write(f"\r\033[K{self._head}: {text}"[: self._console.width])
            self._console.file.flush()

    def scenario_ended(self, result: ScenarioResult) -> None:
        """A scenario is through."""
        if self._console.is_terminal:
            self._console.file.write("\r\033[K")
        line = Text.assemble(f"{self._head}: ", (result.status, COLOURS[result.status]))
        line.append(f", {count(result)}, {result.seconds:.1f} s")
        self._console.print(line)


def count(scenario: ScenarioResult) -> str:
    """How much was checked, and how much did not pass."""
    checks = len(scenario.checks) + len(scenario.observations)
    wrong = len(scenario.mismatches) + sum(o.status != "passed" for o in scenario.observations)
    return f"{checks} checks, {wrong} mismatches"


def show(result: RunResult, console: Console) -> None:
    """The whole result: a matrix per scenario, each mismatch explained, and one last line."""
    for scenario in result.scenarios:
        _scenario(scenario, console)
    checks = sum(len(s.checks) + len(s.observations) for s in result.scenarios)
    wrong = sum(len(s.mismatches) + sum(o.status != "passed" for o in s.observations) for s in result.scenarios)
    last = Text.assemble((result.status.upper(), COLOURS[result.status]))
    last.append(f"  {len(result.scenarios)} scenarios, {checks} checks with real packets, {wrong} mismatches, ")
    last.append(f"{result.seconds:.1f} s")
    console.print(last)


def _scenario(scenario: ScenarioResult, console: Console) -> None:
    console.print(Text.assemble((scenario.title, "bold"), f"  ({scenario.name}, {scenario.dataplane})"))
    for grid in grids(scenario):
        console.print(_table(grid))
    if scenario.checks:
        console.print("  . allowed  X denied  ! unreachable  ? no evidence  * mismatch", style="dim")
    for observation in scenario.observations:
        console.print(Text.assemble("  ", (observation.status, COLOURS[observation.status]), f"  {observation.title}: "
                                    f"{observation.detail}"))  # fmt: skip
    for check in scenario.mismatches[:MOST_SHOWN]:
        _mismatch(check, console)
    if len(scenario.mismatches) > MOST_SHOWN:
        console.print(f"  … and {len(scenario.mismatches) - MOST_SHOWN} more; --report writes them all")
    if scenario.error:
        console.print(Text.assemble("  ", ("broke off: ", "yellow"), scenario.error))
    console.print()


def _table(grid: Grid) -> Table:
    table = Table(title=grid.title, title_justify="left", title_style="dim", box=None, padding=(0, 1), pad_edge=False)
    table.add_column("from \\ to", style="dim")
    for number in range(len(grid.names)):
        table.add_column(str(number), justify="center")
    for number, source in enumerate(grid.names):
        marks = [mark(grid.at(source, destination)) for destination in grid.names]
        table.add_row(f"{number:>3} {source}", *(Text(letter, style=STYLES[letter]) for letter in marks))
    return table


def _mismatch(check: Check, console: Console) -> None:
    console.print(Text.assemble(("  MISMATCH ", "bold red"), f"{check.flow}: {verdicts(check)}"))
    console.print(f"    oracle: {check.oracle_reason}")
    for blame in check.blame:
        console.print(f"      {blame}")
    console.print(f"    kernel: {check.evidence}")
