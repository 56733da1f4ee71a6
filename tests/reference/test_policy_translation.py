"""NAT-1 as policy sees it: what leaves for an address in no pool bears the node's address at the other end."""

from __future__ import annotations

from typing import Any

import pytest

from reference.analysis import matrix
from reference.loading import load_state
from reference.packet import Packet
from reference.policy import evaluate
from reference.program.compile import Compiler
from reference.program.interpret import decide

CALICO = "projectcalico.org/v3"
POD, NEAR, FAR, INSIDE = "10.10.0.1", "10.65.0.6", "10.65.0.7", "10.10.0.7"


def node(number: int) -> dict[str, Any]:
    """A node."""
    status = {"addresses": [{"type": "InternalIP", "address": f"172.30.1.1{number}"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"}, "status": status}


def workload(name: str, machine: str, address: str) -> dict[str, Any]:
    """A virtual machine."""
    spec = {"orchestrator": "libvirt", "workload": name, "node": machine, "ipNetworks": [f"{address}/32"]}
    metadata = {"name": name, "namespace": "a"}
    return {"apiVersion": CALICO, "kind": "WorkloadEndpoint", "metadata": metadata, "spec": spec}


MANIFESTS: list[dict[str, Any]] = [
    node(1),
    node(2),
    {"apiVersion": CALICO, "kind": "IPPool", "metadata": {"name": "pool"},
     "spec": {"cidr": "10.10.0.0/24", "natOutgoing": True}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "a", "labels": {"app": "web"}},
     "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]}, "status": {"podIP": POD}},
    workload("near", "node-1", NEAR),
    workload("far", "node-2", FAR),
    workload("inside", "node-2", INSIDE),
    {"apiVersion": CALICO, "kind": "NetworkPolicy", "metadata": {"name": "not-web", "namespace": "a"},
     "spec": {"selector": "!has(app)", "ingress": [
         {"action": "Deny", "source": {"selector": "app == 'web'"}}, {"action": "Allow"}]}},
]  # fmt: skip

ARRIVALS = [
    # to, allowed: whether the policy fails to know the pod again
    (NEAR, False),  # the same node translates on the way out alone, after policy
    (FAR, True),
    (INSIDE, False),  # a pool's own address
]


@pytest.mark.parametrize(("destination", "allowed"), ARRIVALS)
def test_the_source_that_ingress_policy_sees(destination: str, allowed: bool) -> None:
    """Another node's workload outside every pool sees the pod's node; oracle, program and matrix say so."""
    state = load_state(MANIFESTS)
    packet = Packet(source=POD, destination=destination, protocol=6, destination_port=80)
    name = "/".join(state.addresses[destination][0])

    assert evaluate(state, packet).allowed is allowed
    assert decide(Compiler().compile(state), state, packet).allowed is allowed
    assert matrix(state, ("80/TCP",)).glyph("a/web", name, "80/TCP") == (".X"[not allowed])
