"""`muslin dataplane`: which dataplane each node has, and going over to another one."""

from __future__ import annotations

import click

from muslin.cli import output
from muslin.cli.clusters import only_name


@click.command()
@click.argument("words", nargs=-1, metavar="[[NODE...] DATAPLANE]")
@click.option("--all", "everywhere", is_flag=True, help="Every node and guarded host.")
@output.name_option
@output.json_option
def dataplane(words: tuple[str, ...], everywhere: bool, name: str | None, as_json: bool) -> int:
    """Show every node's dataplane, or have nodes go over to another one while they run.

    The next dataplane is in force before the old one goes: nothing opens and nothing is lost. What a machine cannot
    have is refused, and all keep what they have.

    \b
    muslin dataplane
    muslin dataplane node-1 ebpf
    muslin dataplane --all iptables
    """
    from emulator.dataplane import DATAPLANES, require_dataplane
    from muslin.cluster import Cluster

    *nodes, chosen = words or ("",)
    if words:
        require_dataplane(chosen)
        if everywhere == bool(nodes):
            there_are = ", ".join(sorted(DATAPLANES))
            raise click.UsageError(f"name the nodes and then the dataplane ({there_are}), or give --all", _context())
    elif everywhere:
        raise click.UsageError(f"--all needs a dataplane: {', '.join(sorted(DATAPLANES))}", _context())
    cluster = Cluster.connect(only_name(name))
    try:
        before = cluster.call("status")["dataplanes"]
        if words:
            cluster.use_dataplane(chosen, *nodes)
            cluster.wait()
        status = cluster.call("status")
    finally:
        cluster.close()
    if as_json:
        output.print_json({"seq": status["seq"], "dataplanes": status["dataplanes"]})
        return 0
    for machine, now in sorted(status["dataplanes"].items()):
        was = before.get(machine, now)
        click.echo(f"{machine}  {now}" + (f" (was {was})" if was != now else ""))
    return 0


def _context() -> click.Context:
    return click.get_current_context()
