"""The legacy variant's tables as the kernel hands them out: whether anybody changed one, and whether there are any.

Reading a table that is not there makes the kernel set one up, so only those are asked for that are known to be there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from emulator.dataplane.iptables.parts import TABLES
from emulator.dataplane.iptables.restorer import CommandError
from reference.endpoints import Family
from reference.errors import EnvironmentLacksError

_GET_INFO, _GET_ENTRIES = 64, 65
_INFO = struct.Struct("=32sI5I5III")  # name, hooks, entry points, underflows, number of entries, size
_REQUEST = struct.Struct("=32sI4x")
_COUNTERS = 16  # bytes: packets and bytes seen


class _Layout(NamedTuple):
    """Where an entry of a family tells where the next one begins, and where it counts."""

    protocol: socket.AddressFamily
    level: int
    names: str
    next_offset: int
    counters: int


_LAYOUTS: dict[Family, _Layout] = {
    4: _Layout(socket.AF_INET, socket.SOL_IP, "ip_tables_names", 90, 96),
    6: _Layout(socket.AF_INET6, socket.IPPROTO_IPV6, "ip6_tables_names", 142, 152),
}


class LegacyTables:
    """The tables of the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        """Open the sockets.

        Raises:
            EnvironmentLacksError: raw sockets are not permitted.
        """
        try:
            self._sockets = {
                family: socket.socket(layout.protocol, socket.SOCK_RAW, socket.IPPROTO_RAW)
                for family, layout in _LAYOUTS.items()
            }
        except OSError as error:
            raise EnvironmentLacksError(f"no socket to look at iptables-legacy: {error.strerror}") from error
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._buffers: dict[tuple[Family, str], bytearray] = {}
        self._seen: dict[tuple[Family, str], tuple[Callable[[memoryview], Sequence[memoryview]], int]] = {}

    def state(self) -> tuple[int, ...]:
        """Hashes of our four tables of both families, whatever they counted; equal as long as none is replaced."""
        return tuple(
            self._without_counts(family, table, self._entries(family, table)) for family in _LAYOUTS for table in TABLES
        )

    def rules(self) -> list[str]:
        """Which tables hold rules, as far as one may know: "iptables filter". Makes none."""
        tools: dict[Family, str] = {4: "iptables", 6: "ip6tables"}
        found = []
        for family, layout in _LAYOUTS.items():
            try:
                names = Path("/proc/thread-self/net", layout.names).read_text().split()
            except OSError:  # an ordinary user may not look
                continue
            for table in names:
                if self.holds_rules(family, table):
                    found.append(f"{tools[family]} {table}")
        return found

    def holds_rules(self, family: Family, table: str) -> bool:
        """Whether anybody has rules or chains in a table. One that is not there is set up by the kernel."""
        return self._info(family, table)[0] > _bare(table)

    def close(self) -> None:
        """Close the sockets."""
        for one in self._sockets.values():
            one.close()

    def _without_counts(self, family: Family, table: str, data: memoryview) -> int:
        """A hash of everything between counters; where they are is only looked for when something else changed."""
        picker, seen = self._seen.get((family, table), (None, 0))
        if picker is None or hash(b"".join(picker(data))) != seen:
            picker = itemgetter(*_pieces(family, data))
            seen = hash(b"".join(picker(data)))
            self._seen[family, table] = picker, seen
        return seen

    def _info(self, family: Family, table: str) -> tuple[int, int]:
        """The number of entries, and their size."""
        data = bytearray(_INFO.pack(table.encode(), *[0] * 13))
        self._ask(family, _GET_INFO, data)
        *_, number, size = _INFO.unpack(data)
        return number, size

    def _entries(self, family: Family, table: str) -> memoryview:
        size = self._info(family, table)[1]
        length = _REQUEST.size + size
        data = self._buffers.get((family, table))
        if data is None or len(data) != length:
            data = self._buffers[family, table] = bytearray(length)
        _REQUEST.pack_into(data, 0, table.encode(), size)
        self._ask(family, _GET_ENTRIES, data)
        return memoryview(data)[_REQUEST.size :]

    def _ask(self, family: Family, option: int, data: bytearray) -> None:
        """The getsockopt of the system, which reads what it is to write over: Python's own gives the kernel nothing."""
        place = (ctypes.c_char * len(data)).from_buffer(data)
        length = ctypes.c_uint(len(data))
        descriptor, level = self._sockets[family].fileno(), _LAYOUTS[family].level
        if self._libc.getsockopt(descriptor, level, option, place, ctypes.byref(length)):
            code = ctypes.get_errno()
            raise CommandError(f"the kernel does not show the tables of iptables-legacy: {os.strerror(code)}")


def _pieces(family: Family, data: memoryview) -> Iterator[slice]:
    """What lies before, between and after the counters of all entries."""
    layout, start, kept = _LAYOUTS[family], 0, 0
    while start < len(data):
        yield slice(kept, start + layout.counters)
        kept = start + layout.counters + _COUNTERS
        start += struct.unpack_from("=H", data, start + layout.next_offset)[0] or len(data)
    yield slice(kept, None)


def _bare(table: str) -> int:
    """How many entries a table has without any rule: one for each of its hooks, and the end."""
    return {"filter": 3, "nat": 4, "mangle": 5, "raw": 2, "security": 3}.get(table, 5) + 1
