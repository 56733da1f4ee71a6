"""A whole cluster's eBPF programs on crafted packets, with no network: tens of thousands of packets a second.

The kernel runs the very programs that live clusters load (BPF_PROG_TEST_RUN), machine by machine; what the network
would do between two hooks, where a packet goes and who translates it, is done here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import NamedTuple, Self

from msgspec.structs import replace

from emulator.dataplane.ebpf.bench import ALLOWED, Bench, Hook, make_devices
from emulator.dataplane.ebpf.frames import frame, ip_packet
from emulator.namespaces import Worker, create
from reference.endpoints import WorkloadEndpoint
from reference.packet import Packet
from reference.program.types import NodeProgram
from reference.state import State

DEVICES = 64
_LOOPBACK = ("127.0.0.1", "::1")
_STRANGER = {4: "192.0.2.77", 6: "2001:db8::77"}  # any translated source
_ICMP = (1, 58)
_OPENING = {(1, 8), (1, 13), (1, 15), (1, 17), (58, 128), (58, 139)}  # ICMP types that may begin a flow


class Place(NamedTuple):
    """Where an address is: a machine's own has no pod, a stranger's no machine either."""

    machine: str
    pod: WorkloadEndpoint | None


class Cluster:
    """A bench per machine, kept from program to program: each is an update of an unrelated one.

    Made and used in one thread, which lives in a network namespace of its own.
    """

    def __init__(self) -> None:
        """Make the interfaces that all machines share."""
        self._devices = make_devices(DEVICES)
        self._benches: dict[str, Bench] = {}
        self._programs: Mapping[str, NodeProgram] = {}
        self._state = State()
        self._used: set[Bench] = set()
        self._places: dict[str, Place] = {}

    def bring(self, state: State, programs: Mapping[str, NodeProgram]) -> None:
        """Let these programs decide, on every machine.

        Raises:
            EnvironmentLacksError: a program cannot be expressed, or may not be loaded.
        """
        self._state, self._programs, self._places = state, programs, {}
        for name, program in programs.items():
            if name not in self._benches:
                self._benches[name] = Bench(self._devices)
            self._benches[name].apply(program, (*state.hosts[name].addresses, *_LOOPBACK))

    def fates(self, packets: Sequence[Packet]) -> list[str | None]:
        """What becomes of each packet as the first of a flow; None where the programs are not asked."""
        return [self.fate(packet) for packet in packets]

    def fate(self, packet: Packet) -> str | None:
        """The same for one packet: "allowed", or who said no, in the words of the kernel's report."""
        source, destination = self._place(packet.source), self._place(packet.destination)
        if source.pod is not None and source == destination:
            return None  # to itself
        said = self._cross(packet, source, destination)
        for bench in self._used:
            bench.forget_flows(fragments=False)
        self._used.clear()
        if packet.protocol not in _ICMP or (packet.protocol, packet.icmp_type) in _OPENING:
            return said
        tracked = source.pod or (destination.pod and source.machine != destination.machine)
        return "allowed, though it begins no flow" if tracked and said == ALLOWED else None

    def _cross(self, packet: Packet, source: Place, destination: Place) -> str:
        stays = source.machine == destination.machine and bool(source.pod or destination.pod)
        if source.machine in self._programs:
            said = self._leave(packet, source, destination, stays)
            if said != ALLOWED:
                return said
        if source.pod and not stays:
            packet = self._translated(packet, source.machine)
        if destination.machine in self._programs and not stays:
            return self._arrive(packet, source, destination)
        return ALLOWED

    def _leave(self, packet: Packet, source: Place, destination: Place, stays: bool) -> str:
        """At the source's machine: its pod's interface, then the one it leaves by."""
        bench, pod, target = self._benches[source.machine], source.pod, destination.pod
        data, mark, came_by = frame(ip_packet(packet)), 0, 0
        if pod is not None:
            said = self._run(bench, "egress", pod.interface, data, 0, 0)
            mark, came_by = bench.mark, bench.interfaces[pod.interface]
            if said != ALLOWED or (stays and target is None):
                return said
            if not stays and self._translated(packet, source.machine) is not packet:
                # By then the address is another; the mark still knows which it was.
                data = frame(ip_packet(replace(packet, source=_STRANGER[packet.family])))
        if stays:
            assert target is not None
            return self._run(bench, "ingress", target.interface, data, came_by, mark)
        out = "lo" if source.machine == destination.machine else "eth0"
        return self._run(bench, "host egress", out, data, came_by, mark)

    def _arrive(self, packet: Packet, source: Place, destination: Place) -> str:
        """At the destination's machine: the interface it comes by, then its pod's."""
        bench, data = self._benches[destination.machine], frame(ip_packet(packet))
        way = "lo" if source.machine == destination.machine else "eth0"
        came_by = bench.interfaces[way]
        said = self._run(bench, "host ingress", way, data, came_by, 0)
        if said != ALLOWED or destination.pod is None:
            return said
        return self._run(bench, "ingress", destination.pod.interface, data, came_by, bench.mark)

    def _run(self, bench: Bench, hook: Hook, interface: str, data: bytes, came_by: int, mark: int) -> str:
        self._used.add(bench)
        return bench.run_frame(hook, bench.interfaces[interface], data, came_by, mark)

    def _translated(self, packet: Packet, machine: str) -> Packet:
        """NAT-1: the node's address for what goes to no pool."""
        program = self._programs.get(machine)
        mine = [text for text in self._state.hosts[machine].addresses if (":" in text) == (packet.family == 6)]
        if program is None or not mine or _in(program.pools, packet.destination):
            return packet
        return replace(packet, source=mine[0]) if _in(program.nat_sources, packet.source) else packet

    def _place(self, address: str) -> Place:
        known = self._places.get(address)
        if known is None:
            known = self._places[address] = self._looked_up(address)
        return known

    def _looked_up(self, address: str) -> Place:
        keys = self._state.addresses.get(address)
        if keys:
            pod = self._state.endpoints[keys[0]]
            return Place(pod.node, pod)
        hosts = sorted(self._state.hosts.items())
        return Place(next((name for name, host in hosts if address in host.addresses), ""), None)

    def close(self) -> None:
        """Let go of the programs."""
        for bench in self._benches.values():
            bench.close()


@lru_cache(maxsize=65536)
def _in(nets: frozenset[str], address: str) -> bool:
    return any(ip_address(address) in ip_network(net) for net in nets)


class Trial:
    """Such a cluster for a thread that lives elsewhere. Use it in a `with` block, by root."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._worker: Worker | None = None
        self._cluster: Cluster | None = None

    def __enter__(self) -> Self:
        """Make the namespace.

        Raises:
            EnvironmentLacksError: the machine or user lacks what eBPF needs.
        """
        with create() as namespace:
            self._worker = Worker(namespace, "ebpf-trial")
        try:
            self._cluster = self._worker.call(Cluster)
        except BaseException:
            self._worker.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._worker is not None
        assert self._cluster is not None
        self._worker.call(self._cluster.close)
        self._worker.close()

    def bring(self, state: State, programs: Mapping[str, NodeProgram]) -> None:
        """As `Cluster.bring`."""
        assert self._worker is not None
        assert self._cluster is not None
        self._worker.call(self._cluster.bring, state, programs)

    def fates(self, packets: Sequence[Packet]) -> list[str | None]:
        """As `Cluster.fates`."""
        assert self._worker is not None
        assert self._cluster is not None
        return self._worker.call(self._cluster.fates, packets)
