"""A stream of probes between two pods of the lab, and random programs under which the verdict of each never changes.

The sender and the receiver are processes of their own, so that what applies programs does not slow them. A probe that
must pass and is not received is a hiccup; one that must not pass and is received is a hole.
"""

import mmap
import os
import random
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nftables_lab import nets, policy, program, rule

from emulator import sysctl
from emulator.namespaces import entered

ALLOWED, DENIED, ONLY_FRIENDS, STREAM = 7001, 7002, 7003, 7004
RATE = 8000  # probes a second, of all kinds
TICK = 0.002
MOST_AT_ONCE = 100  # probes of each kind in one go, when the sender was kept waiting
DRAIN = 0.4  # seconds without a packet after which nothing is under way any more
STARTED, STOP = 0, 1  # places in the shared memory; then what was sent of each kind, then what was received

# kind: (family, destination port, whether each probe is a flow of its own)
KINDS = {
    "established IPv4": (4, ALLOWED, False),
    "established IPv6": (6, ALLOWED, False),
    "new IPv4": (4, ALLOWED, True),
    "new IPv6": (6, ALLOWED, True),
    "denied IPv4": (4, DENIED, True),
    "denied IPv6": (6, DENIED, True),
    "no friend IPv4": (4, ONLY_FRIENDS, True),
    "no friend IPv6": (6, ONLY_FRIENDS, True),
}
PASSING = [kind for kind, (_, port, _) in KINDS.items() if port == ALLOWED]
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_IPV6_CHECKSUM, _TCP_INFO_RETRANSMITS = 7, 100
_SENT, _RECEIVED = 2, 2 + len(KINDS)
_OF_STREAM = 2 + 2 * len(KINDS)  # bytes sent, bytes received, segments sent again


class Traffic:
    """Probes from pod 1 to pod 2 until `stop`, and one TCP connection that goes on all the time."""

    def __init__(self, lab):
        """Begin; returns once probes flow."""
        self._lab = lab
        self._memory = mmap.mmap(-1, 8 * (_OF_STREAM + 3))
        self._counts = memoryview(self._memory).cast("Q")
        with entered(lab.hosts[1]):  # a probe for a loss that is none would look like one
            sysctl.write({"net/ipv4/tcp_early_retrans": "0"})
        self._open()
        self._children = [self._fork(self._receive), self._fork(self._send)]
        began = time.monotonic()
        while sum(self._counts[_RECEIVED : _RECEIVED + len(KINDS)]) < RATE // 10:
            assert time.monotonic() < began + 10, "no probes flow"
            time.sleep(0.02)

    def _open(self):
        lab, stream = self._lab, socket.SOCK_STREAM
        self._inboxes = []
        for family, port in sorted({(family, port) for family, port, _ in KINDS.values()}):
            inbox = lab.socket_in(2, _FAMILIES[family], socket.SOCK_DGRAM)
            self._inboxes.append(inbox)
            inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
            with suppress(PermissionError):
                inbox.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
            inbox.bind((lab.address(2, family), port))
            inbox.setblocking(False)
        with lab.socket_in(2, socket.AF_INET, stream) as server:
            server.bind((lab.address(2), STREAM))
            server.listen()
            self._outgoing = lab.socket_in(1, socket.AF_INET, stream)
            self._outgoing.settimeout(5)
            self._outgoing.connect((lab.address(2), STREAM))
            self._incoming, _ = server.accept()

    def _fork(self, work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                signal.alarm(50)
                work()
            finally:
                os._exit(0)
        return pid

    # -- sender --------------------------------------------------------------------------------------------------------

    def _send(self):
        senders = [self._sender(kind, *about) for kind, about in enumerate(KINDS.values())]
        counts, stream = self._counts, self._outgoing
        stream.setblocking(False)
        began, ticks = time.monotonic(), 0
        while not counts[STOP]:
            due = int((time.monotonic() - began) * RATE / len(KINDS))
            for _ in range(min(due - ticks, MOST_AT_ONCE)):
                for place, send in enumerate(senders, _SENT):
                    send(counts[place])
                    counts[place] += 1
                ticks += 1
            with suppress(BlockingIOError):
                counts[_OF_STREAM] += stream.send(b"muslin")
            time.sleep(TICK)
        stream.shutdown(socket.SHUT_WR)
        until = time.monotonic() + 5
        while stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x05" and time.monotonic() < until:
            time.sleep(0.02)  # FIN_WAIT2: all of it is acknowledged
        info = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        counts[_OF_STREAM + 2] = struct.unpack_from("=I", info, _TCP_INFO_RETRANSMITS)[0]

    def _sender(self, kind, family, port, is_new):
        """Sends one probe of a kind; its first byte says which."""
        destination, payload = self._lab.address(2, family), bytes([kind])
        if not is_new:
            bound = self._lab.socket_in(1, _FAMILIES[family], socket.SOCK_DGRAM)
            bound.connect((destination, port))
            return lambda _: bound.send(payload)
        raw = self._lab.socket_in(1, _FAMILIES[family], socket.SOCK_RAW, socket.IPPROTO_UDP)
        if family == 6:
            raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, 6)

        def send(number):
            source_port = 1024 + number % 64000
            raw.sendto(struct.pack("!HHHH", source_port, port, 9, 0) + payload, (destination, 0))

        return send

    # -- receiver ------------------------------------------------------------------------------------------------------

    def _receive(self):
        counts = self._counts
        with select.epoll() as ready:
            sockets = {one.fileno(): one for one in (*self._inboxes, self._incoming)}
            for descriptor in sockets:
                ready.register(descriptor, select.EPOLLIN)
            quiet = time.monotonic()
            while not counts[STOP] or time.monotonic() < quiet + DRAIN:
                for descriptor, _ in ready.poll(0.05):
                    one = sockets[descriptor]
                    if one is not self._incoming:
                        self._empty(one)
                        quiet = time.monotonic()
                    elif data := one.recv(1 << 16):
                        counts[_OF_STREAM + 1] += len(data)
                    else:
                        ready.unregister(descriptor)

    def _empty(self, inbox):
        with suppress(BlockingIOError):
            while True:
                self._counts[_RECEIVED + inbox.recv(64)[0]] += 1

    # -- the end -------------------------------------------------------------------------------------------------------

    def stop(self):
        """End the stream: what was sent, what did not arrive and should have, what arrived and should not have."""
        self._counts[STOP] = 1
        for child in self._children:
            os.waitpid(child, 0)
        sent = dict(zip(KINDS, self._counts[_SENT:_RECEIVED], strict=True))
        received = dict(zip(KINDS, self._counts[_RECEIVED:_OF_STREAM], strict=True))
        stream_sent, stream_received, again = self._counts[_OF_STREAM:]
        return {
            "sent": sum(sent.values()),
            "hiccups": {kind: sent[kind] - received[kind] for kind in PASSING if sent[kind] != received[kind]},
            "holes": {kind: received[kind] for kind in KINDS if kind not in PASSING and received[kind]},
            "stream": [stream_sent - stream_received, again],
            "overrun": self._overrun(),
        }

    def _overrun(self):
        """Datagrams the receiver was too slow for: they say nothing about dataplanes."""
        with entered(self._lab.hosts[2]):
            names, values = [
                line.split()[1:] for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
                if line.startswith("Udp:")
            ]  # fmt: skip
            of_6 = dict(line.split() for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines())
        return int(dict(zip(names, values, strict=True))["RcvbufErrors"]) + int(of_6["Udp6RcvbufErrors"])


