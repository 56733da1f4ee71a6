"""`muslin fuzz`: differential search, the oracle against programs and kernels."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muslin.cli import output
from reference.errors import EnvironmentLacksError, InvalidInputError

if TYPE_CHECKING:
    from property_tests.campaigns import CampaignResult, Kernels

ALL = "all"


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
    "--kernel/--no-kernel", default=None, help="Also ask the kernel, with real packets; by default where that works."
)
@click.option(
    "--dataplane",
    "dataplanes",
    multiple=True,
    metavar="NAME",
    help="Ask the kernel by this dataplane. May be repeated; by default `all` that work here.",
)
@click.option(
    "--save", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where a mismatch is saved."
)
@output.json_option
def fuzz(
    seconds: float, seed: int | None, kernel: bool | None, dataplanes: tuple[str, ...], save: Path, as_json: bool
) -> int:
    """Search for a cluster and a packet on which oracle, program and kernel differ.

    Every cluster's packets are put to the oracle, to a second reading of the compiled program, and to the eBPF
    programs on crafted packets (BPF_PROG_TEST_RUN); a sample is sent for real through a live cluster per dataplane.
    A mismatch is shrunk and written as a scenario that reproduces it. Exit code 1: one was found.

    \b
    muslin fuzz --time 60
    muslin fuzz --dataplane ebpf --dataplane nftables
    muslin fuzz --seed 7 --no-kernel
    """
    from property_tests.campaigns import brought_up, search

    names = _wanted(kernel, dataplanes)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    click.echo(f"seed {seed}", err=True)
    with brought_up(names, output.progress) as kernels:
        output.end_progress()
        _say_what_is_left_out(kernels, needed=kernel or ALL not in (dataplanes or (ALL,)))
        result = search(seconds, seed, output.progress, kernels=kernels.live, test_runs=kernels.test_runs)
    output.end_progress()
    written = _write(result, save)
    if as_json:
        output.print_json(_as_json(result, kernels, written))
    else:
        _show(result, written)
    return 1 if written else 0


def _wanted(kernel: bool | None, dataplanes: tuple[str, ...]) -> Sequence[str]:
    """The dataplanes to bring up; none where the kernel is not asked.

    Raises:
        InvalidInputError: one is not known, or none shall be used.
    """
    from emulator.dataplane import DATAPLANES

    for name in dataplanes:
        output.require_known("--dataplane", name, (*DATAPLANES, ALL))
    if kernel is False:
        if dataplanes:
            raise InvalidInputError("--dataplane and --no-kernel contradict each other; leave one out")
        return ()
    if kernel is None and not dataplanes and not can_run_clusters():
        return ()
    every = not dataplanes or ALL in dataplanes
    return [name for name in DATAPLANES if every or name in dataplanes]


def can_run_clusters() -> bool:
    """Report whether live clusters run here; says on standard error when not."""
    from emulator.doctor import diagnose

    able = diagnose().able
    if not able:
        click.echo("no live cluster here (muslin doctor says why); searching without the kernel", err=True)
    return able


def _say_what_is_left_out(kernels: Kernels, *, needed: bool) -> None:
    """One line for the dataplanes that do not run here.

    Raises:
        EnvironmentLacksError: none runs, and one is `needed`.
    """
    if kernels.lacking:
        reasons = "; ".join(f"{name}: {why}" for name, why in kernels.lacking.items())
        if needed and not kernels.live:
            raise EnvironmentLacksError(reasons)
        click.echo(f"left out: {reasons}", err=True)


def _write(result: CampaignResult, folder: Path) -> list[str]:
    written: list[str] = []
    for mismatch in result.mismatches:
        path = folder / f"mismatch-{result.seed}-{len(written)}.yaml"
        path.write_text(mismatch.scenario)
        written.append(str(path))
    return written


def _as_json(result: CampaignResult, kernels: Kernels, written: list[str]) -> dict[str, object]:
    readings = {
        name: {"clusters": r.clusters, "packets": r.packets, "silent": r.silent, "packets_per_second": round(r.rate)}
        for name, r in result.readings.items()
    }
    found = [
        {"by": mismatch.other, "packet": str(mismatch.packet), "said": mismatch.said, "scenario": path}
        for mismatch, path in zip(result.mismatches, written, strict=True)
    ]
    return {"seed": result.seed, "seconds": round(result.seconds, 1), "clusters": result.clusters,
            "packets": result.packets, "kernel_packets": result.kernel_packets, "readings": readings,
            "left_out": kernels.lacking, "mismatches": written, "found": found}  # fmt: skip


def _show(result: CampaignResult, written: list[str]) -> None:
    click.echo(f"{result.clusters} clusters in {result.seconds:.0f} s")
    width = max(map(len, result.readings), default=0)
    for name, reading in result.readings.items():
        silent = f", {reading.silent} without evidence" if reading.silent else ""
        click.echo(
            f"  {name:{width}}  {reading.packets:9} packets of {reading.clusters:5} clusters, "
            f"{reading.rate:6.0f} a second{silent}"
        )
    for mismatch, path in zip(result.mismatches, written, strict=True):
        click.echo(f"{mismatch.other} {mismatch.said}: {mismatch.packet}; wrote {path}")
    click.echo("no mismatch" if not written else f"{len(written)} mismatch")
