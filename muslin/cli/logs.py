"""`muslin log` and `replay`: the event log, read and replayed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from muslin.cli import output
from muslin.cli.clusters import only_name

if TYPE_CHECKING:
    from reference.events import Record
    from reference.log import EventLog

POLL = 0.2  # seconds between looks at the log when following it


def _line(record: Record) -> str:
    return f"{record.seq:>6}  {_moment(record.time)}  {record.actor:<10}  {_summary(record.event)}"


def _summary(event: Any) -> str:  # noqa: ANN401 - any event
    kind = type(event).__name__
    if kind == "ResourceApplied":
        return f"{kind} {event.resource.key}"
    if kind == "ResourceDeleted":
        return f"{kind} {event.key}"
    if kind == "EndpointCreated":
        return f"{kind} {event.endpoint.name} on {event.endpoint.node}: {', '.join(event.endpoint.addresses)}"
    if kind == "HostAttached":
        return f"{kind} {event.host.name}: {', '.join(event.host.addresses)}"
    if kind == "AddressAssigned":
        return f"{kind} {event.address} to {_holder(event)} from {event.block}"
    fields = (f"{name}={getattr(event, name)}" for name in event.__struct_fields__ if getattr(event, name))
    return f"{kind} {' '.join(fields)}"


def _holder(event: Any) -> str:  # noqa: ANN401
    """Who an address is for: its pod where IPAM says one, else the handle."""
    pod = "/".join(filter(None, (event.attributes.get("namespace"), event.attributes.get("pod"))))
    return pod or str(event.handle)


@click.command()
@click.argument("path", required=False, metavar="[LOG]", type=click.Path(path_type=Path))
@click.option("--follow", is_flag=True, help="Keep printing events as they happen, until Ctrl-C.")
@click.option("--at", type=int, metavar="SEQ", help="Show the state at this event instead of the events.")
@click.option("--observations", is_flag=True, help="Show what was seen on the nodes instead: programs, drift.")
@output.name_option
@output.json_option
def log(path: Path | None, follow: bool, at: int | None, observations: bool, name: str | None, as_json: bool) -> int:
    """Show the events of a running cluster, or of a log file.

    \b
    muslin log --follow
    muslin log --at 42
    muslin log --observations
    muslin log saved.db --json
    """
    from emulator.session import Session
    from reference.log import EventLog

    source = EventLog.open(path, readonly=True) if path else Session.connect(only_name(name))
    with contextlib.closing(source):
        if at is not None:
            _show_state(source if isinstance(source, EventLog) else source.log, at, as_json)
            return 0
        if observations:
            _show_observations(source if isinstance(source, EventLog) else source.log, as_json)
            return 0
        last = _show(source.records(after=0), 0, as_json)
        while follow:
            time.sleep(POLL)
            last = _show(source.records(after=last), last, as_json)
    return 0


def _show(records: Iterable[Record], after: int, as_json: bool) -> int:
    for record in records:
        click.echo(msgspec.json.encode(record).decode() if as_json else _line(record))
        after = record.seq
    return after


def _show_observations(log: EventLog, as_json: bool) -> None:
    """Programs that nodes enforced and what else was noticed on them, in the order of time."""
    seen = [(o.time, o.seq, o.node, "program", o.digest) for o in log.observations()]
    seen += [(n.time, n.seq, n.node, n.kind, n.text) for n in log.notices()]
    for moment, seq, node, kind, text in sorted(seen, key=lambda one: one[0]):
        if as_json:
            found = {"time": moment, "seq": seq, "node": node, "kind": kind, "text": text}
            click.echo(msgspec.json.encode(found).decode())
        else:
            click.echo(f"{seq:>6}  {_moment(moment)}  {node:<10}  {kind} {text}")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S.%f")[:-3]


def _summary_of(log: EventLog, at: int | None) -> dict[str, Any]:
    from reference.canonical import state_digest
    from reference.program.compile import Compiler
    from reference.program.types import digest

    state = log.state(at)
    return {
        "seq": state.seq,
        "state": state_digest(state),
        "programs": {name: digest(program) for name, program in sorted(Compiler().compile(state).items())},
        "resources": {kind: len(items) for kind, items in sorted(state.resources.items()) if items},
        "endpoints": {
            endpoint.name: {"node": endpoint.node, "addresses": endpoint.addresses}
            for endpoint in sorted(state.endpoints.values(), key=lambda e: e.name)
        },
    }


def _show_state(log: EventLog, at: int | None, as_json: bool) -> None:
    summary = _summary_of(log, at)
    if as_json:
        output.print_json(summary)
        return
    click.echo(f"state at event {summary['seq']}  {summary['state']}")
    for node, program in summary["programs"].items():
        click.echo(f"program of {node}  {program}")
    for kind, count in summary["resources"].items():
        click.echo(f"{count:>6}  {kind}")
    for name, endpoint in summary["endpoints"].items():
        click.echo(f"        {name} on {endpoint['node']}: {', '.join(endpoint['addresses'])}")


@click.command()
@click.argument("path", metavar="LOG", type=click.Path(path_type=Path))
@click.option("--at", type=int, metavar="SEQ", help="Replay up to this event; by default to the end.")
@click.option("--verify", is_flag=True, help="Check the hash chain, and every program that was ever enforced.")
@click.option("--up", "name", metavar="NAME", help="Bring up a cluster in that state, in a new sandbox.")
@output.json_option
def replay(path: Path, at: int | None, verify: bool, name: str | None, as_json: bool) -> int:
    """Replay an event log: the same state and the same programs, byte for byte.

    With --verify every event's hash is checked, the history is folded from its first event, and the program of
    every node is compiled again wherever the log says one was enforced; exit code 1 if one differs.

    \b
    muslin replay saved.db --verify
    muslin replay saved.db --at 42 --up yesterday
    """
    from reference.log import EventLog
    from reference.replay import verify_programs

    with EventLog.open(path, readonly=True) as opened:
        differences: list[str] = []
        if verify:
            opened.verify()
            differences = verify_programs(opened, at)
        if name:
            _bring_up(opened, path, at, name)
        if as_json:
            output.print_json(
                {**_summary_of(opened, at), "verified": verify and not differences, "differences": differences}
            )
        else:
            _show_state(opened, at, as_json=False)
            for difference in differences:
                click.echo(difference, err=True)
            if verify and not differences:
                click.echo("verified: every hash, and every program that was enforced")
    return 1 if differences else 0


def _bring_up(log: EventLog, path: Path, at: int | None, name: str) -> None:
    from emulator.launch import launch
    from emulator.spec import ClusterSpec

    state = log.state(at)
    nodes = sum(host.is_node for host in state.hosts.values())
    launch(
        ClusterSpec(
            name=name,
            topology=state.topology,
            nodes=nodes,
            dataplane=state.dataplane,
            node_dataplanes=dict(state.node_dataplanes),
            replay=str(path.resolve()),
            replay_at=state.seq,
        ),
        output.progress,
    )
    output.end_progress()
    click.echo(f"cluster {name} is up at event {state.seq}", err=True)
