"""`python -m benchmarks`: run the benchmarks and print Markdown."""

from __future__ import annotations

import importlib
import platform
import sys

import click

from benchmarks.dataplane.command import dataplane
from muslin.cli import exit_code_of
from reference.errors import MuslinError

NAMES = {
    "log": "the event log, against plain sqlite3",
    "oracle": "verdicts, and the compiled program interpreted",
    "matrix": "a whole matrix of verdicts",
    "scale": "10,000 policies, 10,000 endpoints",
    "change": "from append to enforced",
    "bring_up": "pods brought up, against the bare kernel work and Mininet",
    "probes": "live probes",
}


@click.group(chain=True, invoke_without_command=True, subcommand_metavar="[NAME [OPTIONS]]...")
@click.pass_context
def main(context: click.Context) -> None:
    """Measure Muslin, and print Markdown.

    Without a NAME all but `dataplane` run, about two minutes; that one takes about fifteen.
    """
    if context.invoked_subcommand is None:
        for name in NAMES:
            _run(name)


def _run(name: str) -> None:
    click.echo(f"<!-- Python {platform.python_version()}, Linux {platform.release()}, {platform.machine()} -->\n")
    for result in importlib.import_module(f"benchmarks.{name}").run():
        click.echo(result.markdown())


def _one(name: str, what: str) -> click.Command:
    return click.Command(name, callback=lambda: _run(name), short_help=what, help=what.capitalize() + ".")


for _name, _what in NAMES.items():
    main.add_command(_one(_name, _what))
main.add_command(dataplane)


if __name__ == "__main__":
    try:
        main(prog_name="python -m benchmarks")
    except MuslinError as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(exit_code_of(error))
