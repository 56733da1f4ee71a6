"""What answers probes at the destination: opened in its namespace, for as long as probes to it are under way.

A port that a process of the user serves is left to that process. Raw receivers see what no socket can answer for.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from emulator.probe import crafted
from emulator.probe.attempt import Attempt

MAX_DATAGRAM = 2048
BACKLOG = 4096
IPPROTO_UDP = crafted.UDP


def address_family(address: str) -> socket.AddressFamily:
    """The socket family of a bare address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Listener:
    """A socket at the destination. This one only listens: the kernel's SYN ACK is all the answer TCP needs."""

    watched = False  # whether the loop has to look at it

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self._socket.fileno()

    def ready(self, events: int) -> None:
        """Do what the socket's readiness asks for."""

    def close(self) -> None:
        """Close it; connections nobody accepted are reset by the kernel, which leaves no TIME_WAIT."""
        self._socket.close()


class UdpEcho(Listener):
    """Sends every datagram back to where it came from."""

    watched = True

    def ready(self, events: int) -> None:
        """Echo all that has come in."""
        del events
        while True:
            try:
                data, sender = self._socket.recvfrom(MAX_DATAGRAM)
                self._socket.sendto(data, sender)
            except BlockingIOError:
                return
            except OSError:  # an answer that cannot be sent (no route back, dropped) is the probe's business, not ours
                continue


class RawReceiver(Listener):
    """Sees every packet of one protocol that is delivered to one address: proof that it arrived.

    It answers SCTP's INIT, as no kernel socket does. For the rest, to have arrived is all there can be.
    """

    watched = True

    def __init__(self, sock: socket.socket, protocol: int, arrived: Callable[[Attempt], None]) -> None:
        super().__init__(sock)
        self._protocol = protocol
        self._family = 6 if sock.family == socket.AF_INET6 else 4
        self._arrived = arrived
        self.expected: dict[tuple[str, int], Attempt] = {}  # by source address and number

    def ready(self, events: int) -> None:
        """Take note of what arrived, and answer what asks for an answer."""
        del events
        while True:
            try:
                data, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue
            self._received(crafted.without_ip_header(self._family, data), sender)

    def _received(self, packet: bytes, sender: tuple[str, int]) -> None:
        number = crafted.ident(self._protocol, packet)
        attempt = None if number is None else self.expected.get((sender[0], number))
        if attempt is None:
            return
        self._arrived(attempt)
        if self._protocol == crafted.SCTP and (answer := crafted.sctp_answer(packet)) is not None:
            try:
                self._socket.sendto(answer, (sender[0], 0))
            except OSError:
                return  # the probe stays without an answer, and says that it arrived


def _bound(kind: socket.SocketKind, protocol: int, address: str, port: int) -> socket.socket | None:
    """A non-blocking socket bound in the calling thread's namespace; None when the address is served or not there."""
    sock = socket.socket(address_family(address), kind, protocol)
    try:
        sock.setblocking(False)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        if error.errno in {errno.EADDRINUSE, errno.EADDRNOTAVAIL}:
            return None
        raise
    return sock


def listen_tcp(address: str, port: int) -> Listener | None:
    """Listen in the calling thread's namespace; None when a process of the user already does."""
    sock = _bound(socket.SOCK_STREAM, 0, address, port)
    if sock is None:
        return None
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return Listener(sock)


def echo_udp(address: str, port: int) -> Listener | None:
    """Echo in the calling thread's namespace; None when a process of the user has the port."""
    sock = _bound(socket.SOCK_DGRAM, 0, address, port)
    return None if sock is None else UdpEcho(sock)


def receive_raw(address: str, protocol: int, arrived: Callable[[Attempt], None]) -> RawReceiver | None:
    """Receive a whole protocol in the calling thread's namespace; None when the address is not there."""
    sock = _bound(socket.SOCK_RAW, protocol, address, 0)
    return None if sock is None else RawReceiver(sock, protocol, arrived)
