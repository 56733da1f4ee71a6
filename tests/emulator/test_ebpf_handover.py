"""Packets between two pods of a machine go past its stack, and everything else goes through it."""

import errno
import socket
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, ip, policy, program
from test_ebpf_adoption import END, connection

from emulator.dataplane import DATAPLANES
from emulator.dataplane.ebpf.bench import Bench, lacking, make_devices
from emulator.dataplane.ebpf.frames import ACK, FIN, RST, SYN, frame, ip_packet, transport, with_header
from reference.packet import Packet

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
HANDED_OVER, THROUGH_THE_HOST = 7, -1  # what TC is told
CLOSED = {"ingress": [("default", "deny", ["np:shop/no"])], "policies": [policy("np:shop/no")]}
PODS = ("cali1", "cali2")
MACS = {"1": b"\2\0\0\0\0\1", "2": b"\2\0\0\0\0\2", "host": b"\xee" * 6}


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


class Pair:
    """Pods 1 and 2 on a bench, whose interfaces lead straight into them, and one TCP connection, opened by pod 1."""

    def __init__(self, family=4, **more):
        self.node = Bench(make_devices())
        self.family = family
        self.apply(**more)
        names = dict(socket.if_nameindex())
        ip(*(f"link set {names[self.node.interfaces[pod]]} address {MACS['host'].hex(':')}" for pod in PODS))

    def apply(self, **more):
        """A program, and then packets are handed over."""
        self.node.apply(program(**more))
        self.hand_over(PODS)

    def hand_over(self, pods):
        """To these and no others."""
        self.node.tables.hand_over(frozenset(self.node.interfaces[name] for name in pods))

    def packet(self, source=1, port=80):
        """From one pod to the other."""
        net = "10.0.0." if self.family == 4 else "fd00::"
        ends = (1, 2, 40000, port) if source == 1 else (2, 1, port, 40000)
        return Packet(
            source=f"{net}{ends[0]}", destination=f"{net}{ends[1]}", protocol=6, source_port=ends[2],
            destination_port=ends[3],
        )  # fmt: skip

    def send(self, source=1, flags=ACK, data=None, mac=None):
        """What the program of the source's interface says, and what becomes of the frame."""
        data = data or ip_packet(self.packet(source), flags)
        sent = (mac or MACS["host"]) + MACS[str(source)] + frame(data)[12:]
        run = self.node.programs["egress"]
        result, _, _ = run(sent, self.node.interfaces[f"cali{source}"], came_by=0)
        return result, run.frame

    def arrive(self, target, flags=ACK):
        """The program of the destination's interface, for what went through the host or opens a flow."""
        data = ip_packet(self.packet(3 - target), flags)
        return self.node.run("ingress", f"cali{target}", data)

    def open(self):
        """The handshake."""
        said = [self.send(1, SYN)[0], self.arrive(2, SYN)]
        return [*said, self.send(2, SYN | ACK)[0], self.send(1, ACK)[0]]


def opened(family):
    """The handshake, data both ways, the end; then what is left when policy denied everything meanwhile."""
    pair = Pair(family)
    said = [pair.open(), pair.send(1)[0], pair.send(2)[0]]
    pair.apply(**CLOSED)
    said += [pair.send(1)[0], pair.send(2, FIN | ACK)[0], pair.send(1, FIN | ACK)[0], pair.send(2, ACK)[0]]
    said += [pair.send(1, SYN)[0], pair.arrive(2, SYN)]
    return said


@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_between_two_pods_goes_past_the_host(sandboxed, family):
    """From its first packet, which is judged at both ends; what opens it anew after its end is judged again."""
    handshake = [HANDED_OVER, "allowed", HANDED_OVER, HANDED_OVER]
    assert sandboxed(opened, family) == [handshake, *[HANDED_OVER] * 6, HANDED_OVER, END]


