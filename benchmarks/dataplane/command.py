"""`python -m benchmarks dataplane`: measure, or make tables and plots of what was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import msgspec

from benchmarks.dataplane import document, inside
from benchmarks.dataplane import record as records
from benchmarks.dataplane.figures import Figures
from benchmarks.dataplane.packets import Plan
from benchmarks.dataplane.tables import markdown
from benchmarks.dataplane.traffic import MODES
from emulator.dataplane import DATAPLANES
from reference.errors import EnvironmentLacksError

PARTS = (inside.PACKETS, inside.CHANGES)


def measure(part: str, plan: Plan, path: Path) -> None:
    """Run one part inside a sandbox, showing what it does.

    Raises:
        EnvironmentLacksError: it ended before it was done.
    """
    order = inside.Order(part, plan, str(path.resolve()))
    command = [sys.executable, "-m", "benchmarks.dataplane.inside", msgspec.json.encode(order).decode()]
    line = ""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.strip() != inside.DONE:
                click.echo(f"{part}: {line.strip()}", err=True)
    if line.strip() != inside.DONE:
        raise EnvironmentLacksError(f"the measurement of {part} ended before it was done")


@click.command(short_help="packets and changes on every dataplane, against the same pods without policy")
@click.option("--dataplane", "dataplanes", multiple=True, type=click.Choice(sorted(DATAPLANES)),
              help="Only this one; may be repeated.")  # fmt: skip
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part; may be repeated.")
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), help="Only this traffic; may be repeated.")
@click.option("--size", "sizes", multiple=True, type=click.IntRange(min=4),
              help="Numbers of rules; may be repeated.  [default: 10, 1000, 10000]")  # fmt: skip
@click.option("--rounds", default=30, show_default=True, help="Rounds of packets, earlier ones in the file included.")
@click.option("--minutes", default=9.0, show_default=True, help="No round of packets begins later than this.")
@click.option("--milliseconds", default=30, show_default=True, help="How long each run of traffic is.")
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), default=Path("out/dataplane.json"),
              show_default=True, help="Keep what is measured here; what is there is gone on with.")  # fmt: skip
@click.option(
    "--from", "source", type=click.Path(path_type=Path, dir_okay=False), help="Measure nothing; show this file."
)
@click.option("--docs", type=click.Path(path_type=Path, file_okay=False),
              help="Put tables and plots into this folder's performance.md, not on the terminal.")  # fmt: skip
def dataplane(
    dataplanes: tuple[str, ...],
    parts: tuple[str, ...],
    modes: tuple[str, ...],
    sizes: tuple[int, ...],
    rounds: int,
    minutes: float,
    milliseconds: int,
    path: Path,
    source: Path | None,
    docs: Path | None,
) -> None:
    """Measure what dataplanes cost, and show it.

    \b
    python -m benchmarks dataplane                                      measure and show
    python -m benchmarks dataplane --from out/dataplane.json --docs docs   write the documentation
    """
    if source is None:
        plan = Plan(
            dataplanes or tuple(DATAPLANES), tuple(sorted(sizes)) or (10, 1_000, 10_000), modes or MODES,
            milliseconds, rounds, minutes,
        )  # fmt: skip
        for part in parts or PARTS:
            measure(part, plan, path)
    figures = Figures(records.load(source or path))
    if docs is None:
        click.echo(markdown(figures))
        return
    for written in document.write(figures, docs):
        click.echo(f"wrote {written}")
