"""What the kernel alone takes to change a table of x_tables: it is read, and replaced, as a whole.

There is no other way to change one: iptables-legacy does just these calls, and works out the new table in between.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

from reference.endpoints import Family
from reference.errors import MuslinError

_PROTOCOLS: dict[Family, tuple[int, int]] = {
    4: (socket.AF_INET, socket.IPPROTO_IP),
    6: (socket.AF_INET6, socket.IPPROTO_IPV6),
}
_GET_INFO, _GET_ENTRIES = 64, 65
_REPLACE, _ADD_COUNTERS = 64, 65
_INFO = struct.Struct("=32sI20s20sII")  # name, hooks, where they begin, and end, number of entries, their size
_WANTED = struct.Struct("=32sI4x")  # name, size; then the entries
_NEW = struct.Struct("=32sIII20s20sIQ")  # name, hooks, number, size, begins, ends, number and place of old counters
_COUNTERS = struct.Struct("=32sI4x")  # name, number; then the counters
_COUNTER = 16  # bytes
_TRIES = 100


def replaced(table: str = "filter") -> float:
    """The seconds that it takes the kernel to hand out a table of both families, and to take it back, side by side."""
    start = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda family: _replaced(family, table.encode()), _PROTOCOLS))
    return time.perf_counter() - start


def _replaced(family: Family, table: bytes) -> None:
    domain, level = _PROTOCOLS[family]
    with socket.socket(domain, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        info = _asked(sock, level, _GET_INFO, _INFO.pack(table, 0, b"", b"", 0, 0), 0)
        _, hooks, begins, ends, number, size = _INFO.unpack(info)
        entries = _asked(sock, level, _GET_ENTRIES, _WANTED.pack(table, size), size)[_WANTED.size :]
        counters = ctypes.create_string_buffer(number * _COUNTER)
        new = _NEW.pack(table, hooks, number, size, begins, ends, number, ctypes.addressof(counters))
        _told(sock, level, _REPLACE, new + entries)
        _told(sock, level, _ADD_COUNTERS, _COUNTERS.pack(table, number) + counters.raw)


def _asked(sock: socket.socket, level: int, option: int, question: bytes, room: int) -> bytes:
    answer = ctypes.create_string_buffer(question, len(question) + room)
    length = ctypes.c_uint(len(question) + room)
    _checked(ctypes.CDLL(None, use_errno=True).getsockopt(sock.fileno(), level, option, answer, ctypes.byref(length)))
    return answer.raw


def _told(sock: socket.socket, level: int, option: int, words: bytes) -> None:
    for _ in range(_TRIES):
        if not ctypes.CDLL(None, use_errno=True).setsockopt(sock.fileno(), level, option, words, len(words)):
            return
        if ctypes.get_errno() != errno.EAGAIN:  # somebody was at another table
            break
    _checked(-1)


def _checked(result: int) -> None:
    if result:
        raise MuslinError(f"the floor could not be measured: x_tables refused: error {ctypes.get_errno()}")
