"""Captures: raw frames from any link of any namespace, by a packet socket and a thread, without a capture program.

Frames are kept as bytes with the kernel's timestamps; `decode` reads them with scapy, which is slow to import and so is
imported only then.
"""

from __future__ import annotations

import fcntl
import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from emulator.namespaces import NetworkNamespace, entered
from reference.errors import EnvironmentLacksError, InvalidInputError

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33
_SIOCGIFHWADDR = 0x8927
_PACKET_OUTGOING = 4
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_LINKTYPE_ETHERNET, _LINKTYPE_RAW = 1, 101
_PCAP_MAGIC_NANOSECONDS = 0xA1B23C4D
_LONGEST_FRAME = 1 << 17
_BUFFER = 32 << 20


class Frame(NamedTuple):
    """One frame as it passed, with its link-layer header if the link has one."""

    time: float  # seconds since the epoch
    data: bytes


class Capture:
    """Captures a link from `start` until `stop`, a number of frames, or some seconds, whichever comes first.

    A context manager: inside, it captures. Frames of both directions are seen, before the firewall of their way in and
    after that of their way out.
    """

    def __init__(
        self, namespace: NetworkNamespace, interface: str, *, limit: int = 100_000, seconds: float = 300.0
    ) -> None:
        self._namespace = namespace
        self._interface = interface
        self._limit = limit
        self._seconds = seconds
        self._frames: list[Frame] = []
        self._thread: threading.Thread | None = None
        self._stop, self._stopped = socket.socketpair()
        self.link_type = _LINKTYPE_ETHERNET
        self.lost = 0  # frames the kernel had no room for; known after `stop`

    def start(self) -> Capture:
        """Start; when this returns, every further frame is seen.

        Raises:
            EnvironmentLacksError: there is no such link, or it may not be captured.
        """
        try:
            with entered(self._namespace):
                sock = self._open()
        except OSError as error:
            raise EnvironmentLacksError(f"{self._interface} cannot be captured: {error}") from error
        self._thread = threading.Thread(target=self._run, args=(sock,), name=f"capture {self._interface}", daemon=True)
        self._thread.start()
        return self

    def _open(self) -> socket.socket:
        # Protocol 0 receives nothing; only bind() says which frames, and of which link.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            with suppress(PermissionError):  # not the machine's root: what was granted has to do
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            request = struct.pack("16s24x", self._interface.encode())
            (hardware,) = struct.unpack_from("=H", fcntl.ioctl(sock, _SIOCGIFHWADDR, request), 16)
            self._loopback = hardware == _ARPHRD_LOOPBACK
            has_header = hardware in {_ARPHRD_ETHER, _ARPHRD_LOOPBACK}
            self.link_type = _LINKTYPE_ETHERNET if has_header else _LINKTYPE_RAW
            sock.setblocking(False)
            sock.bind((self._interface, _ETH_P_ALL))
        except OSError:
            sock.close()
            raise
        return sock

    def _run(self, sock: socket.socket) -> None:
        until = time.monotonic() + self._seconds
        with sock:
            stopping = False
            while not stopping and len(self._frames) < self._limit and time.monotonic() < until:
                ready, _, _ = select.select([sock, self._stopped], [], [], max(0.0, until - time.monotonic()))
                stopping = self._stopped in ready
                self._take(sock)  # also when stopping: what passed before is part of it
            _, self.lost = struct.unpack("II", sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))

    def _take(self, sock: socket.socket) -> None:
        while len(self._frames) < self._limit:
            try:
                data, ancillary, _, address = sock.recvmsg(_LONGEST_FRAME, 64)
            except BlockingIOError:
                return
            except OSError:  # the link went down or away; what there is stays
                return
            if self._loopback and address[2] == _PACKET_OUTGOING:  # loopback shows each frame leaving and arriving
                continue
            self._frames.append(Frame(_timestamp(ancillary), data))

    def stop(self) -> list[Frame]:
        """Stop, and return every frame that passed before."""
        if self._thread is not None:
            self._stop.send(b"x")
            self._thread.join()
            self._thread = None
            self._stop.close()
            self._stopped.close()
        return self.frames

    @property
    def frames(self) -> list[Frame]:
        """The frames so far, in the order they passed."""
        return list(self._frames)

    def __enter__(self) -> Capture:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def write(self, path: Path) -> None:
        """Write a pcap file that every analyser opens."""
        with path.open("wb") as file:
            file.write(struct.pack("=IHHiIII", _PCAP_MAGIC_NANOSECONDS, 2, 4, 0, 0, _LONGEST_FRAME, self.link_type))
            for frame in self.frames:
                seconds, fraction = divmod(frame.time, 1)
                file.write(struct.pack("=IIII", int(seconds), int(fraction * 1e9), len(frame.data), len(frame.data)))
                file.write(frame.data)

    def decode(self) -> list[Any]:
        """The frames as scapy packets."""
        from emulator.probe.packets import scapy_layers

        layers = scapy_layers()
        if self.link_type == _LINKTYPE_ETHERNET:
            return [layers.Ether(frame.data) for frame in self.frames]
        return [(layers.IPv6 if frame.data[0] >> 4 == 6 else layers.IP)(frame.data) for frame in self.frames]


class Captures:
    """Captures under way, by number; safe from any thread."""

    def __init__(self) -> None:
        self._under_way: dict[int, Capture] = {}
        self._numbers = itertools.count(1)

    def start(self, namespace: NetworkNamespace, interface: str, *, limit: int, seconds: float) -> int:
        """Start one; its number.

        Raises:
            EnvironmentLacksError: there is no such link.
        """
        capture = Capture(namespace, interface, limit=limit, seconds=seconds).start()
        number = next(self._numbers)
        self._under_way[number] = capture
        return number

    def stop(self, number: int) -> list[Frame]:
        """Stop one; its frames.

        Raises:
            InvalidInputError: no capture under way has that number.
        """
        capture = self._under_way.pop(number, None)
        if capture is None:
            raise InvalidInputError(f"no capture {number} is under way")
        return capture.stop()


def _timestamp(ancillary: list[tuple[int, int, bytes]]) -> float:
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= 16:
            seconds, nanoseconds = struct.unpack_from("qq", value)
            return float(seconds + nanoseconds / 1e9)
    return time.time()


def count(frames: Iterable[Frame], predicate: Callable[[bytes], bool]) -> int:
    """How many frames have a property of their bytes."""
    return sum(1 for frame in frames if predicate(frame.data))


def contains(address: str) -> Callable[[bytes], bool]:
    """A predicate: an address stands somewhere in the frame, in a header or in clear inside it."""
    needle = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return lambda data: needle in data
