"""`muslin lint`: what is legal in manifests and probably not meant."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muslin.cli import output
from reference.errors import InvalidInputError

if TYPE_CHECKING:
    from reference.analysis.lint import Finding

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command()
@output.manifests_option(required=False)
@click.argument("more", nargs=-1, metavar="[PATH...]")
@click.option("--ignore", multiple=True, metavar="ID", help="Leave out findings of this id. May be repeated.")
@click.option(
    "--sarif", type=click.Path(path_type=Path), metavar="FILE", help="Also write the findings as SARIF 2.1.0."
)
@click.option("--list", "show_rules", is_flag=True, help="Say what is looked for, and stop.")
@output.json_option
def lint(
    paths: tuple[str, ...],
    more: tuple[str, ...],
    ignore: tuple[str, ...],
    sarif: Path | None,
    show_rules: bool,
    as_json: bool,
) -> int:
    """Say what is legal in manifests and probably not meant, with the line and what to do.

    Exit code 1: there is a finding of severity warning or error. Notes alone give 0. Each id has a page in docs/lint/.

    \b
    muslin lint -f manifests/
    muslin lint -f manifests/ --ignore MUS305 --sarif lint.sarif
    muslin lint --list
    """
    from reference.analysis.lint import RANKS, worst

    if show_rules:
        _list(as_json)
        return 0
    found = _findings(paths + more, _known(ignore))
    if sarif is not None:
        _write(sarif, found)
    if as_json:
        output.print_json({"findings": found})
    else:
        _print(found)
    level = worst(found)
    return 1 if level is not None and RANKS[level] >= RANKS["warning"] else 0


def _findings(paths: tuple[str, ...], ignore: frozenset[str]) -> tuple[Finding, ...]:
    from muslin.cli.sources import load
    from reference.analysis.lint import lint as find
    from reference.loading import load_state

    loaded = load(paths)
    return find(load_state(*loaded.resources), loaded.sources, ignore)


def _known(ids: tuple[str, ...]) -> frozenset[str]:
    from reference.analysis.lint import RULES

    wanted = frozenset(text.upper() for text in ids)
    unknown = sorted(wanted - RULES.keys())
    if unknown:
        raise InvalidInputError(f"--ignore {unknown[0]}: no finding has that id; see: muslin lint --list")
    return wanted


def _list(as_json: bool) -> None:
    from reference.analysis.lint import RULES

    if as_json:
        output.print_json({"rules": [{"page": rule.page, "rule": rule} for rule in RULES.values()]})
        return
    for rule in RULES.values():
        click.echo(f"{rule.id}  {rule.severity:<8} {rule.title}")


def _write(path: Path, found: tuple[Finding, ...]) -> None:
    from reports.sarif import sarif

    try:
        path.write_bytes(sarif(found, version("muslin")))
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror}") from None


def _print(found: tuple[Finding, ...]) -> None:
    for finding in found:
        severity = click.style(finding.severity, fg=_COLOURS[finding.severity])
        click.echo(f"{finding.place}: {severity} {finding.id}: {finding.title}")
        click.echo(f"    {finding.resource}: {finding.field}: {finding.message}")
    counts = [(level, sum(finding.severity == level for finding in found)) for level in _COLOURS]
    said = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts if count)
    click.echo(f"{said}; each id has a page in docs/lint/" if said else "nothing found")
