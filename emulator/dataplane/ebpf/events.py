"""What the programs tell through their ring buffers: drops with the rule that did them, and traces."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from emulator.dataplane.contract import Drop, RuleRef, TraceStep
from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.layout import Event
from emulator.dataplane.ebpf.libbpf import Ring, Table
from emulator.nflog import interface_name
from reference.errors import MuslinError
from reference.packet import Packet

_VERDICTS = {layout.CONTINUE: "continue", layout.ACCEPT: "accept", layout.DROP: "drop", layout.PASSED: "pass"}
Rules = Callable[[Event], RuleRef | None]
Texts = Callable[[Event], str]


class Interfaces:
    """Names of the interfaces of the network namespace it was made in, also of those that are gone."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._anywhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def learn(self, index: int, name: str) -> None:
        """Keep a name that is known."""
        self._names[index] = name

    def name(self, index: int) -> str:
        """The name of an index; empty if there never was one while we looked."""
        if index not in self._names:
            self._names[index] = interface_name(self._anywhere, index)
        return self._names[index]

    def close(self) -> None:
        """Ask no more."""
        self._anywhere.close()


class DropRing:
    """The drops of one node, as a `DropSource`."""

    def __init__(self, node: str, table: Table, rules: Rules, interfaces: Interfaces) -> None:
        self.node = node
        self._ring = Ring(table)
        self._rules = rules
        self._interfaces = interfaces

    def fileno(self) -> int:
        """Readable when a packet has been dropped."""
        return self._ring.fileno()

    def drain(self) -> list[Drop]:
        """Every drop told since the last call, oldest first."""
        found = []
        for event in map(layout.event, self._ring.drain()):
            rule = self._rules(event)
            if event.kind == layout.DROPPED and rule is not None:
                name = self._interfaces.name(event.interface)
                found.append(Drop(node=self.node, rule=rule, packet=event.packet, interface=name))
        return found

    def close(self) -> None:
        """Stop listening."""
        self._ring.close()


class Traces:
    """The traces under way on one node: who asked for which packets, and what each has seen."""

    def __init__(self, filters: Table, ring: Table, on_change: Callable[[bool], None]) -> None:
        self.filters = filters  # another map of the same kind when the maps are renewed
        self._ring = Ring(ring)
        self._on_change = on_change
        self._seen: dict[int, list[Event]] = {}  # by slot

    @property
    def are_on(self) -> bool:
        """Report whether any packet is traced."""
        return bool(self._seen)

    def begin(self, packet: Packet) -> int:
        """Trace packets like this one; returns the trace's slot.

        Raises:
            MuslinError: as many traces as there may be are under way.
        """
        slot = next((slot for slot in range(layout.TRACES) if slot not in self._seen), None)
        if slot is None:
            raise MuslinError(f"{layout.TRACES} traces are under way on this node; wait for one to end")
        self._ring.drain()
        self.filters.put(layout.NUMBER.pack(slot), layout.filter_for(packet))
        self._seen[slot] = []
        self._on_change(True)
        return slot

    def seen(self, slot: int) -> list[Event]:
        """What a trace has seen so far."""
        for event in map(layout.event, self._ring.drain()):
            for number, events in self._seen.items():
                if event.traces >> number & 1:
                    events.append(event)
        return self._seen.get(slot, [])

    def end(self, slot: int) -> None:
        """End a trace; ending twice is harmless."""
        if self._seen.pop(slot, None) is not None:
            self.filters.put(layout.NUMBER.pack(slot), layout.NO_FILTER)
            self._on_change(self.are_on)

    def close(self) -> None:
        """End all."""
        for slot in list(self._seen):
            self.end(slot)
        self._ring.close()


class PacketTrace:
    """A running trace."""

    def __init__(
        self, node: str, traces: Traces, packet: Packet, rules: Rules, texts: Texts, interfaces: Interfaces
    ) -> None:
        self.node = node
        self._traces = traces
        self._rules = rules
        self._texts = texts
        self._interfaces = interfaces
        self._slot = traces.begin(packet)

    def steps(self) -> list[TraceStep]:
        """Every rule met so far, in order."""
        return list(self._steps())

    def _steps(self) -> Iterator[TraceStep]:
        for event in self._traces.seen(self._slot):
            yield TraceStep(
                node=self.node,
                chain=f"{event.direction} of {self._interfaces.name(event.interface)}",
                rule=self._rules(event),
                text=self._texts(event),
                verdict=_VERDICTS[event.verdict],
            )

    def close(self) -> None:
        """End the trace."""
        self._traces.end(self._slot)
