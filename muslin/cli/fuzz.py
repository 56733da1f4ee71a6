"""`muslin fuzz`: differential search, model against program and kernel."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from muslin.cli import output


@click.command()
@click.option(
    "--time",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="S",
    help="How long to search.",
)
@click.option("--seed", type=int, metavar="N", help="Repeat a search; by default a new one.")
@click.option(
    "--kernel/--no-kernel", default=None, help="Also send a sample for real; by default where that is possible."
)
@click.option(
    "--save", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where a mismatch is saved."
)
@output.json_option
def fuzz(seconds: float, seed: int | None, kernel: bool | None, save: Path, as_json: bool) -> int:
    """Search for a cluster and a packet on which oracle, program and kernel differ.

    A mismatch is shrunk and written as a scenario that reproduces it. Exit code 1: one was found.

    \b
    muslin fuzz --time 60
    muslin fuzz --seed 7 --no-kernel
    """
    from property_tests.campaigns import search

    if kernel is None:
        kernel = can_run_clusters()
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    click.echo(f"seed {seed}", err=True)
    result = search(seconds, seed, on_progress=output.progress, live=kernel)
    output.end_progress()
    written: list[str] = []
    for mismatch in result.mismatches:
        path = save / f"mismatch-{seed}-{len(written)}.yaml"
        path.write_text(mismatch.scenario)
        written.append(str(path))
    if as_json:
        output.print_json({"seed": seed, "clusters": result.clusters, "packets": result.packets,
                           "kernel_packets": result.kernel_packets, "mismatches": written})  # fmt: skip
    else:
        click.echo(
            f"{result.clusters} clusters, {result.packets} packets, {result.kernel_packets} through the kernel: "
            + (f"{len(written)} mismatches: {', '.join(written)}" if written else "no mismatch")
        )
    return 1 if written else 0


def can_run_clusters() -> bool:
    """Report whether live clusters run here; says on standard error when not."""
    from emulator.doctor import diagnose

    able = diagnose().able
    if not able:
        click.echo("no live cluster here (muslin doctor says why); searching without the kernel", err=True)
    return able
