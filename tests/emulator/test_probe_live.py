"""Probes against a real kernel: a router and four pods in a sandbox, with rules that drop, log, or only say so.

The tests start this file again inside a sandbox of its own; what fails there fails here, with its output.
"""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from emulator.dataplane.contract import Drop, RuleRef
from emulator.namespaces import NetworkNamespace, create, entered
from emulator.probe.sockets import Prober
from emulator.probe.types import Outcome, Probe
from reference.errors import InvalidInputError
from reference.packet import Packet, protocol_number

ROOT = Path(__file__).parents[2]
SANDBOX = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def in_sandbox(name: str) -> None:
    """Run a function of this file in a sandbox of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = [SANDBOX[0], *user, *SANDBOX[1:], sys.executable, __file__, name]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stdout + done.stderr


class NflogSource:
    """Reads NFLOG group 1 of the calling thread's namespace; the log prefix is the name of the policy."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        with contextlib.suppress(PermissionError):  # the machine's root only
            self._socket.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        bind, mode, threshold = (self._attribute(1, b"\1"), self._attribute(2, b"\0\0\0\x80\2\0"), (5, b"\0\0\0\1"))
        for attributes in (bind, mode + self._attribute(*threshold)):
            body = struct.pack("!BBH", 0, 0, 1) + attributes
            self._socket.send(struct.pack("=IHHII", 16 + len(body), 4 << 8 | 1, 5, 1, 0) + body)
            assert struct.unpack_from("=i", self._socket.recv(4096), 16) == (0,)
        self._socket.setblocking(False)

    @staticmethod
    def _attribute(kind, value):
        return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)

    def fileno(self):
        """The descriptor."""
        return self._socket.fileno()

    def drain(self):
        """Every drop so far."""
        drops = []
        while True:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                return drops
            while data:
                length = struct.unpack_from("=I", data)[0]
                drops.append(self._drop(data[20:length]))
                data = data[(length + 3) // 4 * 4 :]

    def _drop(self, attributes):
        found = {}
        while attributes:
            length, kind = struct.unpack_from("=HH", attributes)
            found[kind & 0x3FFF] = attributes[4:length]
            attributes = attributes[(length + 3) // 4 * 4 :]
        rule = RuleRef(rule=0, policy=found[10].rstrip(b"\0").decode())
        return Drop(node="node-1", rule=rule, packet=self._packet(found[9]), interface="")

    @staticmethod
    def _packet(data):
        six = data[0] >> 4 == 6
        family, ends = (socket.AF_INET6, (8, 24, 40)) if six else (socket.AF_INET, (12, 16, 20))
        source, destination = (socket.inet_ntop(family, data[a:b]) for a, b in pairwise(ends))
        protocol, rest = (data[6], data[40:]) if six else (data[9], data[(data[0] & 15) * 4 :])
        if protocol in {1, 58}:
            return Packet(
                source=source, destination=destination, protocol=protocol, icmp_type=rest[0], icmp_code=rest[1]
            )
        ports = struct.unpack_from("!HH", rest)
        return Packet(
            source=source, destination=destination, protocol=protocol, source_port=ports[0], destination_port=ports[1]
        )


RULES = """
table inet t {
  chain forward {
    type filter hook forward priority 0;
    ct state established accept
    ip daddr 10.1.0.2 tcp dport 81 log prefix "tcp81" group 1 drop
    ip6 daddr fd00::2 tcp dport 81 log prefix "tcp81" group 1 drop
    udp dport 81 log prefix "udp81" group 1 drop
    sctp dport 81 log prefix "sctp81" group 1 drop
    ip daddr 10.1.0.3 meta l4proto icmp log prefix "icmp" group 1 drop
    ip6 daddr fd00::3 icmpv6 type echo-request log prefix "icmp" group 1 drop
    tcp dport 82 log prefix "liar" group 1 accept
    udp dport 82 log prefix "liar" group 1 accept
    tcp dport 83 drop
    udp dport 83 drop
  }
  chain answers {
    type filter hook forward priority -10;
    tcp sport 84 log prefix "answers" group 1 drop
    udp sport 84 log prefix "answers" group 1 drop
    icmp type echo-reply ip saddr 10.1.0.4 log prefix "answers" group 1 drop
    sctp sport 84 log prefix "answers" group 1 drop
  }
}
"""


def ip(*lines: str) -> None:
    """Several `ip` commands."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


class Lab:
    """Four pods behind the sandbox's own namespace, which routes and filters."""

    def __init__(self, pods: int = 4, rules: str = RULES) -> None:
        ip("link set lo up")
        self.spaces: dict[str, NetworkNamespace] = {}
        for number in range(1, pods + 1):
            self._pod(number)
        for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", family).write_text("1")
        Path("/proc/sys/net/ipv4/icmp_ratemask").write_text("0")  # or the router tells only the first of many
        Path("/proc/sys/net/ipv6/icmp/ratelimit").write_text("0")
        self.drops = NflogSource()
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        self.prober = Prober(self.namespace, [self.drops])

    def _pod(self, number: int) -> None:
        space = self.spaces[f"default/pod-{number}"] = create()
        mac = f"02:00:00:00:00:{number:02x}"
        ip(f"link add p{number} address ee:ee:ee:ee:ee:ee type veth peer name q{number} address {mac}")
        subprocess.run(["ip", "link", "set", f"q{number}", "netns", f"/proc/{os.getpid()}/fd/{space.fd}"], check=True)
        with entered(space):
            lines = ["link set lo up", f"link set q{number} up", f"addr add {self.v4(number)}/32 dev q{number}"]
            lines += [f"addr add {self.v6(number)}/128 dev q{number} nodad"]
            for everything, gateway in (("0.0.0.0/0", "169.254.1.1"), ("::/0", "fe80::1")):
                lines += [f"neigh add {gateway} lladdr ee:ee:ee:ee:ee:ee dev q{number} nud permanent"]
                lines += [f"route add {everything} via {gateway} dev q{number} onlink"]
            ip(*lines)
        ip(
            f"link set p{number} up",
            f"route add {self.v4(number)}/32 dev p{number}",
            f"route add {self.v6(number)}/128 dev p{number}",
            f"neigh add {self.v4(number)} lladdr {mac} dev p{number} nud permanent",
            f"neigh add {self.v6(number)} lladdr {mac} dev p{number} nud permanent",
        )

    @staticmethod
    def v4(number: int) -> str:
        """The IPv4 address of a pod."""
        return f"10.1.{number // 256}.{number % 256}"

    @staticmethod
    def v6(number: int) -> str:
        """The IPv6 address of a pod."""
        return f"fd00::{number:x}"

    def namespace(self, name: str) -> NetworkNamespace:
        """The namespace of a pod."""
        return self.spaces[name]

    def ask(self, *questions: tuple, deadline: float = 1.0, family: int = 4) -> list[Outcome]:
        """Probe from pod to pod (by number, or to an address), protocol and port."""
        address = self.v4 if family == 4 else self.v6
        probes, packets = [], []
        for source, destination, protocol, port in questions:
            number = 58 if protocol == "ICMP" and family == 6 else protocol_number(protocol)
            target = destination if isinstance(destination, str) else address(destination)
            name = destination if isinstance(destination, str) else f"default/pod-{destination}"
            probes.append(Probe(source=f"default/pod-{source}", destination=name, protocol=protocol, port=port))
            packets.append(Packet(source=address(source), destination=target, protocol=number, destination_port=port))
        return self.prober.probe_many(probes, packets, 1, deadline)


def check(lab: Lab, cases: list, **options) -> None:
    """Fail unless each question has its result, and the evidence says what it should."""
    outcomes = lab.ask(*(case[0] for case in cases), **options)
    wrong = [
        (case, outcome.result, outcome.evidence)
        for case, outcome in zip(cases, outcomes, strict=True)
        if outcome.result != case[1] or case[2] not in outcome.evidence
    ]
    assert not wrong, "\n".join(map(str, wrong[:10]))


CASES = [
    ((1, 2, "TCP", 80), "allowed", "connected"),
    ((1, 2, "UDP", 80), "allowed", "echo answered"),
    ((1, 2, "SCTP", 80), "allowed", "association answered"),
    ((1, 2, "ICMP", 0), "allowed", "echo reply"),
    ((1, 2, "TCP", 81), "denied", "tcp81"),
    ((1, 2, "UDP", 81), "denied", "udp81"),
    ((1, 2, "SCTP", 81), "denied", "sctp81"),
    ((1, 3, "ICMP", 0), "denied", "icmp"),
    ((1, 2, "TCP", 82), "unknown", "contradiction"),
    ((1, 2, "UDP", 82), "unknown", "contradiction"),
    ((1, 2, "TCP", 83), "unknown", "no evidence"),
    ((1, 2, "UDP", 83), "unknown", "no evidence"),
    ((1, 2, "TCP", 84), "denied", "the answer was dropped"),
    ((1, 2, "UDP", 84), "denied", "the answer was dropped"),
    ((1, 2, "SCTP", 84), "denied", "the answer was dropped"),
    ((3, 3, "TCP", 81), "allowed", "connected"),
    ((3, 3, "UDP", 81), "allowed", "echo answered"),
    ((3, 3, "ICMP", 0), "allowed", "echo reply"),
    ((3, 3, "SCTP", 81), "allowed", "association answered"),
]
FOUR = [
    ((1, 4, "ICMP", 0), "denied", "the answer was dropped"),
    ((1, "192.0.2.1", "TCP", 80), "unreachable", "ENETUNREACH"),
    ((1, "192.0.2.1", "UDP", 80), "unreachable", "ENETUNREACH"),
    ((1, "192.0.2.1", "ICMP", 0), "unreachable", "ENETUNREACH"),
    ((1, "192.0.2.1", "SCTP", 80), "unreachable", "ENETUNREACH"),
]


def every_kind_of_evidence() -> None:
    """Each kind of packet fate gives its own result and evidence, for both families."""
    lab = Lab()
    check(lab, CASES + FOUR)
    check(lab, CASES, family=6)


def evidence_is_not_confused_under_load() -> None:
    """Each of many probes at once gets its own outcome, the same as alone."""
    lab = Lab()
    check(lab, [case for case in CASES for _ in range(60)])


def processes_of_the_user() -> None:
    """A port that a process of the pod has stays its own, and a packet to it is still seen to arrive."""
    lab = Lab()
    with entered(lab.spaces["default/pod-2"]):
        tcp = socket.create_server(("0.0.0.0", 9000))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", 9000))
    check(
        lab,
        [
            ((1, 2, "TCP", 9000), "allowed", "connected to a process of the destination"),
            ((1, 2, "UDP", 9000), "allowed", "arrived at the destination"),
            ((1, 2, "TCP", 9001), "allowed", "connected"),
        ],
    )
    tcp.close()
    udp.close()


def refusals() -> None:
    """A closed port behind an address whose namespace is unknown refuses: that is an answer."""
    lab = Lab()
    for family in (4, 6):
        target = lab.v4(2) if family == 4 else lab.v6(2)
        questions = [
            ((1, target, "TCP", 80), "allowed", "reset"),
            ((1, target, "UDP", 80), "allowed", "port unreachable"),
        ]
        check(lab, questions, family=family)


def strange_sources() -> None:
    """A probe that cannot be sent is unknown, says why, and does not harm the others."""
    lab = Lab()
    lab.spaces["default/pod-9"] = lab.spaces["default/pod-1"]
    questions = [
        ((9, 2, "TCP", 80), "unknown", "no such address"),
        ((9, 2, "ICMP", 80), "unknown", "no such address"),
        ((77, 2, "UDP", 80), "unknown", "could not be sent"),
    ]
    check(lab, questions)
    with contextlib.suppress(InvalidInputError):
        lab.prober.probe_many([Probe(source="a", destination="b")], [], 1)
        raise AssertionError("as many packets as probes are needed")


def nothing_is_left_open() -> None:
    """A batch closes its sockets, and leaves no TIME_WAIT behind in either namespace."""
    lab = Lab()
    lab.ask((1, 2, "TCP", 80))
    before = len(list(Path("/proc/self/fd").iterdir()))
    lab.ask(*[(1, 2, protocol, port) for protocol in ("TCP", "UDP", "ICMP", "SCTP") for port in (80, 81)])
    assert before == len(list(Path("/proc/self/fd").iterdir()))
    for pod in ("default/pod-1", "default/pod-2"):
        with entered(lab.spaces[pod]):
            assert len(Path("/proc/thread-self/net/tcp").read_text().splitlines()) == 1
            assert len(Path("/proc/thread-self/net/udp").read_text().splitlines()) == 1


def answers_come_back_where_the_caller_was() -> None:
    """The calling thread is in its own namespace afterwards, and outcomes come in the order of the probes."""
    lab = Lab()
    home = Path("/proc/thread-self/ns/net").readlink()
    questions = [(1 + i % 4, 1 + i // 4 % 4, "TCP", 80 + i % 2) for i in range(64)]
    outcomes = lab.ask(*questions)
    assert home == Path("/proc/thread-self/ns/net").readlink()
    assert [(f"default/pod-{a}", f"default/pod-{b}", port) for a, b, _, port in questions] == [
        (o.probe.source, o.probe.destination, o.probe.port) for o in outcomes
    ]
    assert len({(o.packet.source, o.packet.source_port) for o in outcomes}) == 64


def rate() -> None:
    """Say how many probes a second there are, allowed and denied together."""
    lab = Lab(pods=30)
    questions = [
        (a, b, protocol, port)
        for a in range(1, 31)
        for b in range(1, 31)
        if a != b
        for protocol, port in (("TCP", 80), ("TCP", 90), ("UDP", 80), ("UDP", 81), ("ICMP", 0))
    ]
    for _ in range(3):
        started = time.perf_counter()
        outcomes = lab.ask(*questions)
        took = time.perf_counter() - started
        results = {kind: sum(o.result == kind for o in outcomes) for kind in ("allowed", "denied", "unknown")}
        sys.stdout.write(f"{len(questions) / took:.0f} probes/s {results}\n")


@pytest.mark.live
@pytest.mark.parametrize(
    "case",
    [
        every_kind_of_evidence,
        evidence_is_not_confused_under_load,
        processes_of_the_user,
        refusals,
        strange_sources,
        nothing_is_left_open,
        answers_come_back_where_the_caller_was,
    ],
    ids=lambda case: case.__name__,
)
def test_live(case):
    """What the named function says holds in a sandbox of its own."""
    in_sandbox(case.__name__)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
