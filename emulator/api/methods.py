"""What a running cluster can be asked: each method with its parameters. Answers are plain JSON values."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from emulator.cluster import RunningCluster
from emulator.dataplane import require_dataplane
from emulator.dataplane.contract import Counter, RuleRef
from emulator.execute import execute
from emulator.explain import explain
from emulator.pools import unencapsulated
from emulator.probe.capture import Frame
from emulator.probe.packets import send
from emulator.probe.types import Probe
from emulator.wire import watch
from reference.commands import Decision
from reference.events import Record
from reference.program.types import digest
from reference.resources import AnyResource, Key


class Call(NamedTuple):
    """What every method gets beside its parameters."""

    cluster: RunningCluster
    descriptors: tuple[int, ...]
    connection: socket.socket
    progress: Callable[[str], None]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Resources to apply."""

    resources: list[AnyResource]


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of resources to delete."""

    keys: list[Key]


class OneNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node."""

    node: str


class Dataplane(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dataplane, and the machines that are to have it; none: all."""

    dataplane: str
    machines: list[str] = []


class Sequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sequence number; 0 is the last one."""

    seq: int = 0


class Probes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probes, to be sent once `seq` is enforced (0: the last one)."""

    probes: list[Probe]
    seq: int = 0


class OneProbe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One probe, to be sent once `seq` is enforced (0: the last one)."""

    probe: Probe
    seq: int = 0


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link: an interface of a pod, node or host; at most `limit` frames and `seconds` seconds are captured."""

    where: str
    interface: str = "eth0"
    limit: int = 100_000
    seconds: float = 300.0


class OneCapture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A capture under way, by its number."""

    number: int


class Packets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whole IP packets, or frames when an interface is named, to be sent from a pod, node or host."""

    where: str
    packets: list[bytes]  # base64 in JSON
    interface: str = ""


class Execution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command to run in a pod; stdin, stdout and stderr travel beside the request."""

    endpoint: str
    argv: list[str]
    folder: str


def _status(call: Call, _: Nothing) -> dict[str, Any]:
    cluster = call.cluster
    return {
        "name": cluster.spec.name,
        "topology": cluster.state.topology,
        "dataplane": cluster.state.dataplane,
        "node_dataplanes": dict(cluster.state.node_dataplanes),
        "dataplanes": {name: agent.dataplane for name, agent in cluster.everyone.items()},  # in force now
        "encryption": cluster.state.encryption,
        "log": cluster.log_path,
        "leased": cluster.spec.leased,  # it ends with the process that made it
        "log_outlives": bool(cluster.spec.log),  # the cluster; otherwise it lives in the sandbox
        "seq": cluster.state.seq,
        "enforced": {name: agent.enforced for name, agent in cluster.agents.items()},
        "nodes": sorted(cluster.agents),
        "hosts": sorted(host.name for host in cluster.state.hosts.values() if not host.is_node),
        "failed": sorted(cluster.state.failed_nodes),
        "drift": cluster.drifts,  # times a machine's kernel was found changed by others, and repaired
        "pods": len(cluster.state.endpoints),
    }


def _changed(call: Call, decision: Decision, remarks: tuple[str, ...] = ()) -> dict[str, Any]:
    lines = [str(outcome) for outcome in decision.outcomes]
    return {"seq": call.cluster.state.seq, "outcomes": [*lines, *remarks]}


def _apply(call: Call, params: Resources) -> dict[str, Any]:
    return _changed(call, call.cluster.apply(params.resources), tuple(unencapsulated(params.resources)))


def _delete(call: Call, params: Keys) -> dict[str, Any]:
    return _changed(call, call.cluster.delete(params.keys))


def _fail_node(call: Call, params: OneNode) -> dict[str, Any]:
    return _changed(call, call.cluster.fail_node(params.node))


def _recover_node(call: Call, params: OneNode) -> dict[str, Any]:
    return _changed(call, call.cluster.recover_node(params.node))


def _use_dataplane(call: Call, params: Dataplane) -> dict[str, Any]:
    require_dataplane(params.dataplane)
    return _changed(call, call.cluster.use_dataplane(params.dataplane, params.machines))


def _wait(call: Call, params: Sequence) -> int:
    return call.cluster.wait(params.seq or call.cluster.state.seq)


def _probe_many(call: Call, params: Probes) -> Any:  # noqa: ANN401
    return call.cluster.probe_many(params.probes, params.seq or call.cluster.state.seq)


def _explain(call: Call, params: OneProbe) -> Any:  # noqa: ANN401
    return explain(call.cluster, params.probe, params.seq or call.cluster.state.seq)


def _watch(call: Call, params: Probes) -> Any:  # noqa: ANN401
    return watch(call.cluster, params.probes, params.seq or call.cluster.state.seq)


def _execute(call: Call, params: Execution) -> int:
    return execute(call.cluster, params.endpoint, params.argv, params.folder, call.descriptors, call.connection)


def _capture(call: Call, link: Link) -> int:
    return call.cluster.captures.start(
        call.cluster.namespace_of(link.where), link.interface, limit=link.limit, seconds=link.seconds
    )


def _captured(call: Call, params: OneCapture) -> list[Frame]:
    return call.cluster.captures.stop(params.number)


def _send(call: Call, params: Packets) -> None:
    send(call.cluster.namespace_of(params.where), params.packets, params.interface)


def _records(call: Call, params: Sequence) -> list[Record]:
    return call.cluster.records(params.seq)


def _log_copy(call: Call, _: Nothing) -> bytes:
    return call.cluster.log_copy()  # base64 in JSON


def _counters(call: Call, _: Nothing) -> dict[str, list[tuple[RuleRef, Counter]]]:
    return {name: sorted(agent.counters().items(), key=str) for name, agent in call.cluster.everyone.items()}


def _programs(call: Call, _: Nothing) -> dict[str, str]:
    return {name: digest(program) for name, program in call.cluster.programs.items()}


def _shutdown(_call: Call, _: Nothing) -> float:
    return time.time()


METHODS: dict[str, tuple[type[Any], Callable[[Call, Any], Any]]] = {
    "status": (Nothing, _status),
    "apply": (Resources, _apply),
    "delete": (Keys, _delete),
    "fail_node": (OneNode, _fail_node),
    "recover_node": (OneNode, _recover_node),
    "use_dataplane": (Dataplane, _use_dataplane),
    "wait": (Sequence, _wait),
    "probe_many": (Probes, _probe_many),
    "explain": (OneProbe, _explain),
    "watch": (Probes, _watch),
    "execute": (Execution, _execute),
    "capture": (Link, _capture),
    "captured": (OneCapture, _captured),
    "send": (Packets, _send),
    "records": (Sequence, _records),
    "log_copy": (Nothing, _log_copy),
    "counters": (Nothing, _counters),
    "programs": (Nothing, _programs),
    "shutdown": (Nothing, _shutdown),
}
