"""The cluster inside its supervisor: commands become events, events become programs, programs become kernels.

One lock orders commands; one thread converges. A command returns when its events are durable; `wait` returns when
every node has acknowledged them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from immutables import Map

from emulator.namespaces import NetworkNamespace, of_pid
from emulator.node import HostAgent, NodeAgent
from emulator.probe.capture import Captures
from emulator.probe.sockets import Prober
from emulator.probe.types import Outcome, Probe
from emulator.sandbox import outer_pid
from emulator.spec import ClusterSpec
from reference import commands
from reference.commands import Decision
from reference.errors import InvalidInputError, MuslinError
from reference.events import Record
from reference.log import EventLog
from reference.naming import name_of, packet_between
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.types import NodeProgram, digest, same_parts
from reference.resources import AnyResource, Key
from reference.routes import block_owners
from reference.state import State
from topologies.fabric import Fabric

PRIVATE_LOG = Path("/run/muslin/log.db")  # in the sandbox's own tmpfs: gone with it
RETRY = 1.0  # seconds before a state that could not be enforced is tried again
PATIENCE = 60.0  # seconds a node may take to enforce a state before waiting for it fails


class RunningCluster:
    """Everything inside one sandbox. Make it inside the sandbox, in its first process."""

    def __init__(self, spec: ClusterSpec, log: EventLog, fabric: Fabric, state: State) -> None:
        """Take over a fabric that is up and a log whose end is `state`."""
        self.spec = spec
        self.log = log
        self.state = state
        self._fabric = fabric
        self._compiler = Compiler()
        self._programs: Map[str, NodeProgram] = Map()
        self._commands = threading.RLock()  # again and again by who makes the cluster stand still
        self._progress = threading.Condition()  # notified when a node acknowledges, or fails
        self._wanted = threading.Event()
        self._failure: MuslinError | None = None
        self.machines = {name: of_pid(fabric.pid(name), name) for name in state.hosts}
        self.agents = {
            host.name: NodeAgent(host, self.machines[host.name], state.dataplane_of(host.name))
            for host in state.hosts.values()
            if host.is_node
        }
        self.outside: dict[str, HostAgent] = {}  # hosts that have had host endpoints; the others have no agent
        self.drifts: dict[str, int] = {}  # how often each machine's kernel was found changed by others
        self.captures = Captures()
        self._drops = [agent.drops for agent in self.agents.values()]
        self._prober = Prober(self.namespace_of, self._drops)

    def close(self) -> None:
        """Let the command under way finish, and close the log. The rest goes with the sandbox."""
        self._commands.acquire()  # and never given back: nothing may be decided any more
        self.log.close()

    def start(self) -> None:
        """Begin to converge, in the background."""
        self._wanted.set()
        threading.Thread(target=self._converge_forever, name="converge", daemon=True).start()
        for agent in self.agents.values():
            agent.watch(self._drifted)

    # -- commands --------------------------------------------------------------------------------------------------

    def change(self, decide: Callable[[State], Decision]) -> Decision:
        """Decide on the current state, make the events durable, and have them enforced in the background.

        Raises:
            EnvironmentLacksError: it asks for a dataplane that a machine cannot have; nothing was changed.
        """
        with self._commands:
            decision = decide(self.state)
            if decision.drafts:
                self._prepare_dataplanes(decision.state)
                self.log.append(decision.drafts, time.time(), decision.state)
                self.state = decision.state
                self._wanted.set()
            return decision

    def _prepare_dataplanes(self, state: State) -> None:
        """Before a choice of dataplanes is durable, they are in force beside the old ones: all of them, or none."""
        changing = [agent for name, agent in self.everyone.items() if agent.dataplane != state.dataplane_of(name)]
        ready = [(agent, agent.prepare_dataplane(state.dataplane_of(agent.name))) for agent in changing]
        failed = [(agent, error) for agent, done in ready if (error := done.exception()) is not None]
        if not failed:
            return
        wait_for([agent.prepare_dataplane(agent.dataplane) for agent in changing])
        agent, error = failed[0]
        kind = type(error) if isinstance(error, MuslinError) else MuslinError
        raise kind(f"{agent.name} keeps the {agent.dataplane} dataplane: {error}") from error

    def use_dataplane(self, dataplane: str, machines: Sequence[str]) -> Decision:
        """Go over to another dataplane, on these machines or on all."""
        return self.change(lambda state: commands.choose_dataplane(state, dataplane, machines, now=time.time()))

    def apply(self, resources: Sequence[AnyResource]) -> Decision:
        """Apply resources, all or none."""
        return self.change(lambda state: commands.apply(state, resources, now=time.time()))

    def delete(self, keys: Sequence[Key]) -> Decision:
        """Delete resources, all or none."""
        return self.change(lambda state: commands.delete(state, keys, now=time.time()))

    def fail_node(self, node: str) -> Decision:
        """Cut a node off the fabric."""
        decision = self.change(lambda state: commands.fail_node(state, node, now=time.time()))
        self._fabric.fail(node)
        return decision

    def recover_node(self, node: str) -> Decision:
        """Put a failed node back."""
        decision = self.change(lambda state: commands.recover_node(state, node, now=time.time()))
        self._fabric.recover(node)
        return decision

    def encrypt(self) -> Decision:
        """Encrypt pod traffic between nodes: every node makes a key and publishes its public half (WG-1)."""
        keys = {name: agent.public_key for name, agent in self.agents.items()}
        return self.change(lambda state: commands.enable_encryption(state, "wireguard", keys, now=time.time()))

    def publish_keys(self) -> None:
        """Have every node publish the public half of the key it has now; also after a replay, whose keys are gone."""
        for name, agent in self.agents.items():
            self.change(partial(commands.publish_key, node=name, public_key=agent.public_key, now=time.time()))

    # -- convergence -----------------------------------------------------------------------------------------------

    def _converge_forever(self) -> None:
        while True:
            self._wanted.wait(None if self._failure is None else RETRY)
            self._wanted.clear()
            try:
                self._converge(self.state)
            except MuslinError as error:
                self._report(error)
            except Exception as error:  # noqa: BLE001 - whatever broke, waiting callers must hear of it
                self._report(MuslinError(f"enforcing event {self.state.seq} failed: {type(error).__name__}: {error}"))

    def _converge(self, state: State) -> None:
        """Make every node enforce `state`; nodes work side by side."""
        programs = self._compiler.compile(state)
        self._fabric.set_block_routes(dict(block_owners(state)))
        if state.encryption:  # every node must know its peers before the first one sends to them
            for ready in [agent.prepare(state) for agent in self.agents.values()]:
                ready.result()
        self._call_up(state, programs)
        pending = [(agent, agent.converge(state, programs[name])) for name, agent in self.everyone.items()]
        for agent, done in pending:
            done.result()
            with self._progress:
                agent.enforced = state.seq
                self._failure = None
                self._progress.notify_all()
        self._observe(programs)

    def _call_up(self, state: State, programs: Map[str, NodeProgram]) -> None:
        """A host outside the cluster gets an agent with its first host endpoint, and keeps it."""
        for name, program in programs.items():
            if program.host_endpoints and name not in self.agents and name not in self.outside:
                agent = HostAgent(state.hosts[name], self.machines[name], state.dataplane_of(name))
                agent.watch(self._drifted)
                self._drops.append(agent.drops)
                self.outside = {**self.outside, name: agent}

    @property
    def everyone(self) -> dict[str, HostAgent]:
        """The agents of all machines that enforce anything: nodes first."""
        return {**self.agents, **self.outside}

    def _observe(self, programs: Map[str, NodeProgram]) -> None:
        """Note in the log which programs are enforced now, where they are not what they were."""
        enforced = {name: programs[name] for name in self.everyone}
        for name, program in enforced.items():
            before = self._programs.get(name)
            if before is None or not same_parts(before, program):
                self.log.observe(name, program.seq, digest(program), time.time())
        self._programs = Map(enforced)

    def _drifted(self, name: str, what: str) -> None:
        """Note what somebody did to a machine's kernel; its agent has undone it."""
        self.drifts = {**self.drifts, name: self.drifts.get(name, 0) + 1}
        self.log.notice(name, self.state.seq, "drift", what, time.time())
        with self._commands:
            self.log.flush()

    def _report(self, error: MuslinError) -> None:
        with self._progress:
            self._failure = error
            self._progress.notify_all()

    @property
    def enforced(self) -> int:
        """The sequence number every node has acknowledged."""
        return min((agent.enforced for agent in self.everyone.values()), default=self.state.seq)

    def wait(self, seq: int) -> int:
        """Return once every node enforces event `seq`.

        Raises:
            MuslinError: a node cannot enforce it; says why.
        """
        if seq > self.state.seq:
            raise InvalidInputError(f"event {seq} does not exist; the log ends at {self.state.seq}")
        deadline = time.monotonic() + PATIENCE
        with self._progress:
            while self.enforced < seq:
                if self._failure is not None:
                    raise self._failure
                if not self._progress.wait(deadline - time.monotonic()):
                    late = [name for name, agent in self.everyone.items() if agent.enforced < seq]
                    raise MuslinError(f"{', '.join(late)} did not enforce event {seq} within {PATIENCE:.0f} s")
            return self.enforced

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """No command and no other question runs meanwhile, and all that was decided is enforced.

        Raises:
            MuslinError: a node cannot enforce it.
        """
        with self._commands:
            self.wait(self.state.seq)
            yield

    # -- questions -------------------------------------------------------------------------------------------------

    def namespace_of(self, name: str) -> NetworkNamespace:
        """The network namespace of a pod ("namespace/pod"), a node or a host, by name or by address.

        Raises:
            InvalidInputError: nothing running has that name or address.
        """
        state = self.state
        owner = name_of(state, name)  # an address becomes a name; a name stays what it is
        first, _, rest = owner.rpartition("/")
        if first in ("", "node", "host") and rest in state.hosts:
            return self.machines[rest]
        endpoint = state.endpoints.get((first or "default", rest))
        if endpoint is None:
            raise InvalidInputError(f"no running pod, node or host is called {name!r}")
        return self.agents[endpoint.node].pod_namespace(endpoint)

    def packet_of(self, probe: Probe) -> Packet:
        """The packet a probe asks about, in the present state."""
        return packet_between(
            self.state, probe.source, probe.destination, probe.protocol, probe.port, family=probe.family
        )

    def probe_many(self, probes: Sequence[Probe], seq: int) -> list[Outcome]:
        """Probe once `seq` is enforced; no other batch and no command runs meanwhile, so the state stands still.

        Raises:
            InvalidInputError: a probe names what does not exist.
            MuslinError: a node cannot enforce `seq`.
        """
        with self.standing_still():
            self.wait(seq)
            packets = [self.packet_of(probe) for probe in probes]
            return self._prober.probe_many(probes, packets, self.enforced, alias=self._translated_source)

    def _translated_source(self, packet: Packet) -> str:
        """The address that a pod's packet may leave its node with (NAT-1); "" for what no pod sends."""
        holders = self.state.addresses.get(packet.source)
        host = self.state.hosts.get(self.state.endpoints[holders[0]].node) if holders else None
        found = () if host is None else host.addresses
        return next((address for address in found if (":" in address) == (packet.family == 6)), "")

    def records(self, after: int) -> list[Record]:
        """The records after a sequence number."""
        with self._commands:
            return list(self.log.records(after=after))

    def log_copy(self) -> bytes:
        """The log's file, whole, as it is between two commands."""
        with self._commands:
            self.log.flush()
            return self.log.path.read_bytes()

    @property
    def programs(self) -> Map[str, NodeProgram]:
        """What every node was last told to enforce."""
        return self._programs

    @property
    def log_path(self) -> str:
        """The log, by a path that works outside the sandbox."""
        return self.spec.log or f"/proc/{outer_pid()}/root{PRIVATE_LOG}"
