"""Which packets consult policy, and at which end (POL-18, CT-1, HEP-12), one line per packet."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from reference.endpoints import Host
from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import allowed, evaluate
from reference.state import State

CLUSTER = """
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 172.30.1.11}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 172.30.1.12}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: n1, containers: [{name: c, image: i}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {nodeName: n1, containers: [{name: c, image: i}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c}, spec: {nodeName: n2, containers: [{name: c, image: i}]}}
"""
POLICIES = {
    "none": [],
    "no ingress": ["Ingress"],
    "no egress": ["Egress"],
}


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    """The cluster with an outside host: without policy, and with one that denies a direction for every pod."""
    result = {}
    for name, types in POLICIES.items():
        policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
                  "spec": {"podSelector": {}, "policyTypes": types}}  # fmt: skip
        state = load_state(*yaml.safe_load_all(CLUSTER), *([policy] if types else []))
        internet = Host(name="internet", addresses=("203.0.113.9",), subnet="outside", is_node=False)
        result[name] = replace(state, hosts=state.hosts.set("internet", internet))
    return result


CASES = [
    # policies, source, destination, allowed, the ends that were consulted
    ("none", "a", "b", True, ["egress", "ingress"]),
    ("none", "a", "c", True, ["egress", "ingress"]),
    ("no ingress", "a", "b", False, ["egress", "ingress"]),
    ("no egress", "a", "c", False, ["egress", "ingress"]),
    ("no ingress", "a", "a", True, []),  # a pod to itself
    ("no egress", "a", "a", True, []),
    ("no ingress", "n1", "a", True, []),  # CT-1
    ("no ingress", "n2", "a", False, ["ingress"]),  # another node
    ("none", "n2", "a", True, ["ingress"]),
    ("none", "a", "n1", False, ["egress"]),  # HEP-12
    ("no egress", "a", "n1", False, ["egress"]),
    ("none", "a", "n2", True, ["egress"]),
    ("no egress", "a", "n2", False, ["egress"]),
    ("none", "a", "internet", True, ["egress"]),
    ("no egress", "a", "internet", False, ["egress"]),
    ("no ingress", "a", "internet", True, ["egress"]),
    ("none", "internet", "a", True, ["ingress"]),
    ("no ingress", "internet", "a", False, ["ingress"]),
    ("no egress", "internet", "a", True, ["ingress"]),
    ("no ingress", "198.51.100.1", "a", False, ["ingress"]),
    ("no egress", "a", "198.51.100.1", False, ["egress"]),
    ("no ingress", "n1", "n2", True, []),
    ("no ingress", "n1", "internet", True, []),
    ("no ingress", "198.51.100.1", "198.51.100.2", True, []),
]


@pytest.mark.parametrize(("policies", "source", "destination", "expected", "ends"), CASES)
def test_consulted(
    states: dict[str, State], policies: str, source: str, destination: str, expected: bool, ends: list[str]
) -> None:
    """Pods answer for their own directions; nodes reach their pods; a pod does not reach its own node."""
    state = states[policies]
    packet = packet_between(state, source, destination)
    verdict = evaluate(state, packet)

    assert (expected, ends) == (verdict.allowed, [side.direction for side in verdict.trace])
    assert expected == allowed(state, packet)


REASONS = [
    ("a", "a", "a pod always reaches itself; no policy is consulted"),
    ("n1", "a", "node n1 always reaches the pods on it; no policy is consulted (CT-1)"),
    ("a", "n1", "denied by defaultEndpointToHostAction Drop: a pod does not reach its own node (HEP-12)"),
    ("n1", "n2", "neither end is a pod; no policy is consulted"),
]


@pytest.mark.parametrize(("source", "destination", "reason"), REASONS)
def test_reason_without_policy(states: dict[str, State], source: str, destination: str, reason: str) -> None:
    """What no policy decides has a reason all the same."""
    verdict = evaluate(states["none"], packet_between(states["none"], source, destination))

    assert reason == verdict.reason