def programs(seed):
    """Endless random programs, each a small or large step from the one before; no probe's verdict ever changes.

    What changes: the order and number of policies, tiers, rules and pods, the members of sets, the way out of the
    cluster.
    """
    dice = random.Random(seed)
    fillers = {}
    while True:
        for _ in range(dice.randint(1, 3)):
            name = f"np:shop/filler-{dice.randrange(8)}"
            if fillers.pop(name, None) is None:
                fillers[name] = policy(name, _filler_rules(dice), _filler_rules(dice))
        names = list(fillers)
        base, way_out = _base(dice), policy("np:shop/out", egress=[*_filler_rules(dice), rule("allow", 9)])
        ingress = [("default", "deny", _shuffled(dice, [base.id, *names]))]
        if names and dice.random() < 0.5:
            ingress.insert(0, ("admin", "pass", dice.sample(names, 1)))
        egress = [("default", "deny", _shuffled(dice, [way_out.id, *names]))] if dice.random() < 0.5 else []
        friends = [f"10.0.{dice.randrange(1, 255)}.0/24" for _ in range(dice.choice((0, 1, 5, 300)))]
        clients = dice.choice(
            (["10.0.0.1/32", "fd00::1/128"], ["10.0.0.0/30", "fd00::/64"], ["10.0.0.0/24", "fd00::/120"])
        )
        yield program(
            ingress=ingress,
            egress=egress,
            policies=[base, way_out, *fillers.values()],
            sets=[
                *nets("nfriends", "10.0.0.3/32", f"fd00::{dice.randrange(3, 9999)}/128", *set(friends)),
                *nets("nclients", *clients, *(f"10.1.0.{dice.randrange(256)}/32" for _ in range(dice.randrange(4)))),
            ],
            pods=(1, 2, 3) if dice.random() < 0.5 else (1, 2),
            nat_sources=frozenset(["10.0.0.0/16"] if dice.random() < 0.5 else []),
            pools=frozenset(["10.0.0.0/16"]),
        )  # fmt: skip


def _base(dice):
    """The policy that decides the probes; what stands between its rules concerns none of them."""
    decisive = [
        rule("allow", 0, protocol=17, destination_ports=(ALLOWED,), source_sets=("nclients",)),
        rule("deny", 1, protocol=17, destination_ports=(DENIED,)),
        rule("allow", 2, protocol=17, destination_ports=(ONLY_FRIENDS,), source_sets=("nfriends",)),
        rule("allow", 3, protocol=6, destination_ports=(STREAM,)),
    ]
    rules = _shuffled(dice, [*decisive, *_filler_rules(dice)])
    return policy("np:shop/base", rules)


def _filler_rules(dice):
    """Rules of ports, protocols and addresses that no probe has."""
    made = [
        rule(dice.choice(("allow", "deny", "pass")), 10 + number, protocol=dice.choice((6, 17)),
             destination_ports=(dice.randrange(8000, 9000), (9000, dice.randrange(9001, 9999))))
        for number in range(dice.randrange(3))
    ]  # fmt: skip
    made += [rule("deny", 20, source_nets=(f"10.9.{dice.randrange(256)}.0/24",)) for _ in range(dice.randrange(2))]
    return made


def _shuffled(dice, items):
    return dice.sample(items, len(items))
