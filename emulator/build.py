"""From a spec to a running cluster, inside the sandbox: log, fabric, nodes, first state."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from emulator.cluster import PRIVATE_LOG, RunningCluster
from emulator.dataplane import require_dataplane
from emulator.spec import ClusterSpec
from encryption.available import require
from reference import commands
from reference.errors import InvalidInputError
from reference.log import EventLog
from reference.state import State
from topologies import TOPOLOGIES
from topologies.description import Topology, hosts
from topologies.fabric import Fabric


def build(spec: ClusterSpec, progress: Callable[[str], None]) -> RunningCluster:
    """Bring the cluster up and return once every node enforces its first state.

    Raises:
        InvalidInputError: no such topology or dataplane.
        EnvironmentLacksError: the machine lacks something; says what and how to get it.
    """
    topology = describe(spec)
    if spec.encryption:
        require()  # before anything is built
    progress(f"building the fabric: {spec.nodes} nodes, topology {spec.topology}")
    fabric = Fabric(topology)
    fabric.start()
    progress("opening the event log")
    log, state = _open_log(spec, topology)
    if state.encryption:
        require()
    cluster = RunningCluster(spec, log, fabric, state)
    if spec.encryption and not state.encryption:
        cluster.encrypt()
    elif state.encryption:
        cluster.publish_keys()
    progress("programming the nodes")
    cluster.start()
    cluster.wait(cluster.state.seq)
    return cluster


def describe(spec: ClusterSpec) -> Topology:
    """The topology a spec names; its dataplane is checked too."""
    if spec.topology not in TOPOLOGIES:
        raise InvalidInputError(f"topology {spec.topology!r} is not known; there are {', '.join(sorted(TOPOLOGIES))}")
    require_dataplane(spec.dataplane)
    topology = TOPOLOGIES[spec.topology](spec.nodes)
    nodes = sorted(host.name for host in hosts(topology) if host.is_node)
    for node, dataplane in spec.node_dataplanes.items():
        if node not in nodes:
            raise InvalidInputError(f"there is no node {node!r} to have its own dataplane; there is {', '.join(nodes)}")
        require_dataplane(dataplane, of=node)
    return topology


def _open_log(spec: ClusterSpec, topology: Topology) -> tuple[EventLog, State]:
    """A fresh log that begins with the cluster's creation, or with the history that is replayed."""
    log = EventLog.create(Path(spec.log) if spec.log else PRIVATE_LOG)
    if spec.replay:
        with EventLog.open(Path(spec.replay), readonly=True) as source:
            log.adopt(source.records(upto=spec.replay_at or None))
        return log, log.state()
    decision = commands.bootstrap(
        spec.name,
        spec.topology,
        spec.dataplane,
        hosts(topology),
        now=time.time(),
        node_dataplanes=spec.node_dataplanes,
    )
    log.append(decision.drafts, time.time(), decision.state)
    return log, decision.state
