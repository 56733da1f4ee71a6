"""A machine's agent: makes its kernel be what the state says, level-triggered (architecture rule 5).

It lives in a thread of its own inside the machine's network namespace. Whatever it is told, it compares wanted with
actual and sends the difference; starting anew on one that is already programmed converges to the same place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from emulator.dataplane.contract import Counter, DropSource, RuleRef, TraceStep, Tracing
from emulator.enforcement import Enforcement
from emulator.namespaces import NetworkNamespace, Worker
from emulator.pods import PodNetwork
from emulator.routes import RouteTable
from encryption.keys import PrivateKey
from encryption.node import NodeEncryption
from reference.endpoints import Host, WorkloadEndpoint
from reference.errors import MuslinError
from reference.packet import Packet
from reference.program.types import NodeProgram
from reference.routes import node_routes
from reference.state import State

T = TypeVar("T")
LOOK = 0.4  # seconds between two looks for drift, so that it is found and repaired within one
REST = 4  # times as long as a look took is waited before the next: looking never is all a node does


class HostAgent:
    """A machine and its dataplane: all there is on a host outside the cluster. Its methods are safe from any thread."""

    def __init__(self, host: Host, namespace: NetworkNamespace, dataplane: str) -> None:
        """Take over a machine's namespace; nothing is programmed before `converge`.

        Raises:
            EnvironmentLacksError: a setting is refused, or the dataplane is not to be had.
        """
        self.name = host.name
        self.namespace = namespace
        self.enforced = 0  # the sequence number this machine has acknowledged
        self._trouble = ""
        self._traces = 0  # under way
        self._worker = Worker(namespace, name=f"{'node' if host.is_node else 'host'} {host.name}")
        self._worker.call(self._settle_in)
        self._enforcement = self._worker.call(Enforcement, host.name, dataplane)
        self.drops: DropSource = self._enforcement.drops

    def _settle_in(self) -> None:
        """Prepare the namespace before the dataplane comes."""

    def converge(self, state: State, program: NodeProgram) -> Future[None]:
        """Make this machine enforce `state`; the future is done when the kernel does."""
        return self._worker.submit(self._converge, state, program)

    def _converge(self, state: State, program: NodeProgram) -> None:
        self._enforcement.enforce(state.dataplane_of(self.name), program)

    @property
    def dataplane(self) -> str:
        """The dataplane that enforces now."""
        return self._enforcement.dataplane

    def prepare_dataplane(self, name: str) -> Future[None]:
        """Put a dataplane in force beside the one there is, so that a state that asks for it can be enforced at once.

        With the present one's name what was prepared is taken back.
        """
        return self._worker.submit(self._enforcement.prepare, name)

    def watch(self, report: Callable[[str, str], None]) -> None:
        """Look for drift from now on, in a thread of its own; repair it, and report (machine, what was wrong)."""

        def look() -> None:
            took = 0.0
            while True:
                time.sleep(max(LOOK, REST * took))
                began = time.monotonic()
                if found := self._worker.call(self._mend):
                    report(self.name, found)
                took = time.monotonic() - began

        threading.Thread(target=look, name=f"watch {self.name}", daemon=True).start()

    def _mend(self) -> str:
        """Compare the kernel with what was programmed; where somebody changed it, program it again."""
        if self._traces:  # a trace may put rules of its own before everything else
            return ""
        try:
            found = self._enforcement.mend()
        except MuslinError as error:
            text = f"the kernel could not be looked at or repaired: {error}"
            found = "" if text == self._trouble else text  # said once, tried again and again
            self._trouble = text
        else:
            self._trouble = ""
        return found

    def counters(self) -> Mapping[RuleRef, Counter]:
        """What every rule has matched."""
        return self._worker.call(self._enforcement.counters)

    @contextmanager
    def tracing(self, packet: Packet) -> Iterator[Callable[[], list[TraceStep]]]:
        """Trace packets like this one while the block runs; what is given reads the steps seen so far."""
        tracer = self._worker.call(self._begin_trace, packet)
        try:
            yield lambda: self._worker.call(tracer.steps)
        finally:
            self._worker.call(self._end_trace, tracer)

    def _begin_trace(self, packet: Packet) -> Tracing:
        tracer = self._enforcement.trace(packet)
        self._traces += 1
        return tracer

    def _end_trace(self, tracer: Tracing) -> None:
        self._traces -= 1
        tracer.close()


class NodeAgent(HostAgent):
    """A cluster node: its pods' attachments, routes and encryption too."""

    def __init__(self, host: Host, namespace: NetworkNamespace, dataplane: str) -> None:
        """Take over a node's namespace; it gets its settings, and nothing else is programmed before `converge`."""
        self._pods = PodNetwork(host.name)
        self._routes = RouteTable()
        key = PrivateKey.generate()
        self.public_key = key.public  # published once encryption is on (WG-1); the private half stays here
        self._encryption = NodeEncryption(host.name, key)
        super().__init__(host, namespace, dataplane)

    def _settle_in(self) -> None:
        self._pods.prepare()

    def prepare(self, state: State) -> Future[int]:
        """Make the encryption's devices and peers ready, and route nothing to them yet."""
        return self._worker.submit(self._encryption.prepare, state)

    def _converge(self, state: State, program: NodeProgram) -> None:
        """Attachments before policy: an interface nobody has programmed yet lets nothing through (POL-19)."""
        self._pods.update(e for e in state.endpoints.values() if e.node == self.name)
        super()._converge(state, program)
        self._routes.apply(node_routes(state, self.name))
        self._encryption.apply(state)

    def pod_namespace(self, endpoint: WorkloadEndpoint) -> NetworkNamespace:
        """The network namespace of one of this node's pods."""
        return self._pods.namespace_of(endpoint)
