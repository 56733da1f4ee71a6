"""`muslin check`, `evaluate` and `matrix`: answers from manifests alone; no root, no namespaces, no packets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from muslin.cli import output
from reference.errors import InvalidInputError, MuslinError

if TYPE_CHECKING:
    from reference.state import State


STDIN = "-"


def _state(paths: tuple[str, ...], more: tuple[str, ...]) -> State:
    from muslin.cli.sources import load
    from reference.loading import load_state

    return load_state(*(sourced.resource for sourced in load(paths + more)))


def _files(paths: tuple[str, ...]) -> list[Path]:
    files: list[Path] = []
    for name in paths:
        path = Path(name)
        if name == STDIN:
            files.append(path)
        elif path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.suffix in {".yaml", ".yml", ".json"})
        elif path.exists():
            files.append(path)
        else:
            raise InvalidInputError(f"{name}: there is no such file or folder")
    if not files:
        raise InvalidInputError(f"{', '.join(paths)}: no .yaml, .yml or .json file in there")
    return files


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@output.json_option
def check(paths: tuple[str, ...], as_json: bool) -> int:
    """Validate manifests and scenarios; say the first thing that is wrong in each file. - reads manifests from stdin.

    \b
    muslin check manifests/ scenarios/default-deny.yaml
    kubectl get networkpolicies -A -o yaml | muslin check -
    """
    from muslin.cli.sources import is_scenario, load

    findings: list[dict[str, str]] = []
    resources = scenarios = 0
    files = _files(paths)
    for file in files:
        try:
            if str(file) != STDIN and is_scenario(file):
                from scenarios.load import load_scenario

                load_scenario(file)
                scenarios += 1
            else:
                resources += len(load((str(file),)))
        except MuslinError as error:
            findings.append({"file": str(file), "error": str(error)})
    if as_json:
        output.print_json({"files": len(files), "resources": resources, "scenarios": scenarios, "errors": findings})
    else:
        for finding in findings:
            click.echo(finding["error"], err=True)
        click.echo(_verdict(len(files), len(findings), resources, scenarios))
    return 2 if findings else 0


def _verdict(files: int, wrong: int, resources: int, scenarios: int) -> str:
    from reports.results import plural

    fine = f"{plural(files, 'file')} {'is' if files == 1 else 'are'} fine"
    said = f"{wrong} of {plural(files, 'file')} {'is' if wrong == 1 else 'are'} wrong" if wrong else fine
    return f"{said} ({plural(resources, 'resource')}, {plural(scenarios, 'scenario')})"


@click.command()
@output.manifests_option()
@click.argument("more", nargs=-1, metavar="[PATH...]")
@click.option("--from", "source", required=True, metavar="NS/POD", help="A pod, node or host, or an address.")
@click.option("--to", "destination", required=True, metavar="NS/POD|IP", help="A pod, node or host, or an address.")
@click.option("--port", default="80/TCP", show_default=True, metavar="PORT/PROTOCOL", help="Or ICMP.")
@click.option("--family", type=click.Choice(["4", "6"]), help="Address family; IPv4 if both ends have it.")
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit with 1 when the verdict is a denial.")
@output.json_option
def evaluate(
    paths: tuple[str, ...],
    more: tuple[str, ...],
    source: str,
    destination: str,
    port: str,
    family: str | None,
    exit_code: bool,
    as_json: bool,
) -> int:
    """Ask the oracle about one flow: the verdict, and the whole walk that led to it.

    \b
    muslin evaluate -f manifests/ --from shop/web --to shop/db --port 5432/TCP
    muslin evaluate -f . --from shop/web --to 203.0.113.10 --port 53/UDP --exit-code
    """
    from reference.naming import packet_between, parse_port, service_address
    from reference.policy import evaluate as ask

    number, protocol = parse_port(port)
    state = _state(paths, more)
    packet = packet_between(
        state, source, destination, protocol, number, family=None if family is None else 6 if family == "6" else 4
    )
    verdict = ask(state, packet)
    if as_json:
        output.print_json(
            {
                "allowed": verdict.allowed,
                "reason": verdict.reason,
                "packet": verdict.packet,
                "source": verdict.source,
                "destination": verdict.destination,
                "sides": [
                    {"hits": side.hit_strings(), "pending": side.pending_hit_strings(), "side": side}
                    for side in verdict.trace
                ],
            }
        )
    else:
        click.echo(verdict.explain())
    if service := service_address(state, packet.destination):
        click.echo(f"note: {service}", err=True)
    return 1 if exit_code and not verdict.allowed else 0


@click.command()
@output.manifests_option()
@click.argument("more", nargs=-1, metavar="[PATH...]")
@click.option("--port", "ports", multiple=True, default=("80/TCP",), metavar="PORT/PROTOCOL", help="May be repeated.")
@output.json_option
def matrix(paths: tuple[str, ...], more: tuple[str, ...], ports: tuple[str, ...], as_json: bool) -> int:
    """All pairs of pods on the given ports, as the oracle says: over IPv4 where both have it, else IPv6.

    \b
    muslin matrix -f manifests/ --port 80/TCP --port 5432/TCP
    """
    from reference.analysis.matrix import matrix as compute

    result = compute(_state(paths, more), ports)
    if as_json:
        output.print_json(result.to_json())
    else:
        click.echo(result.text())
    return 0
