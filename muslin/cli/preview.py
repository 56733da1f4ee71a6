"""`muslin preview`: what committing the staged policies would change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from muslin.cli import output

if TYPE_CHECKING:
    from reference.state import State


@click.command()
@output.manifests_option(required=False)
@click.argument("more", nargs=-1, metavar="[PATH...]")
@click.option(
    "--port",
    "ports",
    multiple=True,
    metavar="PORT/PROTOCOL",
    help="May be repeated; otherwise 80/TCP and every port that a policy names.",
)
@click.option("--also", multiple=True, metavar="NAME|IP", help="Another end beside the pods; may be repeated.")
@output.name_option
@output.json_option
def preview(
    paths: tuple[str, ...],
    more: tuple[str, ...],
    ports: tuple[str, ...],
    also: tuple[str, ...],
    name: str | None,
    as_json: bool,
) -> int:
    """What would change if the staged policies were committed, each replacing or deleting the policy of its name.

    All pairs of pods, before and after, with the line that decides. Of the manifests given, or, when none are, of a
    running cluster. Exit code 1: something would change.

    \b
    muslin preview -f manifests/ --port 80/TCP --port 5432/TCP
    muslin preview -f manifests/ --also 203.0.113.10
    muslin preview --name demo --also internet
    """
    from reference.analysis.preview import preview as ask

    answer = ask(_state(paths + more, name), ports or None, also)
    if as_json:
        output.print_json(answer)
    else:
        click.echo(answer.text(), nl=False)
    return 1 if answer.changes else 0


def _state(paths: tuple[str, ...], name: str | None) -> State:
    """The state to preview: of manifests without a cluster, or a running cluster's."""
    if not paths:
        from muslin.cli.clusters import only_name
        from muslin.cluster import Cluster

        return Cluster.connect(only_name(name)).state
    if name:
        raise click.UsageError("manifests and --name exclude each other: preview files, or a running cluster")
    from muslin.cli.sources import load
    from reference.loading import load_state

    return load_state(*(sourced.resource for sourced in load(paths)))
