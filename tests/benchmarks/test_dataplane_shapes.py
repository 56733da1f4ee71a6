"""The policies dataplanes are measured with are what the documentation says of them."""

from __future__ import annotations

import pytest

from benchmarks.dataplane.packets import Plan
from benchmarks.dataplane.shapes import FRESH_PORTS, PORT, Policies, compiled
from reference.packet import Packet
from reference.policy import evaluate
from reference.program.interpret import decide

SIZES = (10, 40)
GUARDED = [Policies(shape, size) for shape in ("ports", "selectors", "crossed", "spread") for size in SIZES]
SERVER = "np:bench/guard-server-000"


def packet_to_server(policies, source="client", port=PORT):
    """A packet between two of the pods that take part."""
    state, _ = compiled(policies)
    address = {endpoint.pod: endpoint.addresses[0] for endpoint in state.endpoints.values()}
    return Packet(
        source=address[source],
        destination=address["server"],
        protocol=6,
        destination_port=port,
        source_port=4000,
    )


@pytest.mark.parametrize("policies", GUARDED, ids=str)
@pytest.mark.parametrize("source", ["client", "distant"])
@pytest.mark.parametrize("port", [PORT, FRESH_PORTS[0], FRESH_PORTS[-1]])
def test_the_last_rule_alone_lets_the_measured_packets_through(policies, source, port):
    """The oracle allows them, by the last rule of the server's last policy."""
    state, programs = compiled(policies)
    verdict = evaluate(state, packet_to_server(policies, source, port))
    rules = programs["node-1"].policies[SERVER].ingress
    assert verdict.allowed
    assert f"rule {rules[-1].index}" in str(decide(programs, state, packet_to_server(policies, source, port)).where)


@pytest.mark.parametrize("policies", GUARDED, ids=str)
def test_there_are_as_many_rules_as_the_name_says(policies):
    """Over all policies of the node that has the server; profiles are no policies."""
    _, programs = compiled(policies)
    rules = [rule for one in programs["node-1"].policies.values() if one.tier == "default" for rule in one.ingress]
    assert len(rules) == policies.rules


@pytest.mark.parametrize("policies", [*GUARDED, Policies("none", 40)], ids=str)
def test_the_floor_has_the_same_pods_and_no_policy(policies):
    """Interfaces are the same, and every walk is only profiles."""
    _, programs = compiled(policies)
    _, bare = compiled(policies.floor)
    for node in ("node-1", "node-2"):
        assert set(bare[node].endpoints) == set(programs[node].endpoints)
        assert not any(walk.tiers for walk in bare[node].walks.values())


@pytest.mark.parametrize("members", [10, 12_345])
def test_the_clients_set_has_as_many_members_as_the_name_says(members):
    """Of the family that is measured; the clients are among them."""
    _, programs = compiled(Policies("ports", 10, members))
    (set_,) = [one for one in programs["node-1"].sets.values() if one.family == 4]
    assert len(set_.members) == members


def test_every_policy_that_is_measured_has_its_floor_measured_in_the_same_way():
    """Without it there were nothing to hold the figure against."""
    plan = Plan(("nftables",), (10, 1_000, 10_000), ("stream", "rr", "crr", "first", "udp", "oneway"), 40, 1, 1)
    measured = {cell for one in plan.policies() for cell in plan.cells("nftables", one)}
    for cell in measured:
        assert any(
            (other.policies, other.mode, other.path, other.family)
            == (cell.policies.floor, cell.mode, cell.path, cell.family)
            for other in measured
        ), cell
