"""The prober: asks the real network many questions at once, from sockets inside the sources' own namespaces.

No process per probe, no thread per probe: one loop watches the sources' sockets, the listeners at the destinations and
the nodes' reports of dropped packets, until every probe has evidence or its time is up.
"""

from __future__ import annotations

import errno
import resource
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Protocol

from emulator.dataplane.contract import DropSource
from emulator.namespaces import NetworkNamespace, entered
from emulator.probe.attempt import ECHO_REQUEST, ICMP_PROTOCOLS, Attempt, Outstanding, template
from emulator.probe.clients import TCP, UDP, Client, RawChannel, SourcePorts, error_name, open_client
from emulator.probe.crafted import SCTP
from emulator.probe.listeners import Listener, RawReceiver, echo_udp, listen_tcp, receive_raw
from emulator.probe.types import Outcome, Probe
from reference.errors import InvalidInputError, MuslinError
from reference.packet import Packet

WINDOW = 512  # probes under way at once
SLICE = 64  # opened between two looks at what has come in
RESEND_AFTER = (0.4, 1.0)  # seconds until an unanswered datagram is sent once more, and then again: links lose packets
GRACE = 0.005  # seconds a settled probe stays open, so that evidence against it is still heard
_PORTS = SourcePorts()  # one for the process: the kernel's memory of flows outlives a prober


class Watched(Protocol):
    """A socket the loop looks at."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...

    def ready(self, events: int) -> None:
        """What to do when it is ready."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Prober:
    """Sends probes and gathers evidence.

    `namespaces` gives the network namespace of a pod, node or outside host, by the name a probe has for it; for a
    destination it also takes an address. It raises LookupError or a MuslinError when there is none.
    """

    def __init__(self, namespaces: Callable[[str], NetworkNamespace], drops: Sequence[DropSource]) -> None:
        self._namespaces = namespaces
        self._drops = drops
        self._lock = threading.Lock()  # the reports of drops are shared, so one batch at a time

    def probe_many(
        self,
        probes: Sequence[Probe],
        packets: Sequence[Packet],
        seq: int,
        deadline: float = 3.0,
        alias: Callable[[Packet], str] = lambda _: "",
    ) -> list[Outcome]:
        """Send `packets`, each the question of the probe at its place, and say what became of them, in that order.

        A packet's source port is chosen here; its addresses, protocol and destination port (or ICMP type) are taken
        as they are. `deadline` is in seconds, from the moment each probe was sent. An address that nobody answers ARP
        for is "unreachable" only after about 3.1 s; before, it is "unknown". A router that limits its ICMP errors (the
        kernel does, unless `net.ipv4.icmp_ratemask` and `net.ipv6.icmp.ratelimit` are 0) leaves most of many unknown.

        `alias` gives the other source address a packet may have underway, so that a drop behind a translation is heard.

        Raises:
            InvalidInputError: as many packets as probes are needed.
        """
        if len(probes) != len(packets):
            raise InvalidInputError(f"{len(probes)} probes came with {len(packets)} packets; each needs one")
        attempts = [Attempt(i, probe, template(packets[i]), alias(packets[i])) for i, probe in enumerate(probes)]
        with self._lock:
            for source in self._drops:
                source.drain()  # reports about earlier packets
            run = _Run(self._namespaces, self._drops, attempts, seq, deadline)
            try:
                return run.outcomes()
            finally:
                run.close()