def rewritten(family):
    """The frame as it is received in the pod: its MAC addresses, its hop limit, and the sum over its header."""
    pair = Pair(family)
    pair.open()
    _, after = pair.send(1)
    before = frame(ip_packet(pair.packet(1), ACK))
    limit = 14 + (8 if family == 4 else 7)
    same = [at for at in range(14, len(before)) if before[at] != after[at]]
    changed = [limit, limit + 2] if family == 4 else [limit]
    words = struct.unpack("!10H", after[14:34]), struct.unpack("!10H", before[14:34])
    sums = [sum(each) % 0xFFFF for each in words]
    return [after[:6].hex(), after[6:12].hex(), after[limit], same == changed, sums[0] == sums[1] or family == 6]


@pytest.mark.parametrize("family", [4, 6])
def test_a_frame_looks_as_if_the_host_had_sent_it(sandboxed, family):
    """To the pod's own address, from the host's, one hop less, and a header whose sum still holds."""
    assert sandboxed(rewritten, family) == [MACS["2"].hex(), MACS["host"].hex(), 63, True, True]


def exceptions():
    """For each packet of an open connection: whether it is handed over."""
    pair = Pair()
    pair.open()
    one = pair.packet(1)
    body = transport(one, ACK)
    first = with_header(one, body, fragment=(0, True))
    dying = bytearray(ip_packet(one, ACK))
    dying[8] = 1
    with_options = bytearray(ip_packet(one, ACK))
    with_options[0:1], with_options[20:20] = b"\x46", b"\x94\4\0\0"  # router alert
    broadcast = b"\xff" * 6
    error = Packet(source="10.0.0.1", destination="10.0.0.2", protocol=1, icmp_type=3, icmp_code=1)
    quoted = struct.pack("!BBHI", 3, 1, 0, 0) + ip_packet(pair.packet(2), ACK)[:28]
    said = {
        "plain": pair.send()[0],
        "opens it": pair.send(flags=SYN)[0],
        "first fragment": pair.send(data=first)[0],
        "later fragment": pair.send(data=with_header(one, body, fragment=(4, False)))[0],
        "last hop": pair.send(data=bytes(dying))[0],
        "with options": pair.send(data=bytes(with_options))[0],
        "to all": pair.send(mac=broadcast)[0],
        "error about it": pair.send(data=with_header(error, quoted))[0],
        "to itself": pair.send(data=ip_packet(Packet(source="10.0.0.1", destination="10.0.0.1", protocol=17)))[0],
        "to a stranger": pair.send(data=ip_packet(Packet(source="10.0.0.1", destination="203.0.113.1", protocol=17)))[
            0
        ],
    }
    pair.hand_over(["cali1"])
    said["to an interface without programs"] = pair.send()[0]
    said["to the other one"] = pair.send(2)[0]
    pair.hand_over([])
    said["to no interface"] = pair.send(2, RST)[0]
    return said


def test_what_needs_the_host_goes_through_it(sandboxed):
    """Fragments, options, a last hop, errors, what is not for the host's link address, what is for no pod here."""
    said = sandboxed(exceptions)
    handed_over = {what for what, result in said.items() if result == HANDED_OVER}
    assert set(said.values()) == {HANDED_OVER, THROUGH_THE_HOST}
    assert handed_over == {"plain", "opens it", "to the other one"}


def large(family):
    """Packets of an open connection and of a new one, to an interface that takes 1,300 bytes: what becomes of each."""
    pair = Pair(family)
    pair.open()
    names = dict(socket.if_nameindex())
    ip(f"link set {names[pair.node.interfaces['cali2']]} mtu 1300")
    headers = len(ip_packet(pair.packet(1), ACK))
    said = {}
    for size in (1300, 1301):
        for what, flags, port in (("known", ACK, 80), ("new", SYN, 81)):
            one = pair.packet(1, port)
            data = with_header(one, transport(one, flags) + bytes(size - headers))
            said[f"{what}, {size}"] = pair.send(data=data)[0]
    return said


