"""The TCP connections of this machine's own processes: the kernel's tracking missed those that are older than it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from emulator.dataplane.ebpf.conntrack import Connection, Ends
from emulator.dataplane.ebpf.layout import unpacked
from emulator.nfnetlink import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, unpack

_NETLINK_SOCK_DIAG, _BY_FAMILY, _TCP = 4, 20, 6
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48x")
_ENDS = struct.Struct("!HH16s16s")
_BEFORE_ENDS = 4  # family, state, and two bytes about timers
_OPEN = sum(1 << state for state in (1, 4, 5, 8, 9, 11))  # established, or on its way to be closed
_COUNTS = (Path("/proc/thread-self/net/sockstat"), Path("/proc/thread-self/net/sockstat6"))
_MAPPED = bytes(10) + b"\xff\xff"  # of an IPv6 socket that speaks IPv4


def open_sockets() -> list[Connection]:
    """Every open TCP connection of the calling thread's network namespace; none where the kernel cannot list them."""
    if not _any():
        return []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
            return [one for family in (socket.AF_INET, socket.AF_INET6) for one in _listed(kernel, family)]
    except OSError:
        return []


def _any() -> bool:
    """Report whether there may be connections: to list them, the kernel goes through the sockets of all namespaces."""
    try:
        lines = [line.split() for path in _COUNTS for line in path.read_text().splitlines()]
    except OSError:  # it does not tell
        return True
    return any(line[0] in ("TCP:", "TCP6:") and int(line[2]) for line in lines)


def _listed(kernel: socket.socket, family: int) -> Iterator[Connection]:
    request = _REQUEST.pack(family, _TCP, 0, _OPEN)
    header = _HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, family, 0)
    kernel.send(header + request)
    while True:
        for kind, _, _, body in unpack(kernel.recv(1 << 17)):
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                return
            first, second, here, there = _ENDS.unpack_from(body, _BEFORE_ENDS)
            ends = Ends(_text(here, family), _text(there, family), first, second)
            yield Connection(_TCP, ends, ends.turned, True)


def _text(address: bytes, family: int) -> str:
    if family == socket.AF_INET6 and address.startswith(_MAPPED):
        return unpacked(address[len(_MAPPED) :], 4)
    return unpacked(address, 4 if family == socket.AF_INET else 6)
