"""`Cluster`: a real emulated cluster, owned by whoever made it, or borrowed from a supervisor that already runs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from reference.log import EventLog

from emulator.api.client import Client
from emulator.explanation import Explanation
from emulator.launch import Lease, launch
from emulator.probe.types import Outcome, Probe
from emulator.spec import DEFAULT_DATAPLANE, DEFAULT_NODES, DEFAULT_TOPOLOGY, ClusterSpec
from reference.errors import RefusedError
from reference.resources import Key, Resource, manifests
from reference.state import State, evolve

Source = str | os.PathLike[str] | dict[str, Any] | Resource | Iterable["Source"]


class Cluster:
    """A running cluster: real namespaces, real packets.

        with muslin.Cluster(nodes=2) as cluster:
            cluster.apply("manifests/")
            assert cluster.probe("shop/web", "shop/api", "TCP", 8080).allowed

    It owns its supervisor: when this process ends, however it ends, the cluster goes with it.
    """

    def __init__(
        self,
        *,
        topology: str = DEFAULT_TOPOLOGY,
        nodes: int = DEFAULT_NODES,
        dataplane: str = DEFAULT_DATAPLANE,
        encryption: str = "",
        name: str = "",
        log: str | os.PathLike[str] = "",
    ) -> None:
        """Say what it shall be; `with` or `start()` brings it up.

        `log`: where to keep the event log; by default it lives and dies with the cluster.

        Raises:
            InvalidInputError: a value is out of range or unknown.
        """
        self.spec = ClusterSpec(
            name=name or f"c-{uuid.uuid4().hex[:12]}",
            topology=topology,
            nodes=nodes,
            dataplane=dataplane,
            encryption=encryption,
            log=str(Path(log).resolve()) if log else "",
            leased=True,
        )
        self._lease: Lease | None = None
        self._client: Client | None = None
        self._log: EventLog | None = None
        self._state = State()
        self._last = 0  # the sequence number of our last command

    @classmethod
    def connect(cls, name: str) -> Self:
        """A running cluster of this user, by name; it keeps running when this object is closed."""
        cluster = cls(name=name)
        cluster._client = Client(name)
        return cluster

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self, progress: Callable[[str], None] | None = None) -> Self:
        """Bring it up; returns when every node enforces the first state.

        Raises:
            EnvironmentLacksError: the machine cannot do it; the message says what is missing.
        """
        self._lease = launch(self.spec, progress)
        self._client = Client(self.spec.name)
        return self

    def stop(self) -> None:
        """Take it down (an owned one), or let go of it (a borrowed one). Calling it twice is fine."""
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._lease is not None:
            self._lease.end()
            self._lease = None

    def __enter__(self) -> Self:
        return self if self._client is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- changes ---------------------------------------------------------------------------------------------------

    def apply(self, *sources: Source) -> list[str]:
        """Apply manifests: paths, folders, or dicts. All or nothing. Returns kubectl's lines ("pod/web created").

        Durable when it returns; `wait()` returns when it is enforced, and probes wait by themselves.

        Raises:
            InvalidInputError: a manifest is wrong; says file, line, field. Nothing was applied.
        """
        loaded = manifests.load(*sources)
        return self.apply_resources([sourced.resource for sourced in loaded])

    def apply_resources(self, resources: Sequence[Resource]) -> list[str]:
        """Apply resources that are already validated."""
        return self._change("apply", resources=resources)

    def delete(self, *sources: Source) -> list[str]:
        """Delete what manifests name. Raises InvalidInputError when one does not exist; nothing is deleted then."""
        return self.delete_keys([sourced.resource.key for sourced in manifests.load(*sources)])

    def delete_keys(self, keys: Sequence[Key]) -> list[str]:
        """Delete resources by key."""
        return self._change("delete", keys=keys)

    def fail_node(self, node: str) -> None:
        """Cut a node off the fabric."""
        self._change("fail_node", node=node)

    def recover_node(self, node: str) -> None:
        """Put a failed node back on the fabric."""
        self._change("recover_node", node=node)

    def _change(self, method: str, **params: object) -> list[str]:
        answer = self.call(method, **params)
        self._last = answer["seq"]
        lines: list[str] = answer["outcomes"]
        return lines

    def wait(self, seq: int = 0) -> int:
        """Return when every node enforces event `seq` (by default our last change); returns the number enforced."""
        return int(self.call("wait", seq=seq or self._last))

    # -- questions -------------------------------------------------------------------------------------------------

    def probe(self, source: str, destination: str, protocol: str = "TCP", port: int = 80) -> Outcome:
        """Send one real packet and see what becomes of it, once the last change is enforced."""
        return self.probe_many([Probe(source=source, destination=destination, protocol=protocol, port=port)])[0]

    def probe_many(self, probes: Iterable[Probe | tuple[str, str, str, int]]) -> list[Outcome]:
        """Many probes at once, in their order; thousands a second."""
        asked = [
            probe
            if isinstance(probe, Probe)
            else Probe(source=probe[0], destination=probe[1], protocol=probe[2], port=probe[3])
            for probe in probes
        ]
        return msgspec.convert(self.call("probe_many", probes=asked, seq=self._last), list[Outcome])

    def explain(self, probe: Probe) -> Explanation:
        """Model and kernel side by side for one flow."""
        return msgspec.convert(self.call("explain", probe=probe, seq=self._last), Explanation)

    def execute(self, pod: str, argv: Sequence[str], descriptors: tuple[int, int, int] = (0, 1, 2)) -> int:
        """Run a command in a pod's network, with the given stdin, stdout and stderr; returns its exit code."""
        return int(self.call("execute", endpoint=pod, argv=list(argv), folder=str(Path.cwd()), descriptors=descriptors))

    def call(self, method: str, **params: Any) -> Any:  # noqa: ANN401 - plain JSON values
        """Call any method of the supervisor's API."""
        if self._client is None:
            raise RefusedError("the cluster is not running; use it in a `with` block, or call start()")
        return self._client.call(method, **params)

    @property
    def log(self) -> EventLog:
        """The event log, opened for reading."""
        if self._log is None:
            self._log = EventLog.open(self.call("status")["log"], readonly=True)
        return self._log

    @property
    def state(self) -> State:
        """The state folded from the log, up to its last event."""
        for record in self.log.records(after=self._state.seq):
            self._state = evolve(self._state, record)
        return self._state
