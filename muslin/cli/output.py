"""How commands speak: JSON when asked, otherwise text for people on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from reference.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDEST = 10_000  # columns of a table

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON on standard output.")
name_option = click.option(
    "--name", "-N", default=None, metavar="NAME", help="Which cluster; may be left out when only one is running."
)

node_dataplanes_option = click.option(
    "--node-dataplane",
    "node_dataplanes",
    multiple=True,
    metavar="NODE=DATAPLANE",
    help="What enforces policy on one node, where it differs. May be repeated.",
)


def node_dataplanes(given: Iterable[str]) -> dict[str, str]:
    """The values of `--node-dataplane` by node.

    Raises:
        InvalidInputError: one is no NODE=DATAPLANE.
    """
    found: dict[str, str] = {}
    for one in given:
        node, equals, dataplane = one.partition("=")
        if not (node and equals and dataplane):
            raise InvalidInputError(f"--node-dataplane {one!r}: write NODE=DATAPLANE, such as node-2=iptables")
        found[node] = dataplane
    return found


def manifests_option(required: bool = True) -> Callable[[F], F]:
    """`-f PATH...`, repeatable."""
    return click.option(
        "-f",
        "--filename",
        "paths",
        multiple=True,
        required=required,
        metavar="PATH",
        help="A manifest file or a folder of them; - reads standard input. May be repeated.",
    )


def require_known(option: str, value: str, known: Iterable[str]) -> None:
    """Refuse an option's value that is none of those known.

    Raises:
        InvalidInputError: it is none of them; says which there are.
    """
    if value not in known:
        raise InvalidInputError(f"{option} {value!r} is not known; there is {', '.join(sorted(known))}")


def console(stderr: bool = False) -> Console:
    """A terminal writer; plain text where the output is no terminal. What it is given is text, never markup."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_table(table: Table) -> None:
    """A table as kubectl prints one: nothing cut off, however narrow the terminal; no blanks at the end of a line."""
    for column in table.columns:
        column.no_wrap = True
    wide = console()
    wide.width = WIDEST
    with wide.capture() as captured:
        wide.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def progress(text: str) -> None:
    """A line of progress on standard error, in passing."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def end_progress() -> None:
    """Clear the progress line."""
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever the command answers
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