@pytest.mark.parametrize("family", [4, 6])
def test_a_packet_too_large_for_where_it_goes_is_left_to_the_host(sandboxed, family):
    """It cuts it into fragments or says how large one may be; what fits goes past it, to the last byte."""
    assert sandboxed(large, family) == {
        "known, 1300": HANDED_OVER,
        "new, 1300": HANDED_OVER,
        "known, 1301": THROUGH_THE_HOST,
        "new, 1301": THROUGH_THE_HOST,
    }


def translated():
    """An opening and the answer, where the pods' addresses are in no pool, and where they are in one."""
    pair, said = Pair(), []
    for pools in ([], ["10.0.0.0/32"], ["10.0.0.0/24"]):
        pair.node.forget_flows()
        pair.apply(nat_sources=frozenset(["10.0.0.0/24"]), pools=frozenset(pools))
        said.append(pair.open())
    return said


def test_what_may_be_translated_is_not_handed_over_before_it_was_not(sandboxed):
    """NAT-1: to an address in no pool an opening goes through the host, and what follows where it came untranslated."""
    through = [THROUGH_THE_HOST, "allowed", HANDED_OVER, HANDED_OVER]
    assert sandboxed(translated) == [through, through, [HANDED_OVER, "allowed", HANDED_OVER, HANDED_OVER]]


def forwarded():
    """How many packets the host's stack forwarded."""
    lines = [
        line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line.startswith("Ip:")
    ]
    six = dict(line.split() for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines())
    return int(dict(zip(*lines, strict=True))["ForwDatagrams"]), int(six["Ip6OutForwDatagrams"])


def live(family):
    """A connection between two pods: what the host forwarded of it, what it tracked; and that a trace sees it all."""
    lab = Lab("ebpf")
    lab.apply(program())
    before = forwarded()
    with connection(lab, 80, family=family) as talk:
        said = [talk("hello"), [now - then for now, then in zip(forwarded(), before, strict=True)]]
        one = Packet(source=lab.address(1, family), destination=lab.address(2, family), protocol=6, destination_port=80)
        trace = lab.dataplane.trace("node-1", one)
        said.append(talk("traced"))
        steps = trace.steps()
        trace.close()
        said.append(sorted({step.chain for step in steps}))
        said.append(talk("again"))
    return said


@pytest.mark.parametrize("family", [4, 6])
def test_the_host_forwards_nothing_between_its_pods(sandboxed, family):
    """Not one packet, while nobody looks; a packet that is traced is seen at both interfaces."""
    hops = ["egress of cali1", "ingress of cali2"]
    assert sandboxed(live, family) == ["hello", [0, 0], "traced", hops, "again"]


