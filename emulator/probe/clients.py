"""What sends probes at the source: non-blocking sockets bound to the source address, opened in its namespace."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable

import msgspec

from emulator.probe import crafted
from emulator.probe.attempt import Attempt
from emulator.probe.listeners import MAX_DATAGRAM, address_family
from reference.packet import PROTOCOLS

TCP, UDP = PROTOCOLS["TCP"], PROTOCOLS["UDP"]
FIRST_PORT, LAST_PORT = 32768, 60999  # the kernel's own range of ephemeral ports
UNREACHABLE = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EACCES, errno.ENONET, errno.EINVAL}
)  # EACCES and EINVAL: the own kernel's prohibit and blackhole routes

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_EXTENDED_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err; the sockaddr of its sender follows

Settle = Callable[[Attempt], None]


class SourcePorts:
    """Source ports, going round. The kernel's random choice would sometimes repeat one within a minute.

    Connection tracking remembers a UDP flow for half a minute after its probe: a port that comes back too soon would
    be let through as established, whatever the policy of the day says.
    """

    def __init__(self, start: int | None = None) -> None:
        self._span = LAST_PORT - FIRST_PORT + 1
        self._start = int.from_bytes(os.urandom(2), "big") if start is None else start
        self._used: dict[str, int] = {}

    def next(self, source: str) -> int:
        """The next port of a source address."""
        used = self._used.get(source, self._start)
        self._used[source] = used + 1
        return FIRST_PORT + used % self._span


def error_name(number: int) -> str:
    """The name of an errno: "EHOSTUNREACH"."""
    return errno.errorcode.get(number, str(number))


def _offender(address: bytes) -> str:
    """The address in the sockaddr behind an extended error; "" if there is none."""
    family = int.from_bytes(address[:2], "little") if len(address) >= 2 else 0
    if family == socket.AF_INET and len(address) >= 8:
        return socket.inet_ntop(socket.AF_INET, address[4:8])
    if family == socket.AF_INET6 and len(address) >= 24:
        return socket.inet_ntop(socket.AF_INET6, address[8:24])
    return ""


def queued_error(sock: socket.socket) -> tuple[int, str, bytes, str] | None:
    """One error off a socket's queue: errno, who sent it, the packet it is about, and where that was going."""
    try:
        data, ancillary, _, target = sock.recvmsg(MAX_DATAGRAM, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return None
    for _, kind, value in ancillary:
        if kind in {_IP_RECVERR, _IPV6_RECVERR} and len(value) >= _EXTENDED_ERROR.size:
            number = _EXTENDED_ERROR.unpack_from(value)[0]
            return number, _offender(value[_EXTENDED_ERROR.size :]), data, target[0] if target else ""
    return None


def take_error(attempt: Attempt, number: int, sender: str) -> None:
    """Take an error for what it proves: a refusal by the destination itself is an answer, the rest is not."""
    place = f" from {sender}" if sender else ""
    if number in {errno.ECONNREFUSED, errno.ECONNRESET} and sender in {"", attempt.packet.destination}:
        attempt.answer = "refused with a reset" if attempt.packet.protocol == TCP else "port unreachable" + place
    elif number in UNREACHABLE or number == errno.ECONNREFUSED:
        attempt.error = error_name(number) + place


class Client:
    """A socket of one probe: TCP or UDP."""

    def __init__(self, attempt: Attempt, settle: Settle, sock: socket.socket) -> None:
        self._attempt = attempt
        self._settle = settle
        self._socket = sock
        self.by_process = False  # whether the answer comes from a process of the user, not from our own listener

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it; TCP with a reset, which leaves no TIME_WAIT."""
        self._socket.close()

    def start(self) -> None:
        """Send the probe."""
        packet = self._attempt.packet
        number = self._socket.connect_ex((packet.destination, packet.destination_port))
        if number in {0, errno.EINPROGRESS}:
            if packet.protocol == UDP:
                number = self._send()
            elif number == 0:
                self._connected()
        if number not in {0, errno.EINPROGRESS, errno.EPERM}:  # EPERM: a rule dropped it on its way out, and says so
            self._failed(number, "")

    def resend(self) -> None:
        """Send a datagram once more; TCP sees to that by itself. Errors are for the first sending to report."""
        if self._attempt.packet.protocol == UDP:
            self._attempt.times_sent += 1
            self._send()

    def _send(self) -> int:
        try:
            self._socket.send(b"muslin probe")
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def ready(self, events: int) -> None:
        """Take the evidence the socket has."""
        if events & (select.EPOLLERR | select.EPOLLHUP):
            queued = queued_error(self._socket)
            number, sender = queued[:2] if queued else (0, "")
            number = number or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                self._failed(number, sender)
                return
        if self._attempt.packet.protocol == TCP:
            if events & select.EPOLLOUT and not events & select.EPOLLHUP:
                self._connected()
        elif events & select.EPOLLIN:
            self._received()

    def _connected(self) -> None:
        self._answered("connected to a process of the destination" if self.by_process else "connected")

    def _received(self) -> None:
        try:
            self._socket.recv(MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(error.errno or errno.EIO, "")
        else:
            self._answered("answered by a process of the destination" if self.by_process else "echo answered")

    def _answered(self, how: str) -> None:
        self._attempt.answer = self._attempt.answer or how
        self._settle(self._attempt)

    def _failed(self, number: int, sender: str) -> None:
        take_error(self._attempt, number, sender)
        if not self._attempt.settled:
            self._attempt.failure = f"could not be sent: {error_name(number)}"
        self._settle(self._attempt)


def open_client(attempt: Attempt, settle: Settle, ports: SourcePorts) -> Client:
    """A TCP or UDP socket in the calling thread's namespace, bound to the probe's source; `attempt` learns its port.

    Raises:
        OSError: the source address is not in this namespace, or no port is free.
    """
    packet = attempt.packet
    kind = socket.SOCK_STREAM if packet.protocol == TCP else socket.SOCK_DGRAM
    sock = socket.socket(address_family(packet.source), kind)
    try:
        sock.setblocking(False)
        if packet.protocol == TCP:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        _report_errors(sock)
        port = _bind(sock, packet.source, ports, attempt.alias or packet.source)
    except OSError:
        sock.close()
        raise
    attempt.packet = msgspec.structs.replace(packet, source_port=port)
    return Client(attempt, settle, sock)


def _report_errors(sock: socket.socket) -> None:
    """Have the kernel queue every ICMP error; without this, one that comes during connect() is forgotten."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def _bind(sock: socket.socket, source: str, ports: SourcePorts, seen: str) -> int:
    """Take a port that nobody who is `seen` under the same address has: a translation would change it."""
    for _ in range(LAST_PORT - FIRST_PORT):
        port = ports.next(seen)
        try:
            sock.bind((source, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise OSError(errno.EADDRINUSE, f"no source port is free at {source}")


class RawChannel:
    """Sends crafted probes of one protocol from one address, and sees the answers and errors to all of them."""

    def __init__(self, source: str, protocol: int, settle: Settle) -> None:
        """Open it in the calling thread's namespace."""
        self._protocol = protocol
        self._settle = settle
        self._family = 6 if ":" in source else 4
        self._outstanding: dict[tuple[str, int], Attempt] = {}  # by destination and number
        self._socket = socket.socket(address_family(source), socket.SOCK_RAW, protocol)
        try:
            self._socket.setblocking(False)
            _report_errors(self._socket)
            self._socket.bind((source, 0))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, attempt: Attempt, number: int) -> None:
        """Send a probe with the number that tells it from others."""
        packet = attempt.packet
        self._outstanding[packet.destination, number] = attempt
        try:
            self._socket.sendto(crafted.payload(packet, number), (packet.destination, 0))
        except OSError as error:
            if error.errno != errno.EPERM:
                take_error(attempt, error.errno or errno.EIO, "")
                if not attempt.settled:
                    attempt.failure = f"could not be sent: {error_name(error.errno or errno.EIO)}"
                self._settle(attempt)

    def forget(self, attempt: Attempt, number: int) -> bool:
        """Stop waiting for a probe's answer; report whether the channel is no longer needed."""
        self._outstanding.pop((attempt.packet.destination, number), None)
        return not self._outstanding

    def ready(self, events: int) -> None:
        """Take the evidence the socket has."""
        if events & select.EPOLLERR:
            self._errors()
        while True:
            try:
                data, sender = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._errors()
                continue
            number = crafted.answer_ident(self._protocol, crafted.without_ip_header(self._family, data))
            attempt = None if number is None else self._outstanding.get((sender[0], number))
            if attempt is not None:
                attempt.answer = "association answered" if self._protocol == crafted.SCTP else "echo reply"
                self._settle(attempt)

    def _errors(self) -> None:
        while (queued := queued_error(self._socket)) is not None:
            number, sender, about, target = queued
            which = crafted.ident(self._protocol, about)
            attempt = None if which is None else self._outstanding.get((target, which))
            if attempt is not None:
                take_error(attempt, number, sender)
                if attempt.settled:
                    self._settle(attempt)
