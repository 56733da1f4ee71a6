"""A rehearsal: a session without a cluster, whose network does as the oracle says, but for what it is told."""

from __future__ import annotations

import pytest

from emulator.dataplane.contract import Drop, RuleRef
from emulator.explanation import Explanation
from emulator.probe.types import Outcome
from emulator.wire_report import WireReport
from encryption.keys import PrivateKey
from reference import commands, policy
from reference.naming import packet_between
from topologies import TOPOLOGIES, hosts

RULE = RuleRef(tier="default", policy="np:shop/db", direction="ingress", rule=1)


class Rehearsal:
    """What scenarios ask of a session, answered from the state alone.

    `wrong` maps "shop/web>shop/db" to what the kernel does instead; `wire` overrides what is seen on the fabric.
    """

    wrong: dict[str, str] = {}
    wire: dict[str, int] | None = None
    lacks: Exception | None = None

    def __init__(self, *, topology="subnets", nodes=2, dataplane="nftables", node_dataplanes=None, encryption=""):
        self.encryption, self.dataplane = encryption, dataplane
        fabric = TOPOLOGIES[topology](nodes)
        self.state = commands.bootstrap("rehearsal", topology, dataplane, hosts(fabric), now=0).state
        self.explained = 0
        self.closed = False

    def start(self, say):
        """Nothing to bring up; or what is lacking."""
        say("rehearsing")
        if self.lacks:
            raise self.lacks
        if self.encryption:
            keys = {host.name: PrivateKey.generate().public for host in self.state.hosts.values() if host.is_node}
            self.state = commands.enable_encryption(self.state, self.encryption, keys, now=0).state

    def close(self):
        """Remember that it was taken down."""
        self.closed = True

    def apply_resources(self, resources):
        """As the supervisor would."""
        self.state = commands.apply(self.state, resources, now=0).state

    def delete_keys(self, keys):
        """As the supervisor would."""
        self.state = commands.delete(self.state, keys, now=0).state

    def fail_node(self, node):
        """As the supervisor would."""
        self.state = commands.fail_node(self.state, node, now=0).state

    def recover_node(self, node):
        """As the supervisor would."""
        self.state = commands.recover_node(self.state, node, now=0).state

    def probe_many(self, probes):
        """The oracle's answers as outcomes."""
        return [self.outcome(probe) for probe in probes]

    def outcome(self, probe):
        """What the rehearsed network does with a probe."""
        packet = packet_between(
            self.state, probe.source, probe.destination, probe.protocol, probe.port, family=probe.family
        )
        allowed = policy.evaluate(self.state, packet).allowed
        result = self.wrong.get(f"{probe.source}>{probe.destination}", "allowed" if allowed else "denied")
        drop = Drop(node="node-1", rule=RULE, packet=packet, interface="cali0") if result == "denied" else None
        return Outcome(
            probe=probe, packet=packet, seq=self.state.seq, result=result, evidence=f"so it was: {result}",
            milliseconds=1, drop=drop,
        )  # fmt: skip

    def explain_probe(self, probe):
        """An explanation without steps."""
        self.explained += 1
        outcome = self.outcome(probe)
        return Explanation(verdict=policy.evaluate(self.state, outcome.packet), outcome=outcome, steps=())

    def watch(self, probes):
        """What would be on the wire: WireGuard between pods where it is on."""
        hidden = bool(self.encryption) and all("/" in probe.destination for probe in probes)
        seen = self.wire or {"encrypted": 4 if hidden else 0, "clear": 0 if hidden else 4}
        return WireReport(outcomes=tuple(self.probe_many(probes)), frames=9, **seen)


@pytest.fixture
def rehearsal(monkeypatch):
    """The class, in the place of the session; change its attributes to change what it does."""
    monkeypatch.setattr("scenarios.run.Session", Rehearsal)
    for name, value in (("wrong", {}), ("wire", None), ("lacks", None)):
        monkeypatch.setattr(Rehearsal, name, value)
    return Rehearsal
