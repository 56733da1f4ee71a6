"""The kernel's own table of connections, as far as the programs' is concerned."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from emulator.dataplane.ebpf.layout import unpacked
from emulator.nfnetlink import AF_INET, AF_INET6, Message, NetfilterSocket, NetlinkError, attributes
from reference.packet import PORTED

_LIST = 1 << 8 | 1  # the subsystem of connection tracking, and its message to ask for connections
_ORIGINAL, _REPLY, _STATUS, _PROTOCOL_INFO = 1, 2, 3, 4
_ADDRESSES, _PROTOCOL = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ICMP_NUMBERS = {1: (4, 5), 58: (7, 8)}  # identifier and type, by protocol
_TCP, _TCP_STATE = 1, 1
_CLOSED = frozenset({7, 8})  # TCP states: it waits for its port to be free again, or was reset
_SEEN_REPLY = 1 << 1
_STATE = struct.Struct("!I")
_PORT = struct.Struct("!H")


class Ends(NamedTuple):
    """One direction of a connection: of an ICMP exchange, both ports are its identifier."""

    source: str
    destination: str
    source_port: int
    destination_port: int

    @property
    def turned(self) -> Ends:
        """The other direction, were nothing translated."""
        return Ends(self.destination, self.source, self.destination_port, self.source_port)


class Connection(NamedTuple):
    """A connection as it was opened, and as its answers come; they differ where addresses are translated."""

    protocol: int
    original: Ends
    reply: Ends
    is_answered: bool
    icmp_type: int = 0  # of the request


def connections(kernel: NetfilterSocket) -> list[Connection]:
    """Every connection that is open; none where the kernel cannot list them."""
    try:
        return [found for family in (AF_INET, AF_INET6) for found in _listed(kernel, family)]
    except NetlinkError:
        return []


def _listed(kernel: NetfilterSocket, family: int) -> Iterator[Connection]:
    for body in kernel.dump(Message(_LIST, b"", family=family)):
        found = attributes(body)
        original, protocol, icmp_type = _ends(found[_ORIGINAL], family)
        reply, _, _ = _ends(found[_REPLY], family)
        info = attributes(attributes(found.get(_PROTOCOL_INFO, b"")).get(_TCP, b""))
        if protocol == 6 and info.get(_TCP_STATE, b"\0")[0] in _CLOSED:
            continue
        answered = bool(_STATE.unpack(found[_STATUS])[0] & _SEEN_REPLY)
        yield Connection(protocol, original, reply, answered, icmp_type)


def _ends(data: bytes, family: int) -> tuple[Ends, int, int]:
    """(the ends, protocol, ICMP type) of a tuple."""
    found = attributes(data)
    addresses, about = attributes(found[_ADDRESSES]), attributes(found[_PROTOCOL])
    source, destination = (1, 2) if family == AF_INET else (3, 4)
    number = 4 if family == AF_INET else 6
    protocol, ports, icmp_type = about[_NUMBER][0], (0, 0), 0
    if protocol in PORTED:
        ports = _PORT.unpack(about[_SOURCE_PORT])[0], _PORT.unpack(about[_DESTINATION_PORT])[0]
    elif protocol in _ICMP_NUMBERS:
        identifier, kind = _ICMP_NUMBERS[protocol]
        ports, icmp_type = (_PORT.unpack(about[identifier])[0],) * 2, about[kind][0]
    ends = Ends(unpacked(addresses[source], number), unpacked(addresses[destination], number), *ports)
    return ends, protocol, icmp_type
