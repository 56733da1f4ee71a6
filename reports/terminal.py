"""Progress while a run goes on, and its result, for people on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reports.grid import Grid, grids, joined
from reports.junit import verdicts
from reports.results import Check, RunResult, ScenarioResult, Status, plural, summary
from reports.sides import Sides, is_repeated, sides, word

COLOURS: dict[Status, str] = {"passed": "green", "failed": "bold red", "unknown": "yellow"}
TITLES: dict[Status, str] = {"passed": "", "failed": "MISMATCH", "unknown": "NO EVIDENCE"}
LEGEND = ". allowed  X denied  ! unreachable  ? no evidence  * mismatch"
INDENT = 2
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
        line.append(f", {summary(result)}, {result.seconds:.1f} s")
        self._console.print(line)
        if result.error:
            self._console.print(Text(f"  {result.error}"))


def show(result: RunResult, console: Console) -> None:
    """The whole result: the matrices of each scenario, each mismatch explained, and one last line."""
    for scenario in result.scenarios:
        if not is_repeated(scenario, result):
            _scenario(scenario, console)
    if (beside := sides(result)) is not None:
        console.print(_sides(beside))
    for dataplane, why in result.left_out.items():
        console.print(Text.assemble((f"{dataplane} left out: ", "yellow"), why))
    last = Text.assemble((result.status.upper(), COLOURS[result.status]))
    last.append(f"  {plural(len(result.scenarios), 'scenario')}, {summary(result)}, {result.seconds:.1f} s")
    console.print(last)


def _sides(beside: Sides) -> Table:
    """Scenarios down, dataplanes across."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.pad_edge = False
    table.add_column("scenario", style="dim", no_wrap=True)
    for dataplane in beside.dataplanes:
        table.add_column(dataplane, no_wrap=True)
    for name, row in beside.rows.items():
        cells = [row.get(dataplane) for dataplane in beside.dataplanes]
        table.add_row(name, *(Text(word(cell), style=COLOURS[cell.status] if cell else "") for cell in cells))
    return table


def _scenario(scenario: ScenarioResult, console: Console) -> None:
    console.print(Text.assemble((scenario.title, "bold"), f"  ({scenario.plain_name}, {scenario.enforced_by})"))
    for grid in joined(grids(scenario)):
        console.print(Padding(_table(grid, console.width - INDENT), (0, 0, 0, INDENT), expand=False))
    if scenario.checks:
        console.print(Text(f"  {LEGEND}", style="dim"))
    for observation in scenario.observations:
        status = (observation.status, COLOURS[observation.status])
        console.print(Text.assemble("  ", status, f"  {observation.title}: {observation.detail}"))
    for check in scenario.mismatches[:MOST_SHOWN]:
        _mismatch(check, console)
    if len(scenario.mismatches) > MOST_SHOWN:
        console.print(Text(f"  … and {len(scenario.mismatches) - MOST_SHOWN} more; --report writes them all"))
    if scenario.error:
        console.print(Text.assemble("  ", ("broke off: ", "yellow"), scenario.error))
    console.print()


def _table(grid: Grid, width: int) -> Table:
    """Destinations are numbered as the sources are; few of them, or others than the sources, go by name."""
    table = Table(title=Text(grid.title), title_justify="left", title_style="bold dim", box=None, padding=(0, 1, 0, 0))
    table.pad_edge = False
    named = not grid.is_square or _fits(grid, width)
    numbers = {name: number for number, name in enumerate(grid.sources)}
    table.add_column("from \\ to", style="dim", no_wrap=True)
    for destination in grid.destinations:
        table.add_column(Text(destination if named else str(numbers[destination])), justify="center", overflow="fold")
    for source, marks in zip(grid.sources, grid.marks(), strict=True):
        head = source if named else f"{numbers[source]:>2} {source}"
        table.add_row(Text(head), *(Text(letter, style=STYLES[letter]) for letter in marks))
    return table


def _fits(grid: Grid, width: int) -> bool:
    """Report whether a table with the destinations' names across fits."""
    return max(map(len, grid.sources)) + sum(len(name) + 1 for name in grid.destinations) < width


def _mismatch(check: Check, console: Console) -> None:
    console.print(
        Text.assemble((f"  {TITLES[check.status]} ", COLOURS[check.status]), f"{check.flow}: {verdicts(check)}")
    )
    console.print(Text(f"    oracle: {check.oracle_reason}"))
    for blame in check.blame:
        console.print(Text(f"      {blame}"))
        for line in blame.text.splitlines():
            console.print(Text(f"        {line}", style="dim"))
    console.print(Text(f"    kernel: {check.evidence}"))
