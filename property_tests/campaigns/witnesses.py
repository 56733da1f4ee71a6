"""Who is held against the oracle: the second reading, the eBPF programs in a test run, a dataplane's live cluster.

A witness is asked about one packet between some resources, again and again while a mismatch is made small. What is
invalid, cannot be asked, or gives no evidence differs in nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from emulator.dataplane.ebpf.bench import ALLOWED, in_words_of_the_kernel
from property_tests.campaigns.live import can_be_sent
from property_tests.campaigns.results import PROGRAM, TEST_RUN
from property_tests.worlds import World, built, fabric_world, new_world
from reference import policy
from reference.errors import InvalidInputError
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.interpret import Decision, decide
from reference.program.types import NodeProgram
from reference.resources import AnyResource
from reference.state import State

Kernel = Callable[[Sequence[AnyResource], Sequence[Packet]], Sequence[bool | None]]  # None: no evidence either way


class Crafted(Protocol):
    """Runs programs on crafted packets: `emulator.dataplane.ebpf.trial.Trial`."""

    def bring(self, state: State, programs: Mapping[str, NodeProgram]) -> None:
        """Let these programs decide."""
        ...

    def fates(self, packets: Sequence[Packet]) -> Sequence[str | None]:
        """What becomes of each packet, in the words of the kernel's report; None where the programs are not asked."""
        ...


class Witness(Protocol):
    """One reader of the same resources."""

    @property
    def name(self) -> str:
        """Whose reading it is."""
        ...

    @property
    def dataplane(self) -> str:
        """The one that shows a mismatch again in a live cluster; empty for any."""
        ...

    def world(self) -> World:
        """The cluster before the resources are applied."""
        ...

    def objects(self, resources: Sequence[AnyResource], packet: Packet) -> str:
        """How it differs from the oracle on the packet: "allows it"; empty if it agrees or has no evidence."""
        ...


class SecondReading:
    """The compiled programs, executed in pure Python."""

    name, dataplane = PROGRAM, ""

    def world(self) -> World:
        """No fabric."""
        return new_world()

    def objects(self, resources: Sequence[AnyResource], packet: Packet) -> str:
        """Compile, and read."""
        try:
            state = built(resources)
        except InvalidInputError:
            return ""
        return objection(policy.allowed(state, packet), decide(Compiler().compile(state), state, packet).allowed)


class CraftedReading:
    """The eBPF programs on crafted packets, held against the second reading too: the same reason for each denial."""

    name, dataplane = TEST_RUN, "ebpf"

    def __init__(self, runs: Crafted) -> None:
        self._runs = runs

    def world(self) -> World:
        """No fabric."""
        return new_world()

    def objects(self, resources: Sequence[AnyResource], packet: Packet) -> str:
        """Compile, fill the maps, run."""
        try:
            state = built(resources)
        except InvalidInputError:
            return ""
        programs = Compiler().compile(state)
        self._runs.bring(state, programs)
        (fate,) = self._runs.fates([packet])
        return reasoned_objection(decide(programs, state, packet), fate)


class LiveReading:
    """A dataplane's live cluster, sent the packet for real."""

    def __init__(self, dataplane: str, kernel: Kernel) -> None:
        self.name = self.dataplane = dataplane
        self._kernel = kernel

    def world(self) -> World:
        """The fabric that the cluster stands on."""
        return fabric_world()

    def objects(self, resources: Sequence[AnyResource], packet: Packet) -> str:
        """Bring up the resources, send the packet."""
        try:
            state = fabric_world().apply(*resources).state
        except InvalidInputError:
            return ""
        if not can_be_sent(packet) or not _held(state, packet):
            return ""
        (answer,) = self._kernel(resources, [packet])
        return objection(policy.allowed(state, packet), answer)


def objection(oracle: bool, other: bool | None) -> str:
    """How another answer differs from the oracle's."""
    if other is None or other is oracle:
        return ""
    return "allows it" if other else "denies it"


def reasoned_objection(decision: Decision, fate: str | None) -> str:
    """How a fate in the kernel differs from the second reading's decision, which is the oracle's."""
    wanted = in_words_of_the_kernel(decision)
    if fate is None or fate == wanted:
        return ""
    if fate == ALLOWED:
        return "allows it"
    return f"denies it: {fate}" if decision.allowed else f"drops it for another reason: {fate}, not {wanted}"


def _held(state: State, packet: Packet) -> bool:
    hosts = {address for host in state.hosts.values() for address in host.addresses}
    return all(address in state.addresses or address in hosts for address in (packet.source, packet.destination))