def window() -> int:
    """How many probes may be under way at once: each takes a descriptor, and its listener may take another."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(WINDOW, soft // 4)) if soft != resource.RLIM_INFINITY else WINDOW


ListenerKey = tuple[str, int, str, int]  # name of the destination, protocol, address, port
ChannelKey = tuple[str, int, str]  # name of the source, protocol, address


def _listener_key(attempt: Attempt) -> ListenerKey:
    packet = attempt.packet
    port = packet.destination_port if packet.protocol in {TCP, UDP} else 0
    return attempt.probe.destination, packet.protocol, packet.destination, port


def _seen_as(attempt: Attempt) -> Iterator[str]:
    """The source addresses the destination may see (NAT-1)."""
    yield attempt.packet.source
    if attempt.alias:
        yield attempt.alias


def _is_echo(packet: Packet) -> bool:
    return packet.protocol in ICMP_PROTOCOLS and packet.icmp_type == ECHO_REQUEST[packet.protocol]


class _Run:
    """One batch of probes."""

    def __init__(
        self,
        namespaces: Callable[[str], NetworkNamespace],
        drops: Sequence[DropSource],
        attempts: list[Attempt],
        seq: int,
        deadline: float,
    ) -> None:
        self._namespaces = namespaces
        self._seq = seq
        self._deadline = deadline
        # Ordered by destination, so that few listeners are open at a time.
        self._queue = deque(sorted(attempts, key=lambda a: (_listener_key(a), a.probe.source)))
        self._outcomes: list[Outcome | None] = [None] * len(attempts)
        self._outstanding = Outstanding()
        self._settled: deque[Attempt] = deque()
        self._resends: list[deque[tuple[float, Attempt]]] = [deque() for _ in RESEND_AFTER]  # when, and what
        self._drops = {source.fileno(): source for source in drops}
        self._clients: dict[int, Client] = {}  # by the attempt's index
        self._channels: dict[ChannelKey, RawChannel] = {}
        self._numbers: dict[int, tuple[ChannelKey, int]] = {}  # by the attempt's index
        self._listeners: dict[ListenerKey, Listener | None] = {}
        self._receivers: dict[ListenerKey, RawReceiver | None] = {}
        self._uses = Counter(map(_listener_key, attempts))  # what is still to come for each listener
        self._watched: dict[int, Watched] = {}
        self._epoll = select.epoll()
        self._window = window()
        for fd in self._drops:
            self._epoll.register(fd, select.EPOLLIN)

    # -- the loop --------------------------------------------------------------------------------------------------

    def outcomes(self) -> list[Outcome]:
        """Run until every probe has its outcome."""
        while self._queue or self._outstanding:
            more = bool(self._queue) and len(self._outstanding) < self._window
            if more:
                self._open_slice()
            self._look(0.0 if more else self._patience())
            self._retire()
            self._resend()
        return [outcome for outcome in self._outcomes if outcome is not None]

    def close(self) -> None:
        """Close whatever is open, whatever happened."""
        opened = (self._clients, self._channels, self._listeners, self._receivers)
        everything: list[Watched | None] = [one for kind in opened for one in kind.values()]
        for one in everything:
            if one is not None:
                one.close()
        self._epoll.close()

    def _patience(self) -> float:
        """Seconds until something has to be done even if nothing comes in."""
        oldest = next(iter(self._outstanding), None)
        due = [oldest.sent_at + self._deadline] if oldest is not None else []
        due += [self._settled[0].settled_at + GRACE] if self._settled and self._settled[0].settled_at else []
        due += [waiting[0][0] for waiting in self._resends if waiting]
        return max(0.0, min(due, default=0.0) - time.monotonic())

    def _look(self, timeout: float) -> None:
        """Take in everything there is; drops last, so that an answer before a drop and one after it weigh the same."""
        drops = []
        for fd, events in self._epoll.poll(timeout, 1024):
            if fd in self._drops:
                drops.append(fd)
            elif (watched := self._watched.get(fd)) is not None:
                watched.ready(events)
        for fd in drops:
            for drop in self._drops[fd].drain():
                if (attempt := self._outstanding.dropped(drop)) is not None:
                    self._settle(attempt)

    def _settle(self, attempt: Attempt) -> None:
        if attempt.settled_at is None:
            attempt.settled_at = time.monotonic()
            self._settled.append(attempt)

    def _arrived(self, attempt: Attempt) -> None:
        attempt.arrived = True
        if attempt.packet.protocol != SCTP:  # that one is answered; to arrive is all the others can do
            attempt.answer = attempt.answer or "arrived at the destination"
            self._settle(attempt)

    def _retire(self) -> None:
        """Write down what has been decided long enough, and what has run out of time."""
        now = time.monotonic()
        while self._settled and (self._settled[0].settled_at or now) + GRACE <= now:
            self._finish(self._settled.popleft(), now)
        late = []
        for attempt in self._outstanding:
            if attempt.sent_at + self._deadline > now:
                break
            if attempt.settled_at is None:
                late.append(attempt)
        for attempt in late:
            self._finish(attempt, now)

    def _finish(self, attempt: Attempt, now: float) -> None:
        self._outcomes[attempt.index] = attempt.outcome(self._seq, now, self._deadline)
        self._outstanding.remove(attempt)
        if (client := self._clients.pop(attempt.index, None)) is not None:
            self._forget(client)
        number = attempt.packet.source_port
        if (numbered := self._numbers.pop(attempt.index, None)) is not None:
            channel, number = numbered
            self._leave_channel(attempt, channel, number)
        self._leave_listener(attempt, number)

    # -- opening and closing ---------------------------------------------------------------------------------------

    def _watch(self, watched: Watched, events: int) -> None:
        self._watched[watched.fileno()] = watched
        self._epoll.register(watched.fileno(), events)

    def _forget(self, watched: Watched) -> None:
        if self._watched.pop(watched.fileno(), None) is not None:
            self._epoll.unregister(watched.fileno())
        watched.close()

    @contextmanager
    def _visiting(self, name: str) -> Iterator[None]:
        """The calling thread is in a namespace.

        Raises:
            LookupError: there is no such namespace.
        """
        try:
            namespace = self._namespaces(name)
        except MuslinError as error:
            raise LookupError(str(error)) from error
        with entered(namespace):
            yield

    def _open_slice(self) -> None:
        """Open and send the next few probes: listeners first, then the sources."""
        count = min(SLICE, self._window - len(self._outstanding), len(self._queue))
        attempts = [self._queue.popleft() for _ in range(count)]
        for name, group in groupby(attempts, key=lambda a: a.probe.destination):
            self._open_listeners(name, [a for a in group if _listener_key(a) not in self._listeners])
        attempts.sort(key=lambda a: a.probe.source)
        for name, group in groupby(attempts, key=lambda a: a.probe.source):
            self._open_source(name, list(group))

    def _open_listeners(self, name: str, attempts: list[Attempt]) -> None:
        if not attempts:
            return
        try:
            with self._visiting(name):
                for attempt in attempts:
                    key = _listener_key(attempt)
                    if key not in self._listeners:
                        self._listen(key, attempt.packet)
        except (LookupError, OSError):  # nobody has this address, or its owner is just going: then nothing answers
            for attempt in attempts:
                self._listeners.setdefault(_listener_key(attempt), None)

    def _listen(self, key: ListenerKey, packet: Packet) -> None:
        listener: Listener | None = None
        if packet.protocol == TCP:
            listener = listen_tcp(packet.destination, packet.destination_port)
        elif packet.protocol == UDP:
            listener = echo_udp(packet.destination, packet.destination_port)
        needs_receiver = packet.protocol != TCP and listener is None and not _is_echo(packet)
        if needs_receiver:  # a UDP port that a process has may well keep silent; see it arrive then
            receiver = receive_raw(packet.destination, packet.protocol, self._arrived)
            self._receivers[key] = receiver
            if receiver is not None:
                self._watch(receiver, select.EPOLLIN)
        self._listeners[key] = listener
        if listener is not None and listener.watched:
            self._watch(listener, select.EPOLLIN)

    def _open_source(self, name: str, attempts: list[Attempt]) -> None:
        """Send probes from one source; one that cannot be sent is settled at once."""
        try:
            with self._visiting(name):
                for attempt in attempts:
                    self._open(attempt)
        except LookupError as error:
            for attempt in attempts:
                self._cannot(attempt, f"could not be sent: {error}")
        except OSError as error:
            for attempt in attempts:
                if not attempt.sent_at:
                    self._cannot(attempt, f"could not be sent from {name}: {error_name(error.errno or errno.EIO)}")

    def _cannot(self, attempt: Attempt, why: str) -> None:
        attempt.failure = why
        attempt.sent_at = time.monotonic()
        self._outstanding.add(attempt)
        self._settle(attempt)

    def _open(self, attempt: Attempt) -> None:
        try:
            if attempt.packet.protocol in {TCP, UDP}:
                self._open_socket(attempt)
            else:
                self._open_crafted(attempt)
        except OSError as error:
            if attempt.sent_at:  # the failure is another's
                raise
            why = (
                "no such address there" if error.errno == errno.EADDRNOTAVAIL else error_name(error.errno or errno.EIO)
            )
            self._cannot(attempt, f"could not be sent from {attempt.packet.source}: {why}")

    def _open_socket(self, attempt: Attempt) -> None:
        client = open_client(attempt, self._settle, _PORTS)
        self._clients[attempt.index] = client
        key = _listener_key(attempt)
        client.by_process = self._listeners.get(key) is None
        if (receiver := self._receivers.get(key)) is not None:
            for source in _seen_as(attempt):
                receiver.expected[source, attempt.packet.source_port] = attempt
        interest = select.EPOLLOUT if attempt.packet.protocol == TCP else select.EPOLLIN
        self._sending(attempt)
        client.start()
        self._watch(client, interest | select.EPOLLET)

    def _sending(self, attempt: Attempt) -> None:
        attempt.sent_at = time.monotonic()
        self._outstanding.add(attempt)
        if attempt.packet.protocol != TCP:
            self._resends[0].append((attempt.sent_at + RESEND_AFTER[0], attempt))

    def _resend(self) -> None:
        """Send once more what has had neither answer nor drop; each attempt is counted in the evidence."""
        now = time.monotonic()
        for stage, waiting in enumerate(self._resends):
            while waiting and waiting[0][0] <= now:
                _, attempt = waiting.popleft()
                if attempt.settled_at is not None or self._outcomes[attempt.index] is not None:
                    continue
                if (client := self._clients.get(attempt.index)) is not None:
                    client.resend()
                elif (numbered := self._numbers.get(attempt.index)) is not None:
                    attempt.times_sent += 1
                    self._channels[numbered[0]].send(attempt, numbered[1])
                if stage + 1 < len(RESEND_AFTER):
                    self._resends[stage + 1].append((attempt.sent_at + RESEND_AFTER[stage + 1], attempt))

    def _open_crafted(self, attempt: Attempt) -> None:
        packet = attempt.packet
        number = _PORTS.next(attempt.alias or packet.source)
        key = attempt.probe.source, packet.protocol, packet.source
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = RawChannel(packet.source, packet.protocol, self._settle)
            self._watch(channel, select.EPOLLIN)
        if packet.protocol == SCTP:
            attempt.packet = Packet(
                source=packet.source,
                destination=packet.destination,
                protocol=SCTP,
                source_port=number,
                destination_port=packet.destination_port,
            )
        if (receiver := self._receivers.get(_listener_key(attempt))) is not None:
            for source in _seen_as(attempt):
                receiver.expected[source, number] = attempt
        self._numbers[attempt.index] = key, number
        self._sending(attempt)
        channel.send(attempt, number)

    def _leave_channel(self, attempt: Attempt, key: ChannelKey, number: int) -> None:
        if self._channels[key].forget(attempt, number):
            self._forget(self._channels.pop(key))

    def _leave_listener(self, attempt: Attempt, number: int) -> None:
        """Count a use of a listener, and close it after the last one."""
        key = _listener_key(attempt)
        if (receiver := self._receivers.get(key)) is not None:
            for source in _seen_as(attempt):
                receiver.expected.pop((source, number), None)
        self._uses[key] -= 1
        if self._uses[key] == 0:
            for listener in (self._listeners.pop(key, None), self._receivers.pop(key, None)):
                if listener is not None:
                    self._forget(listener)