def told_of_the_size(family):
    """What a sender of 1,400 bytes that may not be cut learns about a flow to an interface that takes 1,300."""
    lab = Lab("ebpf")
    lab.apply(program())
    ip("link set cali2 mtu 1300")
    kinds = (socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    with lab.socket_in(2, *kinds) as server, lab.socket_in(1, *kinds) as client:
        server.bind((lab.address(2, family), 80))
        level, never_cut = (socket.IPPROTO_IP, 10) if family == 4 else (socket.IPPROTO_IPV6, 23)
        client.setsockopt(level, never_cut, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        client.connect((lab.address(2, family), 80))
        client.send(b"opens the flow")
        _, back = server.recvfrom(2000)
        server.sendto(b"answers it", back)
        client.recv(2000)
        client.settimeout(2)
        client.send(bytes(1400))
        try:
            client.recv(2000)
        except OSError as error:
            return [type(error).__name__, error.errno, client.getsockopt(level, 14 if family == 4 else 24)]  # the MTU
    return "nothing"


@pytest.mark.parametrize("family", [4, 6])
def test_who_sends_too_much_is_told_how_much_would_do(sandboxed, family):
    """The host's ICMP error about a flow of which it has not seen a packet reaches who sent it (CT-4)."""
    assert sandboxed(told_of_the_size, family) == ["OSError", errno.EMSGSIZE, 1300]


def left_behind(family):
    """A connection between two pods under eBPF, then under nftables alone with a program that denies all."""
    lab = Lab("ebpf")
    lab.apply(program())
    with connection(lab, 80, family=family) as talk:
        said = [talk("under eBPF")]
        old, lab.dataplane = lab.dataplane, DATAPLANES["nftables"]()
        lab.drops.close()
        lab.drops = lab.dataplane.drops("node-1")
        lab.apply(program(**CLOSED))
        said.append(talk("under both"))
        old.clean()
        said += [talk("under nftables"), talk("for ever"), lab.tcp(1, 2, 82, family)]
    return said


@pytest.mark.parametrize("family", [4, 6])
def test_the_kernel_is_told_of_connections_it_has_not_seen(sandboxed, family):
    """CT-2 across dataplanes: what went past the stack is established for the next one, though it denies it anew."""
    assert sandboxed(left_behind, family) == [
        "under eBPF",
        "under both",
        "under nftables",
        "for ever",
        f"{END} at cali2",
    ]


def moved():
    """Addresses that go from one pod to another, and away: where an opening goes in each generation."""
    pair = Pair()
    pair.open()
    said = [pair.send()[0]]
    pair.node.apply(program(pods=(1,)))
    said.append(pair.send()[0])
    pair.node.apply(program(pods=(1, 2)))
    said.append(pair.send()[0])
    pair.hand_over(PODS)
    said.append(pair.send()[0])
    return said


def test_a_pod_that_goes_is_handed_nothing(sandboxed):
    """With the flip that forgets it, and not before it is known again and its interface carries the programs."""
    assert sandboxed(moved) == [HANDED_OVER, THROUGH_THE_HOST, THROUGH_THE_HOST, HANDED_OVER]


def failed_once():
    """An apply that fails when all is decided and attached, and the next one: the interfaces packets go straight to."""
    lab = Lab("ebpf")
    guard = lab.dataplane._guard
    update, guard.update = guard.update, lambda *_: 1 / 0
    looked, lab.dataplane._attachments.leading_into_pods = lab.dataplane._attachments.leading_into_pods, lambda: 1 / 0
    said = []
    for repaired in ("nothing", "the look", "the guard"):
        if repaired == "the look":
            lab.dataplane._attachments.leading_into_pods = looked
        if repaired == "the guard":
            guard.update = update
        try:
            lab.apply(program())
        except ZeroDivisionError:
            said.append("failed")
    pods = lab.dataplane._object.maps["pods"]
    there = {place & 0xFFFF for _, value in pods.items() for place in struct.unpack("=II", value)} - {0}
    return [said, sorted(there) == sorted(map(socket.if_nametoindex, PODS)), lab.tcp(1, 2, 80)]


def test_an_apply_that_failed_at_its_end_is_made_up_for(sandboxed):
    """What leads into pods is looked for again, and the guard told again, though nothing else is new."""
    assert sandboxed(failed_once) == [["failed", "failed"], True, "allowed"]


def attached_late():
    """A pod that comes to a running node: whether packets were handed over to it before its programs were there."""
    lab = Lab("ebpf")
    lab.apply(program(pods=(1, 2, 3)))
    lab._pod(4)
    new, attach = socket.if_nametoindex("cali4"), lab.dataplane._attachments.attach
    seen = []

    def known():
        pods = lab.dataplane._object.maps["pods"]
        return any(new in (place & 0xFFFF for place in struct.unpack("=II", value)) for _, value in pods.items())

    def observed(interfaces, *rest):
        if "cali4" in interfaces:
            seen.append(known())
        attach(interfaces, *rest)
        if "cali4" in interfaces:
            seen.append(known())

    lab.dataplane._attachments.attach = observed
    lab.apply(program(pods=(1, 2, 3, 4)))
    seen.append(known())
    before = forwarded()[0]
    return [seen, lab.tcp(1, 4, 80), forwarded()[0] - before]


def test_nothing_is_handed_over_to_an_interface_without_programs(sandboxed):
    """A pod that is new is judged from its first packet: its interface carries the programs before it is handed any."""
    assert sandboxed(attached_late) == [[False, False, True], "allowed", 0]
