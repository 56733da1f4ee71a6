"""Interfaces in the kernel's maps: which walks their packets take, and which addresses they may come from."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.generations import Attached, Generation
from emulator.dataplane.ebpf.hosts import guarded, lists
from emulator.dataplane.ebpf.kept import KeptTable
from reference.program.nets import Cover, net, widest
from reference.program.types import NodeProgram


class Endpoints:
    """Workload interfaces and the machine's own, of both generations. `at` is the number of the idle one."""

    def __init__(self, endpoints: KeptTable, sources: KeptTable, pods: KeptTable, hosts: KeptTable) -> None:
        self._endpoints = endpoints
        self._sources = sources
        self._pods = pods
        self._hosts = hosts

    def bring(
        self, idle: Generation, other: Generation, program: NodeProgram, interfaces: Mapping[str, int], at: int
    ) -> None:
        """Make the workload interfaces of the idle generation be a program's; its walks are there."""
        wanted = {
            name: Attached(
                interfaces[name],
                (idle.walks[endpoint.ingress][0], idle.walks[endpoint.egress][0]),
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

    def bring_pods(
        self, idle: Generation, other: Generation, program: NodeProgram, peers: frozenset[int], at: int
    ) -> None:
        """The addresses whose packets are handed over; `peers` are the interfaces they are handed over to."""
        made_of = idle.endpoints, program.pools, program.nat_sources, peers
        if len(idle.pods_from) == len(made_of) and all(map(operator.is_, idle.pods_from, made_of)):
            return
        idle.pods_from = made_of
        wanted = _handed_over(idle.endpoints.values(), program, peers)
        changed = [
            address for address in {**idle.pods, **wanted} if wanted.get(address, 0) != idle.pods.get(address, 0)
        ]
        places = [(wanted.get(address, 0), other.pods.get(address, 0)) for address in changed]
        puts = {
            layout.local_key(address): (each if at == 0 else each[::-1])
            for address, each in zip(changed, places, strict=True)
        }
        self._pods.put_all({key: layout.pod(each) for key, each in puts.items() if any(each)})
        self._pods.remove_all([key for key, each in puts.items() if not any(each)])
        idle.pods = wanted

    def bring_hosts(
        self, idle: Generation, program: NodeProgram, interfaces: Mapping[str, int], tunnels: frozenset[int], at: int
    ) -> None:
        """The lists of host endpoints, for every interface they guard."""
        wanted = {
            layout.endpoint_key(index, direction, at): layout.LISTS.pack(
                *(idle.walks[id_][0] + 1 if id_ else 0 for id_ in found.walks),
                *(idle.safes[id_][0] + 1 if id_ else 0 for id_ in found.safes),
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


def _handed_over(pods: Iterable[Attached], program: NodeProgram, peers: frozenset[int]) -> dict[str, int]:
    """To which interface, by address. What two pods have is nobody's."""
    if not peers:
        return {}
    pools = {family: Cover(family, map(net, widest(program.pools, family))) for family in layout.FAMILIES}
    found: dict[str, int] = {}
    for pod in pods:
        for text in pod.addresses:
            address = net(text)
            in_pool = not program.nat_sources or pools[address.family].holds(address.number)
            place = pod.interface | layout.UNTRANSLATED * in_pool
            found[text] = place if pod.interface in peers and text not in found else 0
    return found
