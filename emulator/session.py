"""A session: a client's hold on one running cluster, made for it or borrowed from it.

Everything above the emulator (scenarios, campaigns, the command line, the public `Cluster`) speaks to a cluster
through this.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from emulator.api.client import Client
from emulator.explanation import Explanation
from emulator.launch import Lease, launch
from emulator.probe.capture import Frame
from emulator.probe.types import Outcome, Probe
from emulator.spec import DEFAULT_DATAPLANE, DEFAULT_NODES, DEFAULT_TOPOLOGY, ClusterSpec
from emulator.wire_report import WireReport
from reference.errors import MuslinError, RefusedError
from reference.events import Record
from reference.log import EventLog
from reference.resources import Key, Resource
from reference.state import State, evolve


class Session:
    """A running cluster, seen from outside its sandbox. Not to be shared between threads."""

    def __init__(
        self,
        *,
        topology: str = DEFAULT_TOPOLOGY,
        nodes: int = DEFAULT_NODES,
        dataplane: str = DEFAULT_DATAPLANE,
        node_dataplanes: Mapping[str, str] | None = None,
        encryption: str = "",
        name: str = "",
        log: Path | None = None,
    ) -> None:
        """Say what the cluster shall be; `with` or `start()` brings it up.

        `node_dataplanes`: the dataplanes of nodes that have another one than the rest.
        `log`: where to keep the event log; by default it lives and dies with the cluster.

        Raises:
            InvalidInputError: a value is out of range.
        """
        self.spec = ClusterSpec(
            name=name or f"c-{uuid.uuid4().hex[:12]}",
            topology=topology,
            nodes=nodes,
            dataplane=dataplane,
            node_dataplanes=dict(node_dataplanes or {}),
            encryption=encryption,
            log=str(log.resolve()) if log else "",
            leased=True,
        )
        self._lease: Lease | None = None
        self._client: Client | None = None
        self._log: EventLog | None = None
        self._log_outlives = False
        self._state = State()
        self._last = 0  # the sequence number of our last change

    @classmethod
    def connect(cls, name: str) -> Self:
        """A running cluster of this user, by name; it keeps running when the session is closed.

        Raises:
            InvalidInputError: no cluster has that name.
        """
        session = cls(name=name)
        session._client = Client(name)
        return session

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self, progress: Callable[[str], None] | None = None) -> Self:
        """Bring the cluster up; returns when every node enforces the first state.

        Raises:
            EnvironmentLacksError: the machine cannot do it; the message says what is missing.
        """
        self._lease = launch(self.spec, progress)
        self._client = Client(self.spec.name)
        return self

    def close(self) -> None:
        """Take the cluster down (one made for us), or let go of it (a borrowed one). Calling it twice is fine."""
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._client is not None:
            if self._lease is not None:
                with suppress(MuslinError):  # a supervisor that is gone already has nothing left to close
                    self._client.call("shutdown")
            self._client.close()
            self._client = None
        if self._lease is not None:
            self._lease.end(graceful=True)
            self._lease = None

    def __enter__(self) -> Self:
        return self if self._client is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- changes ---------------------------------------------------------------------------------------------------

    def apply_resources(self, resources: Sequence[Resource]) -> list[str]:
        """Apply validated resources, all or none. Returns kubectl's lines ("pod/web created").

        Durable when it returns; `wait()` returns when it is enforced, and probes wait by themselves.

        Raises:
            RefusedError: the state forbids one of them; nothing was applied.
        """
        return self._change("apply", resources=resources)

    def delete_keys(self, keys: Sequence[Key]) -> list[str]:
        """Delete resources, all or none.

        Raises:
            RefusedError: one does not exist, or may not be deleted; nothing was deleted.
        """
        return self._change("delete", keys=keys)

    def fail_node(self, node: str) -> None:
        """Cut a node off the fabric."""
        self._change("fail_node", node=node)

    def recover_node(self, node: str) -> None:
        """Put a failed node back on the fabric."""
        self._change("recover_node", node=node)

    def use_dataplane(self, dataplane: str, *machines: str) -> None:
        """Go over to another dataplane on these machines, or on all when none is named; nothing opens meanwhile.

        Raises:
            InvalidInputError: there is no such machine or dataplane.
            EnvironmentLacksError: a machine cannot have it, and all keep what they have.
        """
        self._change("use_dataplane", dataplane=dataplane, machines=machines)

    def _change(self, method: str, **params: object) -> list[str]:
        answer = self.call(method, **params)
        self._last = answer["seq"]
        lines: list[str] = answer["outcomes"]
        return lines

    def wait(self, seq: int = 0) -> int:
        """Return when every node enforces event `seq` (by default our last change); the number enforced."""
        return int(self.call("wait", seq=seq or self._last))

    # -- questions -------------------------------------------------------------------------------------------------

    def probe_many(self, probes: Iterable[Probe]) -> list[Outcome]:
        """Send real packets, once our last change is enforced; outcomes in order, thousands a second."""
        return msgspec.convert(self.call("probe_many", probes=list(probes), seq=self._last), list[Outcome])

    def explain_probe(self, probe: Probe) -> Explanation:
        """Model and kernel side by side for one flow."""
        return msgspec.convert(self.call("explain", probe=probe, seq=self._last), Explanation)

    def watch(self, probes: Iterable[Probe]) -> WireReport:
        """Send real packets while every fabric link is captured."""
        return msgspec.convert(self.call("watch", probes=list(probes), seq=self._last), WireReport)

    @contextmanager
    def capture(self, where: str, interface: str = "eth0") -> Iterator[list[Frame]]:
        """Capture a link of a pod, node or host while the block runs; its frames are in the list when it ends.

        A workload's host side is the node's `cali…` interface; `eth0` is a machine's or a pod's own.
        """
        number = self.call("capture", where=where, interface=interface)
        frames: list[Frame] = []
        try:
            yield frames
        finally:
            frames += msgspec.convert(self.call("captured", number=number), list[Frame])

    def send(self, where: str, packets: Sequence[object], interface: str = "") -> None:
        """Send crafted packets from a pod, node or host: scapy layers or bytes, with their IP headers as they are.

        With an interface they are whole frames for that link.
        """
        self.call("send", where=where, packets=[bytes(packet) for packet in packets], interface=interface)  # type: ignore[call-overload]

    def execute(self, pod: str, argv: Sequence[str], descriptors: tuple[int, int, int] = (0, 1, 2)) -> int:
        """Run a command in a pod's network, with the given stdin, stdout and stderr; its exit code."""
        return int(self.call("execute", endpoint=pod, argv=list(argv), folder=str(Path.cwd()), descriptors=descriptors))

    def call(self, method: str, **params: Any) -> Any:  # noqa: ANN401 - plain JSON values
        """Call any method of the supervisor's API."""
        if self._client is None:
            raise RefusedError("the cluster is not running; use it in a `with` block, or call start()")
        return self._client.call(method, **params)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        if self._client is None:
            raise RefusedError("the cluster is not running")
        return self._client.pid

    def records(self, after: int = 0) -> list[Record]:
        """The log's records after a sequence number."""
        return msgspec.convert(self.call("records", seq=after), list[Record])

    @property
    def log(self) -> EventLog:
        """The event log, for reading. A log that lives in the sandbox is given as a copy of this moment."""
        if self._log is None or not self._log_outlives:
            status = self.call("status")
            self._log_outlives = status["log_outlives"]
            if self._log_outlives:
                self._log = EventLog.open(Path(status["log"]), readonly=True)
            else:
                self._log = EventLog.of_bytes(base64.b64decode(self.call("log_copy")), status["log"])
        return self._log

    @property
    def state(self) -> State:
        """The state folded from the log, up to its last event."""
        for record in self.records(self._state.seq):
            self._state = evolve(self._state, record)
        return self._state
