"""nfnetlink: messages, attributes and the socket, as the netfilter subsystems of the kernel speak them.

Only what the nf_tables dataplane, NFLOG and packet traces need; it knows nothing of policy. A socket belongs to the
network namespace of the thread that opened it, and may then be used from any thread.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from reference.errors import EnvironmentLacksError, MuslinError

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP, NETLINK_NO_ENOBUFS = 1, 5
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
NLM_F_CREATE, NLM_F_APPEND = 0x400, 0x800
NLMSG_ERROR, NLMSG_DONE = 2, 3
NFNL_BATCH_BEGIN, NFNL_BATCH_END = 16, 17
SUBSYS_LOG, SUBSYS_NFTABLES = 4, 10
AF_INET, AF_INET6, NFPROTO_INET = 2, 10, 1
NESTED = 0x8000
MESSAGE_HEADER = 20  # nlmsghdr and nfgenmsg
BUFFER = 1 << 26
TOGETHER = 200  # messages of `request_all` in one datagram

_HEADER = struct.Struct("=IHHII")
_START = struct.Struct("=IHHIIBB")  # that, then family and version
_ATTRIBUTE = struct.Struct("=HH")
PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # after data, by its length modulo four


class NetlinkError(MuslinError):
    """The kernel refused a message. `index` is the place in the batch of the first one refused."""

    def __init__(self, code: int, index: int, total: int, about: str = "") -> None:
        place = f"netfilter message {index + 1} of {total}" + (f", {about}" if about else "")
        super().__init__(f"the kernel refused {place}: {os.strerror(code)}")
        self.code = code
        self.index = index


class Message(msgspec.Struct, frozen=True, gc=False):
    """One nfnetlink message without its header: `kind` is subsystem << 8 | message type."""

    kind: int
    body: bytes
    flags: int = 0
    family: int = NFPROTO_INET
    resource: int = 0


def attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + PADDING[len(data) & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """An attribute holding a NUL-terminated string."""
    return attribute(kind, value.encode() + b"\0")


@lru_cache(maxsize=128)
def named(name: str) -> bytes:
    """The attribute that names a table, or an expression."""
    return text(1, name)


@lru_cache(maxsize=4096)
def u32(kind: int, value: int) -> bytes:
    """An attribute holding a 32 bit number in network order."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every attribute in `data`, in order; a malformed tail is left out."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by kind; of several of one kind, the last."""
    return dict(each_attribute(data))


def string(data: bytes) -> str:
    """The value of a string attribute."""
    return data.rstrip(b"\0").decode(errors="replace")


def pack(message: Message, seq: int, extra_flags: int = 0) -> bytes:
    """The bytes of one message as sent."""
    body = message.body
    flags = NLM_F_REQUEST | message.flags | extra_flags
    start = _START.pack(MESSAGE_HEADER + len(body), message.kind, flags, seq, 0, message.family, 0)
    return start + message.resource.to_bytes(2, "big") + body


def pack_batch(messages: Sequence[Message], seq: int) -> bytes:
    """A transaction: the messages between begin and end; message i has sequence number `seq` + i."""
    marker = Message(NFNL_BATCH_BEGIN, b"", family=0, resource=SUBSYS_NFTABLES)
    last = len(messages) - 1
    return b"".join(
        (
            pack(marker, 0),
            *(pack(m, seq + i, NLM_F_ACK if i == last else 0) for i, m in enumerate(messages)),
            pack(Message(NFNL_BATCH_END, b"", family=0, resource=SUBSYS_NFTABLES), 0),
        )
    )


def unpack(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, seq, what follows the netlink header) of every message in a datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, seq, _ = _HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, flags, seq, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


class NetfilterSocket:
    """An nfnetlink socket in the network namespace of the thread that makes it."""

    def __init__(self, *, buffer: int = BUFFER, lossy: bool = False) -> None:
        """Open it. `lossy`: the kernel drops what does not fit instead of failing the next read."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        except OSError as error:
            raise EnvironmentLacksError(f"no netfilter socket: {error.strerror}; the kernel needs nf_tables") from error
        self._socket.bind((0, 0))
        self._seq = 1
        for forced, plain in ((SO_SNDBUFFORCE, socket.SO_SNDBUF), (SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, buffer)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, plain, buffer)
        if lossy:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)

    def fileno(self) -> int:
        """The descriptor, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it; closing twice is harmless."""
        self._socket.close()

    def join(self, group: int) -> None:
        """Join a multicast group."""
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def request(self, message: Message) -> None:
        """Send one message and wait for the kernel's word.

        Raises:
            NetlinkError: it was refused.
        """
        seq = self._next(1)
        self._socket.send(pack(message, seq, NLM_F_ACK))
        self._acknowledged(seq, 1)

    def request_all(self, messages: Sequence[Message]) -> None:
        """Send messages together, each for itself, and wait for the kernel's word on all of them.

        Raises:
            NetlinkError: one was refused, the first such; all others were not.
        """
        refused: NetlinkError | None = None
        for begin in range(0, len(messages), TOGETHER):
            some = messages[begin : begin + TOGETHER]
            seq = self._next(len(some))
            last = len(some) - 1
            self._socket.send(b"".join([pack(m, seq + i, NLM_F_ACK * (i == last)) for i, m in enumerate(some)]))
            try:
                self._acknowledged(seq, len(some))
            except NetlinkError as error:
                refused = refused or NetlinkError(error.code, begin + error.index, len(messages))
        if refused:
            raise refused

    def tell(self, message: Message) -> None:
        """Send one message and wait for no word: the kernel has dealt with it when this returns."""
        self._socket.send(pack(message, self._next(1)))

    def ask(self, message: Message) -> bytes:
        """Send one message and return the attributes of the one that answers it.

        Raises:
            NetlinkError: it was refused.
        """
        seq = self._next(1)
        self._socket.send(pack(message, seq))
        while True:
            for kind, _, answered, body in unpack(self._socket.recv(1 << 17)):
                if answered == seq and kind == NLMSG_ERROR:
                    raise NetlinkError(-struct.unpack_from("=i", body)[0], 0, 1)
                if answered == seq:
                    return body[4:]

    def transact(self, messages: Sequence[Message]) -> int:
        """Send one atomic transaction; returns its size in bytes.

        Raises:
            NetlinkError: the kernel refused a message; nothing was changed.
        """
        seq = self._next(len(messages))
        data = pack_batch(messages, seq)
        try:
            self._socket.send(data)
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO, 0, len(messages)) from error
        self._acknowledged(seq, len(messages))
        return len(data)

    def dump(self, message: Message) -> Iterator[bytes]:
        """The bodies (attributes only) of everything the kernel answers to a dump request."""
        seq = self._next(1)
        self._socket.send(pack(message, seq, NLM_F_DUMP))
        while True:
            for kind, _, answered, body in unpack(self._socket.recv(1 << 18)):
                if answered != seq:
                    continue
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise NetlinkError(-struct.unpack_from("=i", body)[0], 0, 1)
                yield body[4:]

    def receive(self) -> Iterator[tuple[int, bytes]]:
        """(kind, attributes) of every message that has already arrived; waits for none."""
        while True:
            try:
                data = self._socket.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                raise
            for kind, _, _, body in unpack(data):
                yield kind, body[4:]

    def _next(self, count: int) -> int:
        seq = self._seq
        self._seq = (seq + count) & 0x7FFFFFFF or 1
        return seq

    def _acknowledged(self, seq: int, total: int) -> None:
        """Read answers up to that of the last message; the first error, in the order of the batch, is the one told."""
        errors: dict[int, int] = {}
        done = False
        while not done and not (errors and self._is_drained()):
            try:
                data = self._socket.recv(1 << 17)
            except OSError as error:  # more answers than the buffer holds: the last one may be lost
                raise NetlinkError(error.errno or errno.EIO, 0, total) from error
            for kind, _, answered, body in unpack(data):
                if kind != NLMSG_ERROR:
                    continue
                code = -struct.unpack_from("=i", body)[0]
                if code:
                    errors[answered - seq if answered else 0] = code
                done = done or answered == seq + total - 1
        if errors:
            index = min(errors)
            self._drain()
            raise NetlinkError(errors[index], max(index, 0), total)

    def _is_drained(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False

    def _drain(self) -> None:
        for _ in self.receive():
            pass
