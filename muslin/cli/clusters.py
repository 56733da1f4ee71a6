"""`muslin up`, `down` and `ls`: clusters that stay."""

from __future__ import annotations

import os
import select
from collections import Counter
from pathlib import Path
from typing import Any

import click

from emulator.spec import DEFAULT_DATAPLANE, DEFAULT_NODES, DEFAULT_TOPOLOGY, ClusterSpec
from muslin.cli import output

DEFAULT_NAME = "muslin"


def log_folder() -> Path:
    """Where the logs of clusters that stay are kept: they outlive the cluster, on purpose."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "muslin"


def _fresh_log(name: str) -> Path:
    """The log's path; the log of the previous cluster of that name is kept beside it."""
    log = log_folder() / f"{name}.db"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists():
        kept = log.with_suffix(".previous.db")
        journal, kept_journal = (path.with_name(f"{path.name}-journal") for path in (log, kept))
        kept_journal.unlink(missing_ok=True)  # of the log before, which is let go
        log.replace(kept)
        if journal.exists():
            journal.replace(kept_journal)  # a log that was cut short is mended from it when it is next opened
    return log


@click.command()
@output.manifests_option(required=False)
@click.option("--name", "-N", default=DEFAULT_NAME, show_default=True, help="Its name, for the other commands.")
@click.option("--topology", default=DEFAULT_TOPOLOGY, show_default=True, help="The fabric.")
@click.option("--nodes", default=DEFAULT_NODES, show_default=True, help="How many cluster nodes.")
@click.option("--dataplane", default=DEFAULT_DATAPLANE, show_default=True, help="What enforces policy.")
@output.node_dataplanes_option
@click.option("--encryption", type=click.Choice(["wireguard"]), help="Encrypt pod traffic between nodes.")
@output.json_option
def up(
    paths: tuple[str, ...],
    name: str,
    topology: str,
    nodes: int,
    dataplane: str,
    node_dataplanes: tuple[str, ...],
    encryption: str | None,
    as_json: bool,
) -> int:
    """Bring up a cluster that stays until `muslin down`; returns when it is ready.

    \b
    muslin up -f manifests/
    muslin up --name lab --nodes 4 --encryption wireguard
    muslin up --dataplane nftables --node-dataplane node-2=iptables
    """
    import msgspec

    from emulator.api.address import listening_names
    from emulator.build import describe
    from emulator.dataplane import DATAPLANES
    from emulator.launch import launch
    from muslin.cli.sources import load
    from muslin.cluster import Cluster
    from reference.errors import MuslinError, RefusedError
    from topologies import TOPOLOGIES

    output.require_known("--topology", topology, TOPOLOGIES)
    output.require_known("--dataplane", dataplane, DATAPLANES)
    spec = ClusterSpec(
        name=name,
        topology=topology,
        nodes=nodes,
        dataplane=dataplane,
        node_dataplanes=output.node_dataplanes(node_dataplanes),
        encryption=encryption or "",
    )
    describe(spec)
    loaded = load(paths) if paths else None  # before anything is started: a wrong manifest starts nothing
    if name in listening_names():
        raise RefusedError(f"a cluster named {name!r} runs already; take it down with: muslin down {name}")
    launch(msgspec.structs.replace(spec, log=str(_fresh_log(name))), output.progress)
    cluster = Cluster.connect(name)
    try:
        outcomes = cluster.apply_resources([sourced.resource for sourced in loaded]) if loaded else []
        cluster.wait()
    except MuslinError:
        cluster.call("shutdown")  # half a cluster is worse than none
        raise
    finally:
        output.end_progress()
    status = _row(name)
    cluster.close()
    if as_json:
        output.print_json({**status, "outcomes": outcomes})
        return 0
    for outcome in outcomes:
        click.echo(outcome)
    click.echo(f"cluster {name} is up: {len(status['nodes'])} nodes, {status['pods']} pods, log {status['log']}")
    return 0


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--name", "-N", "named", help="The same as NAME.")
@click.option("--all", "every", is_flag=True, help="Every cluster of yours.")
def down(names: tuple[str, ...], named: str | None, every: bool) -> int:
    """Take clusters down; nothing of them is left but their logs.

    \b
    muslin down
    muslin down lab
    """
    from emulator.api.address import listening_names
    from emulator.api.client import Client

    wanted = listening_names() if every else [*names, *([named] if named else [])] or [only_name()]
    for name in wanted:
        client = Client(name)
        watch = os.pidfd_open(client.pid)
        log = client.call("status")["log"]
        client.call("shutdown")
        client.close()
        select.select([watch], [], [], 10)  # readable once the process is gone
        os.close(watch)
        click.echo(
            f"cluster {name} is down; its log is kept: {log}" if Path(log).exists() else f"cluster {name} is down"
        )
    return 0


def only_name(name: str | None = None) -> str:
    """The cluster a command means: the one named, or the only one there is.

    Raises:
        InvalidInputError: none runs, or several do and none was named.
    """
    from emulator.api.address import listening_names
    from reference.errors import InvalidInputError

    if name:
        return name
    names = [each for each in listening_names() if not _row(each)["leased"]]  # a test's own is not meant
    if not names:
        raise InvalidInputError("no cluster is running; start one with: muslin up")
    if len(names) > 1:
        raise InvalidInputError(f"several clusters are running ({', '.join(names)}); say which with --name")
    return names[0]


def _row(name: str) -> dict[str, Any]:
    from emulator.api.address import displayed
    from emulator.api.client import Client

    client = Client(name)
    try:
        status = client.call("status")
        return {**status, "pid": client.pid, "socket": displayed(name)}
    finally:
        client.close()


def _rows() -> list[dict[str, Any]]:
    """A row for every running cluster; one that ends while we look is none."""
    from emulator.api.address import listening_names
    from reference.errors import MuslinError

    rows = []
    for name in listening_names():
        try:
            rows.append(_row(name))
        except MuslinError:
            if name in listening_names():
                raise
    return rows


def _dataplanes(row: dict[str, Any]) -> str:
    """The dataplane of all nodes, or how many have each: "1 ebpf, 2 nftables"."""
    counts = Counter(row["dataplanes"].values())
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{n} {one}" for one, n in sorted(counts.items()))


@click.command()
@output.json_option
def ls(as_json: bool) -> int:
    """List the running clusters: name, supervisor's pid, log and socket.

    \b
    muslin ls --json
    """
    rows = _rows()
    if as_json:
        output.print_json(rows)
        return 0
    if not rows:
        click.echo("no cluster is running; start one with: muslin up")
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("NAME", "PID", "NODES", "PODS", "EVENTS", "DATAPLANE", "ENCRYPTION", "LOG"):
        table.add_column(title)
    for row in rows:
        table.add_row(
            row["name"], str(row["pid"]), str(len(row["nodes"])), str(row["pods"]), str(row["seq"]),
            _dataplanes(row), row["encryption"] or "none", row["log"],
        )  # fmt: skip
    output.print_table(table)
    return 0
