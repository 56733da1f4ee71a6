"""Where a supervisor listens, and who may speak there.

The socket is abstract: it has a name but no file, so a killed supervisor leaves none, and no pod can reach it
(abstract names belong to the network namespace they were bound in, the caller's). The kernel tells each end who
the other is (SO_PEERCRED): a supervisor answers its owner only, and a client believes only its own user's
supervisor. That is the token, and one that cannot be copied.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")


def address_of(name: str, user: int | None = None) -> str:
    """The abstract address of a user's cluster."""
    return f"\0muslin/{os.getuid() if user is None else user}/{name}"


def displayed(name: str) -> str:
    """The address as tools such as `ss` show it."""
    return address_of(name).replace("\0", "@", 1)


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Process id and user id of the other end, as the kernel knows them."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _group = _CREDENTIALS.unpack(raw)
    return pid, user


def listening_names() -> list[str]:
    """Names of this user's clusters: whatever listens under our prefix, from the kernel's own table."""
    prefix = address_of("").replace("\0", "@", 1)
    names = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7].startswith(prefix) and int(fields[3], 16) & 0x10000:  # __SO_ACCEPTCON
            names.add(fields[7].removeprefix(prefix))
    return sorted(names)
