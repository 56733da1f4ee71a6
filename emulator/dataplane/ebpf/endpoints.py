"""Interfaces in the kernel's maps: which walks their packets take, and which addresses they may come from."""

from __future__ import annotations

from collections.abc import Mapping

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.generations import Attached, Generation
from emulator.dataplane.ebpf.hosts import guarded, lists
from emulator.dataplane.ebpf.kept import KeptTable
from reference.program.types import NodeProgram


class Endpoints:
    """Workload interfaces and the machine's own, of both generations. `at` is the number of the idle one."""

    def __init__(self, endpoints: KeptTable, sources: KeptTable, hosts: KeptTable) -> None:
        self._endpoints = endpoints
        self._sources = sources
        self._hosts = hosts

    def bring(
        self, idle: Generation, other: Generation, program: NodeProgram, interfaces: Mapping[str, int], at: int
    ) -> None:
        """Make the workload interfaces of the idle generation be a program's; its walks are there."""
        wanted = {
            name: Attached(
                interfaces[name],
                (idle.walks[endpoint.ingress].start, idle.walks[endpoint.egress].start),
                endpoint.addresses,
            )
            for name, endpoint in program.endpoints.items()
            if name in interfaces
        }
        if wanted == idle.endpoints:
            return
        starts: dict[bytes, bytes] = {}
        for name, attached in wanted.items():
            if idle.endpoints.get(name) != attached:
                for direction, start in zip(layout.DIRECTIONS, attached.starts, strict=True):
                    starts[layout.endpoint_key(attached.interface, direction, at)] = layout.NUMBER.pack(start)
        kept = {attached.interface for attached in wanted.values()}
        gone = {attached.interface for attached in idle.endpoints.values()} - kept
        self._endpoints.put_all(starts)
        self._endpoints.remove_all(
            [layout.endpoint_key(index, direction, at) for index in gone for direction in layout.DIRECTIONS]
        )
        self._bring_sources(
            idle, other, frozenset((a.interface, text) for a in wanted.values() for text in a.addresses), at
        )
        idle.endpoints = wanted

    def _bring_sources(self, idle: Generation, other: Generation, wanted: frozenset[tuple[int, str]], at: int) -> None:
        mine, theirs = 1 << at, 1 << (1 - at)
        puts = {each: mine | (theirs if each in other.sources else 0) for each in wanted - idle.sources}
        gone = idle.sources - wanted
        puts |= {each: theirs for each in gone if each in other.sources}
        self._sources.put_all({layout.source_key(*each): layout.NUMBER.pack(bits) for each, bits in puts.items()})
        self._sources.remove_all([layout.source_key(*each) for each in gone if each not in other.sources])
        idle.sources = wanted

    def bring_hosts(
        self, idle: Generation, program: NodeProgram, interfaces: Mapping[str, int], tunnels: frozenset[int], at: int
    ) -> None:
        """The lists of host endpoints, for every interface they guard."""
        wanted = {
            layout.endpoint_key(index, direction, at): layout.LISTS.pack(
                *(idle.walks[id_].start + 1 if id_ else 0 for id_ in found.walks),
                *(idle.safes[id_].start + 1 if id_ else 0 for id_ in found.safes),
                index in tunnels,
            )
            for name, index in guarded(program, interfaces).items()
            for direction in layout.DIRECTIONS
            if (found := lists(program, name, direction))
        }
        if wanted != idle.hosts:
            self._hosts.put_all({key: value for key, value in wanted.items() if idle.hosts.get(key) != value})
            self._hosts.remove_all([key for key in idle.hosts if key not in wanted])
            idle.hosts = wanted
