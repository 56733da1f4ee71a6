"""The kernel's own table of connections, as far as the programs' is concerned."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from emulator.dataplane.ebpf.layout import packed, unpacked
from emulator.nfnetlink import (
    AF_INET,
    AF_INET6,
    NLM_F_CREATE,
    Message,
    NetfilterSocket,
    NetlinkError,
    attribute,
    attributes,
    nested,
    u32,
)
from reference.packet import PORTED

_WRITE, _LIST, _STATISTICS = 1 << 8, 1 << 8 | 1, 1 << 8 | 5  # the subsystem of connection tracking, and its messages
_ENTRIES = 1  # among the statistics
_BOTH = 0  # address families
_ORIGINAL, _REPLY, _STATUS, _PROTOCOL_INFO, _TIMEOUT = 1, 2, 3, 4, 7
_ADDRESSES, _PROTOCOL = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ICMP_NUMBERS = {1: (4, 5), 58: (7, 8)}  # identifier and type, by protocol
_TCP, _TCP_STATE, _TCP_FLAGS, _TCP_FLAGS_BACK = 1, 1, 4, 5
_TCP_ESTABLISHED, _ANY_WINDOW = 3, b"\x08\x08"  # a flag and its mask: sequence numbers are not looked at
_CLOSED = frozenset({7, 8})  # TCP states: it waits for its port to be free again, or was reset
_SEEN_REPLY, _ASSURED, _CONFIRMED = 1 << 1, 1 << 2, 1 << 3
_LIVES = {6: 5 * 86400}  # seconds without a packet, as the kernel has it
_LIFE = 120
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
        return list(_listed(kernel)) if _any(kernel) else []
    except NetlinkError:
        return []


def _any(kernel: NetfilterSocket) -> bool:
    """Report whether there may be connections: to list them, the kernel goes through the table of all namespaces."""
    try:
        found = attributes(kernel.ask(Message(_STATISTICS, b"", family=AF_INET)))
    except NetlinkError:  # it does not tell
        return True
    return found.get(_ENTRIES) != bytes(4)


def _listed(kernel: NetfilterSocket) -> Iterator[Connection]:
    for body in kernel.dump(Message(_LIST, b"", family=_BOTH)):
        found = attributes(body)
        original, protocol, icmp_type = _ends(found[_ORIGINAL])
        reply, _, _ = _ends(found[_REPLY])
        info = attributes(attributes(found.get(_PROTOCOL_INFO, b"")).get(_TCP, b""))
        if protocol == 6 and info.get(_TCP_STATE, b"\0")[0] in _CLOSED:
            continue
        answered = bool(_STATE.unpack(found[_STATUS])[0] & _SEEN_REPLY)
        yield Connection(protocol, original, reply, answered, icmp_type)


def _ends(data: bytes) -> tuple[Ends, int, int]:
    """(the ends, protocol, ICMP type) of a tuple."""
    found = attributes(data)
    addresses, about = attributes(found[_ADDRESSES]), attributes(found[_PROTOCOL])
    source, destination, number = (1, 2, 4) if 1 in addresses else (3, 4, 6)
    protocol, ports, icmp_type = about[_NUMBER][0], (0, 0), 0
    if protocol in PORTED:
        ports = _PORT.unpack(about[_SOURCE_PORT])[0], _PORT.unpack(about[_DESTINATION_PORT])[0]
    elif protocol in _ICMP_NUMBERS:
        identifier, kind = _ICMP_NUMBERS[protocol]
        ports, icmp_type = (_PORT.unpack(about[identifier])[0],) * 2, about[kind][0]
    ends = Ends(unpacked(addresses[source], number), unpacked(addresses[destination], number), *ports)
    return ends, protocol, icmp_type


def write(kernel: NetfilterSocket, one: Connection) -> None:
    """Let the kernel know an answered connection with ports.

    Raises:
        NetlinkError: it will not.
    """
    family = AF_INET6 if ":" in one.original.source else AF_INET
    body = _tuple(_ORIGINAL, one.original, one.protocol, family) + _tuple(_REPLY, one.reply, one.protocol, family)
    body += u32(_STATUS, _SEEN_REPLY | _ASSURED | _CONFIRMED) + u32(_TIMEOUT, _LIVES.get(one.protocol, _LIFE))
    if one.protocol == 6:
        state = attribute(_TCP_STATE, bytes([_TCP_ESTABLISHED]))
        flags = attribute(_TCP_FLAGS, _ANY_WINDOW) + attribute(_TCP_FLAGS_BACK, _ANY_WINDOW)
        body += nested(_PROTOCOL_INFO, nested(_TCP, state, flags))
    kernel.request(Message(_WRITE, body, flags=NLM_F_CREATE, family=family))


def _tuple(kind: int, ends: Ends, protocol: int, family: int) -> bytes:
    source, destination = (1, 2) if family == AF_INET else (3, 4)
    size = 4 if family == AF_INET else 16
    addresses = attribute(source, packed(ends.source)[:size]) + attribute(destination, packed(ends.destination)[:size])
    ports = attribute(_SOURCE_PORT, _PORT.pack(ends.source_port))
    ports += attribute(_DESTINATION_PORT, _PORT.pack(ends.destination_port))
    about = attribute(_NUMBER, bytes([protocol])) + ports
    return nested(kind, nested(_ADDRESSES, addresses), nested(_PROTOCOL, about))
