"""A mismatch as a scenario file that shows it again: the manifests, and one expectation as the oracle has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import yaml

from reference.packet import PORTED, Packet, protocol_name
from reference.policy.verdict import Verdict
from reference.resources import AnyResource, Node
from reference.resources.output import manifest
from reference.state import State

_LEAST_NODES = 1


def as_scenario(
    resources: Sequence[AnyResource], verdict: Verdict, state: State, other: Literal["program", "kernel"]
) -> str:
    """The YAML of a scenario: bring up these manifests and expect of this packet what the oracle says.

    A scenario names pods, hosts and addresses, protocols and destination ports; what else the packet has (a source
    port, an ICMP type, another protocol) stands in the lesson. Nodes are the topology's, so Node manifests stay out.
    """
    packet = verdict.packet
    expectation = {
        "from": _named(state, packet.source),
        "to": _named(state, packet.destination),
        "ports": [_port(packet)],
        "family": packet.family,
    }
    scenario: dict[str, Any] = {
        "name": f"mismatch-{other}",
        "title": f"Oracle and {other} differ on {packet}",
        "lesson": _lesson(verdict, other),
        "nodes": max(sum(isinstance(resource, Node) for resource in resources), _LEAST_NODES),
        "manifests": [manifest(resource) for resource in resources if not isinstance(resource, Node)],
        "expect": [{"allow" if verdict.allowed else "deny": expectation}],
    }
    return yaml.safe_dump(scenario, sort_keys=False, allow_unicode=True, width=110)


def _lesson(verdict: Verdict, other: str) -> str:
    said, opposite = ("allows", "denies") if verdict.allowed else ("denies", "allows")
    return f"The oracle {said} {verdict.packet}: {verdict.reason}. The {other} {opposite} it. Found by a campaign."


def _named(state: State, address: str) -> str:
    """The pod or host that holds an address, or the address itself."""
    for namespace, pod in state.addresses.get(address, ()):
        return f"{namespace}/{pod}"
    return next((host.name for host in state.hosts.values() if address in host.addresses), address)


def _port(packet: Packet) -> str:
    """As scenarios write ports: "80/TCP", or "ICMP" for whatever has no port."""
    if packet.protocol in PORTED:
        return f"{packet.destination_port}/{protocol_name(packet.protocol)}"
    return "ICMP"
