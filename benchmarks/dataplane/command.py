"""`python -m benchmarks dataplane`: measure, or make tables and plots of what was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import msgspec

from benchmarks.dataplane import inside
from benchmarks.dataplane.packets import Plan
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
@click.option("--rounds", default=25, show_default=True, help="Rounds of packets, earlier ones in the file included.")
@click.option("--minutes", default=10.0, show_default=True, help="No round begins later than this.")
@click.option("--milliseconds", default=40, show_default=True, help="How long each run of traffic is.")
@click.option("--json", "into", type=click.Path(path_type=Path, dir_okay=False), default=Path("out/dataplane.json"),
              show_default=True, help="Keep what is measured here; what is there is gone on with.")  # fmt: skip
def dataplane(
    dataplanes: tuple[str, ...],
    parts: tuple[str, ...],
    modes: tuple[str, ...],
    sizes: tuple[int, ...],
    rounds: int,
    minutes: float,
    milliseconds: int,
    into: Path,
) -> None:
    """Measure what dataplanes cost."""
    plan = Plan(
        dataplanes or tuple(DATAPLANES), tuple(sorted(sizes)) or (10, 1_000, 10_000), modes or MODES, milliseconds,
        rounds, minutes,
    )  # fmt: skip
    for part in parts or PARTS:
        measure(part, plan, into)
