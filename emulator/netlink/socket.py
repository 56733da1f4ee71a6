"""The socket that sends batches and reads tables. It stays in the network namespace it was opened in."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from itertools import count
from types import TracebackType
from typing import NamedTuple

from emulator.netlink import messages as m
from emulator.netlink.batch import Batch, Change
from reference.errors import EnvironmentLacksError

_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_NLMSGERR_MSG = 1
_BYTES_PER_REFUSAL = 4096  # of the receive buffer, at most: all changes of a send may be refused
_BYTES_PER_SEND = 64 * 1024
_INT = struct.Struct("=i")


class NetlinkError(EnvironmentLacksError):
    """The kernel refused a change; says which, and gives the kernel's own words."""

    def __init__(self, operation: str, code: int, words: str) -> None:
        because = f": {words}" if words else ""
        super().__init__(f"the kernel refused `{operation}`: {os.strerror(code)}{because}")
        self.operation = operation
        self.errno = code


class KernelRoute(NamedTuple):
    """A route as the kernel holds it."""

    destination: m.Network
    kind: m.RouteKind
    via: m.Address | None
    device: int  # index of the link, 0: none
    protocol: int


class RouteSocket:
    """A rtnetlink socket of the calling thread's network namespace; usable from any thread, one at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        with contextlib.suppress(OSError):  # kernels before 4.20; dumps are then filtered by us alone
            self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)
        for option in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
            with contextlib.suppress(PermissionError):  # an ordinary user: sends are small enough for the defaults
                self._socket.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        # An ordinary user cannot enlarge it beyond 212 KB; half of what the kernel says is its own.
        self._most = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _BYTES_PER_REFUSAL
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # -- changes ---------------------------------------------------------------------------------------------------

    def send(self, batch: Batch) -> None:
        """Make all changes of a batch, in order, in as few system calls as fit.

        The kernel makes each change on its own: those after a refused one are still tried, up to the end of the same
        system call. A batch is not a transaction.

        Raises:
            NetlinkError: the first refusal that the change does not tolerate.
        """
        for changes in _portions(batch.changes, self._most):
            self._send(changes)

    def _send(self, changes: Sequence[Change]) -> None:
        first, last = self._sequence, self._sequence + len(changes) - 1
        self._sequence += len(changes)
        # Refusals come unasked for. That the last change is done, and so all are, takes an acknowledgement.
        asks = [0] * (len(changes) - 1) + [m.NLM_F_ACK]
        self._socket.send(
            b"".join(
                [
                    m.HEADER.pack(16 + len(change.body), change.kind, change.flags | ask, sequence, 0) + change.body
                    for sequence, change, ask in zip(count(first), changes, asks, strict=False)
                ]
            )
        )
        refusal: NetlinkError | None = None
        answered = first - 1
        while answered < last:
            data = self._socket.recv(1 << 16)
            for kind, flags, sequence, start, end in m.messages(data):
                if kind != m.NLMSG_ERROR or sequence < first:
                    continue
                answered = sequence
                (code,) = _INT.unpack_from(data, start)
                change = changes[sequence - first]
                if code and -code not in change.tolerated and refusal is None:
                    refusal = NetlinkError(change.text(), -code, _words(data, flags, start, end))
        if refusal is not None:
            raise refusal

    # -- tables ----------------------------------------------------------------------------------------------------

    def dump(self, kind: int, body: bytes) -> Iterator[tuple[bytes, int, int]]:
        """The answers to a dump request of any kind, as (data, start, end) of each one's body."""
        return self._dump(kind, body)

    def _dump(self, kind: int, body: bytes) -> Iterator[tuple[bytes, int, int]]:
        """The bodies of a table's entries: buffer, start, end."""
        sequence = self._sequence
        self._sequence += 1
        header = m.HEADER.pack(16 + len(body), kind, m.NLM_F_REQUEST | m.NLM_F_DUMP, sequence, 0)
        self._socket.send(header + body)
        while True:
            data = self._socket.recv(1 << 18)
            for kind_, flags, number, start, end in m.messages(data):
                if number != sequence:
                    continue
                if kind_ == m.NLMSG_DONE:
                    return
                if kind_ == m.NLMSG_ERROR:
                    code = -_INT.unpack_from(data, start)[0]
                    raise NetlinkError("dump", code, _words(data, flags, start, end))
                yield data, start, end

    def links(self) -> dict[str, int]:
        """Index of every link, by name."""
        found: dict[str, int] = {}
        for data, start, end in self._dump(m.RTM_GETLINK, m.link()):
            for kind, value in m.attributes(data, start + m.LINK.size, end):
                if kind == m.IFLA_IFNAME:  # the kernel's first of very many
                    found[value.rstrip(b"\0").decode()] = m.LINK.unpack_from(data, start)[2]
                    break
        return found

    def link_types(self) -> dict[int, int]:
        """The hardware type of every link (ARPHRD_*), by index."""
        found: dict[int, int] = {}
        for data, start, _ in self._dump(m.RTM_GETLINK, m.link()):
            _, kind, index, _, _ = m.LINK.unpack_from(data, start)
            found[index] = kind
        return found

    def addresses(self) -> list[m.Address]:
        """Every address of every link."""
        found: list[m.Address] = []
        for data, start, end in self._dump(m.RTM_GETADDR, m.ADDRESS.pack(0, 0, 0, 0, 0)):
            parts = dict(m.attributes(data, start + m.ADDRESS.size, end))
            found.append(ip_address(parts.get(m.IFA_LOCAL) or parts[m.IFA_ADDRESS]))
        return found

    def routes(self, protocol: int, table: int = m.RT_TABLE_MAIN) -> list[KernelRoute]:
        """The routes of one table that carry a routing protocol's number, both families."""
        found: list[KernelRoute] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = m.ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + m.number(m.RTA_TABLE, table)
            try:
                found += [
                    _kernel_route(data, start, end)
                    for data, start, end in self._dump(m.RTM_GETROUTE, body)
                    if _is_wanted(data, start, end, protocol, table)
                ]
            except NetlinkError as error:
                # A family the kernel lacks, or a table nobody has written to yet.
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT):
                    raise
        return found

    def next_hop(self, address: m.Address) -> m.Address | None:
        """The gateway packets to an address are sent to; None when it is on a link of ours, or nowhere to be found."""
        sequence = self._sequence
        self._sequence += 1
        body = m.ROUTE.pack(m.af(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
        body += m.attribute(m.RTA_DST, address.packed)
        self._socket.send(m.HEADER.pack(16 + len(body), m.RTM_GETROUTE, m.NLM_F_REQUEST, sequence, 0) + body)
        while True:
            data = self._socket.recv(1 << 16)
            for kind, _flags, number, start, end in m.messages(data):
                if number == sequence:
                    return _kernel_route(data, start, end).via if kind == m.RTM_NEWROUTE else None


def _portions(changes: Sequence[Change], most: int) -> Iterator[Sequence[Change]]:
    start = size = 0
    for place, change in enumerate(changes):
        length = 16 + len(change.body)
        if place > start and (place - start >= most or size + length > _BYTES_PER_SEND):
            yield changes[start:place]
            start, size = place, 0
        size += length
    if start < len(changes):
        yield changes[start:]


def _words(data: bytes, flags: int, start: int, end: int) -> str:
    """The kernel's own explanation, from the extended acknowledgement."""
    if not flags & m.NLM_F_ACK_TLVS:
        return ""
    skipped = start + 4 + 16
    if not flags & m.NLM_F_CAPPED:
        skipped += struct.unpack_from("=I", data, start + 4)[0] - 16
    for kind, value in m.attributes(data, skipped, end):
        if kind == _NLMSGERR_MSG:
            return value.rstrip(b"\0").decode(errors="replace")
    return ""


def _is_wanted(data: bytes, start: int, end: int, protocol: int, table: int) -> bool:
    header = m.ROUTE.unpack_from(data, start)
    if header[5] != protocol:
        return False
    wide = [
        _INT.unpack(value)[0] for kind, value in m.attributes(data, start + m.ROUTE.size, end) if kind == m.RTA_TABLE
    ]
    return bool((wide[0] if wide else header[4]) == table)


def _kernel_route(data: bytes, start: int, end: int) -> KernelRoute:
    family, length, _, _, _, protocol, _scope, kind, _ = m.ROUTE.unpack_from(data, start)
    found = dict(m.attributes(data, start + m.ROUTE.size, end))
    size = 4 if family == socket.AF_INET else 16
    destination = ip_network((found.get(m.RTA_DST, bytes(size)), length))
    via = found.get(m.RTA_GATEWAY)
    index = struct.unpack("=I", found[m.RTA_OIF])[0] if m.RTA_OIF in found else 0
    name: m.RouteKind = {6: "blackhole", 9: "throw"}.get(kind, "unicast" if via else "link")  # type: ignore[assignment]
    if name in ("blackhole", "throw"):
        index = 0  # IPv6 hangs them on lo
    gateway = ip_network(via).network_address if via else None
    return KernelRoute(destination, name, gateway, index, protocol)
