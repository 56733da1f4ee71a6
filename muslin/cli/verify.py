"""`muslin verify`: scenarios run with real packets, compared with the oracle, reported."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from muslin.cli import output


@click.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@click.option("--report", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Write the report there.")
@click.option(
    "--dataplane",
    "dataplanes",
    multiple=True,
    metavar="NAME",
    help="Instead of the scenario's: a dataplane; `all`, one after the other; `mixed`, another on each node; or "
    "`nftables+ebpf`, by which nodes take turns. May be repeated.",
)
@output.json_option
def verify(scenarios: tuple[str, ...], folder: Path | None, dataplanes: tuple[str, ...], as_json: bool) -> int:
    """Bring up each scenario's cluster, apply, probe with real packets, compare with the oracle, tear down.

    The report is JUnit XML, JSON and one self-contained HTML page. Exit code 1: a mismatch, or no evidence.

    \b
    muslin verify scenarios/default-deny.yaml
    muslin verify scenarios/ --report report
    muslin verify scenarios/ --dataplane all --dataplane mixed
    """
    from reports import terminal, write
    from scenarios.dataplanes import columns, require_column, sort_out
    from scenarios.load import find_scenarios
    from scenarios.run import run_all

    for given in dataplanes:
        require_column(given)
    found = find_scenarios(scenarios)
    wanted, able, left_out = columns(dataplanes, lambda names: sort_out(names, say=output.progress))
    output.end_progress()
    console = output.console(stderr=as_json)
    result = run_all(
        found,
        columns=wanted if dataplanes else None,
        able=able,
        left_out=left_out,
        progress=terminal.Progress(output.console(stderr=True)),
        command="muslin " + shlex.join(sys.argv[1:]),
    )
    terminal.show(result, console)
    if folder is not None:
        for path in write(result, folder):
            console.print(f"wrote {path}")
    if as_json:
        output.print_json(result)
    return result.exit_code
