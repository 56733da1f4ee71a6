"""A mismatch as a scenario file that shows it again: the manifests, and one expectation as the oracle has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from property_tests.campaigns.live import name_at
from property_tests.campaigns.witnesses import Witness
from property_tests.worlds import FABRIC_NODES, FABRIC_TOPOLOGY, on_fabric
from reference.packet import PORTED, Packet, protocol_name
from reference.policy.verdict import Verdict
from reference.resources import AnyResource
from reference.resources.output import manifest
from reference.state import State


def as_scenario(resources: Sequence[AnyResource], verdict: Verdict, state: State, witness: Witness, said: str) -> str:
    """The YAML of a scenario: bring up these manifests and expect of this packet what the oracle says.

    A scenario names pods, hosts and addresses, protocols and destination ports; what else the packet has (a source
    port, an ICMP type, another protocol) stands in the lesson. Nodes are the topology's, so Node manifests stay out.
    Where a dataplane differs, the scenario runs on that one.
    """
    packet = verdict.packet
    expectation = {
        "from": name_at(state, packet.source),
        "to": name_at(state, packet.destination),
        "ports": [_port(packet)],
        "family": packet.family,
    }
    scenario: dict[str, Any] = {
        "name": f"mismatch-{witness.name.replace(' ', '-')}",
        "title": f"Oracle and {witness.name} differ on {packet}",
        "lesson": _lesson(verdict, witness, said),
        "topology": FABRIC_TOPOLOGY,
        "nodes": FABRIC_NODES,
        **({"dataplane": witness.dataplane} if witness.dataplane else {}),
        "manifests": [manifest(resource) for resource in on_fabric(resources)],
        "expect": [{"allow" if verdict.allowed else "deny": expectation}],
    }
    return yaml.safe_dump(scenario, sort_keys=False, allow_unicode=True, width=110)


def _lesson(verdict: Verdict, witness: Witness, said: str) -> str:
    does = "allows" if verdict.allowed else "denies"
    who = f"{witness.name} dataplane" if witness.name == witness.dataplane else witness.name
    again = f" Shows on: muslin verify --dataplane {witness.dataplane}." if witness.dataplane else ""
    return f"The oracle {does} {verdict.packet}: {verdict.reason}. The {who} {said}. Found by a campaign.{again}"


def _port(packet: Packet) -> str:
    """As scenarios write ports: "80/TCP", or "ICMP" for whatever has no port."""
    if packet.protocol in PORTED:
        return f"{packet.destination_port}/{protocol_name(packet.protocol)}"
    return "ICMP"
