"""Explain one flow: trace it through every node's kernel while it is probed, and put the oracle's walk beside it."""

from __future__ import annotations

from contextlib import ExitStack

from emulator.cluster import RunningCluster
from emulator.explanation import Explanation
from emulator.probe.types import Probe
from reference.policy import evaluate


def explain(cluster: RunningCluster, probe: Probe, seq: int) -> Explanation:
    """Send one probe with tracing on at every node it may cross."""
    with cluster.standing_still(), ExitStack() as stack:
        packet = cluster.packet_of(probe)
        traces = [stack.enter_context(agent.tracing(packet)) for agent in cluster.everyone.values()]
        outcome = cluster.probe_many([probe], seq)[0]
        steps = [step for steps_seen in traces for step in steps_seen()]
    return Explanation(verdict=evaluate(cluster.state, outcome.packet), outcome=outcome, steps=tuple(steps))
