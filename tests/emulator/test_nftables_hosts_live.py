"""The nftables chains of host endpoints in a real kernel: accepted, read back, and the same by whatever road.

What they do to packets is shown by the scenarios about hosts, where oracle and kernel are held against each other.
"""

import socket
import sys
from pathlib import Path

import msgspec
import pytest
from immutables import Map

from emulator.dataplane.nftables.dataplane import NftablesDataplane
from reference import commands
from reference.loading import load_state
from reference.program.compile import Compiler
from reference.program.types import HostEndpointProgram, TierStep, Walk
from reference.resources import load

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, program, rule
from nftables_lab import policy as policy_of

pytestmark = pytest.mark.live
VARIANTS = {
    "normal": {},
    "forward": {"applyOnForward": True},
    "untracked": {"applyOnForward": True, "doNotTrack": True},
    "prednat": {"applyOnForward": True, "preDNAT": True},
}


def calico(kind, name, spec):
    """A manifest."""
    labels = {"role": "host"}
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def policy(name, flags):
    """A policy for hosts in one of the lists, in every direction it may govern."""
    rules = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, 443]}}]
    both = {"types": ["Ingress", "Egress"], "egress": rules} if "preDNAT" not in flags else {}
    return calico("GlobalNetworkPolicy", name, {"selector": "role == 'host'", "ingress": rules, **both, **flags})


def histories():
    """Host endpoints and their settings come, change and go on one machine."""
    named = calico("HostEndpoint", "a", {"node": "node-1", "interfaceName": "eth0"})
    every = calico("HostEndpoint", "b", {"node": "node-1", "interfaceName": "*"})
    narrow = calico("FelixConfiguration", "default", {
        "defaultEndpointToHostAction": "Accept",
        "failsafeInboundHostPorts": [{"port": 22, "net": "10.0.0.0/8"}, {"port": 22, "net": "fd00::/8"}],
        "failsafeOutboundHostPorts": "none",
    })  # fmt: skip
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    states = [load_state(pod)]
    for step in ([named], [policy(name, flags) for name, flags in VARIANTS.items()], [every], [narrow]):
        states.append(commands.apply(states[-1], load(*step).resources, now=0.0, offline=True).state)
    compiler, stepwise = Compiler(), NftablesDataplane()
    found = {"chains": [], "as at once": [], "again": []}
    for state in (*states, *reversed(states)):
        program = compiler.compile(state)["node-1"]
        stepwise.apply(program)
        there = stepwise.read_back()
        fresh = NftablesDataplane()
        fresh.apply(Compiler().compile(state)["node-1"])
        found["as at once"].append(there == fresh.read_back())
        found["again"].append(stepwise.apply(Compiler().compile(state)["node-1"]).operations)
        found["chains"].append(sorted(name for name in there["hooks"] if name.startswith("host-")))
    return found


def test_host_chains_in_the_kernel(sandboxed):
    """A table is the same by steps and at once, twice sends nothing, and hooks are there only when needed."""
    found = sandboxed(histories)
    every = ["forward-in", "forward-out", "in", "out", "pre-dnat", "raw-in", "raw-out"]
    kinds = [[], ["in", "out"], every, every, every]
    assert found["chains"] == [[f"host-{name}" for name in names] for names in (*kinds, *reversed(kinds))]
    assert all(found["as at once"])
    assert found["again"] == [0] * 10


def established():
    """An open connection from outside to the node, while the node's host endpoint is locked."""
    lab = Lab()
    allow = walk("in", [("default", "deny", ["gnp:open"])])
    leave = walk("out", [("default", "deny", ["gnp:open"])], direction="egress")
    shut = walk("shut", [])
    guard = HostEndpointProgram(name="h", interface="up0", ingress=allow.id, egress=leave.id)
    lab.apply(hosted(guard, allow, leave))
    with (
        lab.socket_in("node", socket.AF_INET, socket.SOCK_STREAM) as server,
        lab.socket_in("out", socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        server.bind((lab.address("node"), 80))
        server.listen()
        client.settimeout(3)
        client.connect((lab.address("node"), 80))
        connection, _ = server.accept()
        connection.settimeout(3)
        lab.apply(hosted(msgspec.structs.replace(guard, ingress=shut.id), shut, leave))
        client.send(b"still here")
        said = connection.recv(100).decode()
        connection.close()
    return {"old": said, "new": lab.tcp("out", "node", 81), "out": lab.tcp("node", "out", 82)}


def walk(name, tiers, direction="ingress"):
    """A walk; tiers are (name, default action, policy ids)."""
    steps = tuple(TierStep(tier=tier, default_action=action, policies=tuple(ids)) for tier, action, ids in tiers)
    return Walk(id=name, direction=direction, tiers=steps, profiles=())


def hosted(guard, *walks):
    """A program without pods, with one host endpoint."""
    base = program(policies=[policy_of("gnp:open", [rule("allow")], [rule("allow")])], pods=())
    every = base.walks.update({one.id: one for one in walks})
    return msgspec.structs.replace(base, walks=every, host_endpoints=Map({guard.interface: guard}))


def test_connections_to_hosts_outlive_policy(sandboxed):
    """Invariant 26: a lock does not cut what is open, in either direction of it; what is new meets the lock."""
    assert sandboxed(established) == {
        "old": "still here",
        "new": "no profile matched (ingress) at ",
        "out": "allowed",
    }
