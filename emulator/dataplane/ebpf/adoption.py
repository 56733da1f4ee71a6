"""What was there before, and what is left to those who come: connections (CT-3).

An agent's filters outlive it and go on deciding. Its successor takes over connections and fragments where their maps
have the layout it knows; policy is written anew into maps of its own, which begin in the generation that the packets
under way are marked with. Where no programs were at all, connections are learned from the kernel's own tracking and
from this machine's sockets; and when they go, that tracking learns what it cannot know.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from emulator.dataplane.ebpf.attach import Attachments
from emulator.dataplane.ebpf.conntrack import Connection, Ends, connections, write
from emulator.dataplane.ebpf.layout import NUMBER, flow, flow_key, seen
from emulator.dataplane.ebpf.libbpf import Table, maps_of, read
from emulator.dataplane.ebpf.library import BpfError
from emulator.dataplane.ebpf.sockets import open_sockets
from emulator.nfnetlink import NetfilterSocket, NetlinkError
from reference.packet import PORTED

ADOPTED = ("flows", "fragments", "origins", "last_origin")  # the last two: of packets that are under way


class Estate(NamedTuple):
    """Maps by name, and the epoch that decides; empty where nobody died."""

    maps: Mapping[str, int]
    epoch: int

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in self.maps.values():
            os.close(fd)


NOTHING = Estate({}, 0)


def estate(attachments: Attachments) -> Estate:
    """What the programs on this network namespace's interfaces use."""
    for program in attachments.programs():
        try:
            maps = maps_of(program)
        except BpfError:  # it went meanwhile, or this user may load programs but not reach those of others
            continue
        try:
            (epoch,) = NUMBER.unpack(read(maps["settings"], bytes(4), NUMBER.size))
            return Estate({name: os.dup(maps[name]) for name in ADOPTED if name in maps}, epoch)
        except (BpfError, KeyError):
            continue
        finally:
            for fd in maps.values():
                os.close(fd)
    return NOTHING


class Witness:
    """Writes the connections of the kernel's own tracking, and of this machine's sockets, into the programs' map.

    Used before programs are attached, and again after it for those that came in between.
    """

    def __init__(self, pods: Mapping[str, int], hosts: Collection[int]) -> None:
        """Of which interfaces: those of pods, by address, and the machine's own."""
        self._pods = pods
        self._hosts = hosts
        self._seen: set[bytes] = set()

    def look(self) -> list[Connection]:
        """The connections there are, the answered ones last.

        Where there are more than the map holds, it lets go of those written first.
        """
        kernel = NetfilterSocket()
        try:
            return sorted([*open_sockets(), *connections(kernel)], key=lambda one: one.is_answered)
        finally:
            kernel.close()

    def tell(self, flows: Table, there: Iterable[Connection]) -> None:
        """Write connections that were not there the last time; a flow that the programs have seen stays theirs."""
        found = dict(entries(there, self._pods, self._hosts, time.monotonic_ns()))
        for key, value in found.items():
            if key not in self._seen:
                flows.put_new(key, value)
        self._seen |= found.keys()


def entries(
    found: Iterable[Connection], pods: Mapping[str, int], hosts: Collection[int], now: int
) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of flows: a connection is one at the interface of each pod and at the machine's own.

    A pod that opened it knows it untranslated; where it is answered, it came as it was translated.
    """
    for one in found:
        opened, arrived = one.original, one.reply.turned
        places: list[tuple[int, Ends]] = []
        if opened.source in pods:
            places.append((pods[opened.source], opened))
        if arrived.destination in pods:
            places.append((pods[arrived.destination], arrived))
        if len(places) < 2:  # between two pods of the machine nothing goes through its own interfaces
            places += [(host, ends) for host in hosts for ends in {opened, arrived}]
        for interface, ends in places:
            ports = ends.source_port, ends.destination_port
            place = flow_key(interface, one.protocol, ends.source, ends.destination, ports, one.icmp_type)
            yield place.key, flow(now, from_low=place.from_low, replied=one.is_answered)


def tell_kernel(flows: Table, pods: Collection[str], told: Collection[Connection] = ()) -> frozenset[Connection]:
    """Write the open connections between two of these addresses, which it has not seen; those told before are left."""
    found = frozenset(_between(flows, pods)).difference(told)
    kernel = NetfilterSocket()
    try:
        for one in found:
            with suppress(NetlinkError):  # the kernel's table is full, or cannot be written: it looks at what comes
                write(kernel, one)
    finally:
        kernel.close()
    return found


def _between(flows: Table, pods: Collection[str]) -> Iterator[Connection]:
    for key, value in flows.items():
        one = seen(key, value)
        if one.is_answered and not one.is_closing and one.protocol in PORTED:
            ends = Ends(one.source, one.destination, *one.ports)
            if one.source in pods and one.destination in pods:
                yield Connection(one.protocol, ends, ends.turned, True)
