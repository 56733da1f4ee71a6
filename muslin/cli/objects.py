"""`muslin apply`, `delete` and `get`: the resources of a running cluster."""

from __future__ import annotations

import click

from muslin.cli import output
from muslin.cli.clusters import only_name


@click.command()
@output.manifests_option()
@click.argument("more", nargs=-1, metavar="[PATH...]")
@output.name_option
@output.json_option
def apply(paths: tuple[str, ...], more: tuple[str, ...], name: str | None, as_json: bool) -> int:
    """Apply manifests: all or nothing, and enforced by every node when the command returns.

    \b
    muslin apply -f policies/
    """
    from muslin.cli.sources import load
    from muslin.cluster import Cluster

    loaded = load(paths + more)
    cluster = Cluster.connect(only_name(name))
    outcomes = cluster.apply_resources([sourced.resource for sourced in loaded])
    _finish(outcomes, cluster.wait(), as_json)
    return 0


@click.command()
@output.manifests_option()
@click.argument("more", nargs=-1, metavar="[PATH...]")
@output.name_option
@output.json_option
def delete(paths: tuple[str, ...], more: tuple[str, ...], name: str | None, as_json: bool) -> int:
    """Delete what the manifests name: all or nothing.

    \b
    muslin delete -f policies/deny-all.yaml
    """
    from muslin.cli.sources import load
    from muslin.cluster import Cluster

    keys = [sourced.resource.key for sourced in load(paths + more)]
    cluster = Cluster.connect(only_name(name))
    outcomes = cluster.delete_keys(keys)
    _finish(outcomes, cluster.wait(), as_json)
    return 0


def _finish(outcomes: list[str], seq: int, as_json: bool) -> None:
    if as_json:
        output.print_json({"outcomes": outcomes, "seq": seq})
    else:
        click.echo("\n".join(outcomes))


@click.command()
@click.argument("kind", metavar="KIND")
@click.argument("resource", required=False, metavar="[NAME]")
@click.option("-n", "--namespace", default="default", show_default=True, help="The namespace.")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="All namespaces.")
@click.option("-o", "--output", "form", type=click.Choice(["yaml", "json", "wide"]), help="Form of the answer.")
@output.name_option
@output.json_option
def get(
    kind: str,
    resource: str | None,
    namespace: str,
    everywhere: bool,
    form: str | None,
    name: str | None,
    as_json: bool,
) -> int:
    """Show resources of a running cluster, as kubectl would.

    \b
    muslin get pods -A
    muslin get gnp lockdown -o yaml
    """
    from muslin.cli.tables import table
    from muslin.cluster import Cluster
    from reference.errors import InvalidInputError
    from reference.resources.kinds import find_kind
    from reference.resources.output import to_json, to_yaml

    found = find_kind(kind)
    state = Cluster.connect(only_name(name)).state
    chosen = [
        item
        for item in state.all(found.type)
        if (everywhere or not found.namespaced or item.namespace == namespace) and resource in (None, item.name)
    ]
    if resource is not None and not chosen:
        raise InvalidInputError(f'{found.plural} "{resource}" not found')
    if as_json or form == "json":
        click.echo(to_json(chosen))
    elif form == "yaml":
        click.echo(to_yaml(chosen), nl=False)
    elif not chosen:
        where = f" in namespace {namespace}" if found.namespaced and not everywhere else ""
        click.echo(f"No resources found{where}", err=True)
    else:
        output.print_table(table(state, found, chosen, everywhere, wide=form == "wide"))
    return 0
