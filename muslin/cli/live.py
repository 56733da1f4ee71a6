"""`muslin exec`, `probe` and `explain`: real packets in a running cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from muslin.cli import output
from muslin.cli.clusters import only_name

if TYPE_CHECKING:
    from emulator.probe.types import Probe


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("pod", metavar="NS/POD")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@output.name_option
def exec_(pod: str, command: tuple[str, ...], name: str | None) -> int:
    """Run COMMAND in the network of a pod (or a node, or a host), with your terminal and files.

    The exit code is the command's own.

    \b
    muslin exec shop/web -- ping -c 1 shop-db
    muslin exec node-1 -- nft list table inet muslin
    """
    from muslin.cluster import Cluster

    sys.stdout.flush()
    return Cluster.connect(only_name(name)).execute(pod, command)


def _probe(source: str, destination: str, port: str, family: str | None) -> Probe:
    from emulator.probe.types import Probe
    from reference.naming import parse_port

    number, protocol = parse_port(port)
    return Probe(
        source=source,
        destination=destination,
        protocol=protocol,
        port=number,
        family=None if family is None else 6 if family == "6" else 4,
    )


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("destination", metavar="TO")
@click.argument("port", default="80/TCP", metavar="[PORT]")
@click.option("--family", type=click.Choice(["4", "6"]), help="Address family; IPv4 if both ends have it.")
@output.name_option
@output.json_option
def probe(source: str, destination: str, port: str, family: str | None, name: str | None, as_json: bool) -> int:
    """Send one real packet and say what became of it. Exit code 1: it did not get through.

    \b
    muslin probe shop/web shop/db 5432/TCP
    muslin probe shop/web internet ICMP
    """
    from muslin.cluster import Cluster

    wanted = _probe(source, destination, port, family)
    outcome = Cluster.connect(only_name(name)).probe_many([wanted])[0]
    if as_json:
        output.print_json(outcome)
    else:
        click.echo(f"{outcome.packet}  {outcome.result.upper()}: {outcome.evidence}")
    return 0 if outcome.allowed else 1


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("destination", metavar="TO")
@click.argument("port", default="80/TCP", metavar="[PORT]")
@click.option("--family", type=click.Choice(["4", "6"]), help="Address family; IPv4 if both ends have it.")
@output.name_option
@output.json_option
def explain(source: str, destination: str, port: str, family: str | None, name: str | None, as_json: bool) -> int:
    """Model and kernel side by side: the oracle's walk, and the packet's way rule by rule through the kernels.

    Exit code 1: model and kernel disagree.

    \b
    muslin explain shop/web shop/db 5432/TCP
    """
    from muslin.cluster import Cluster

    wanted = _probe(source, destination, port, family)
    explanation = Cluster.connect(only_name(name)).explain_probe(wanted)
    if as_json:
        output.print_json(explanation)
    else:
        click.echo(explanation.text())
    return 0 if explanation.agrees else 1
