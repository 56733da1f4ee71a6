"""The eBPF programs on crafted frames, with no network: connections, fragments, errors, guards, generations."""

import struct
import sys
from pathlib import Path

import msgspec
import pytest
from immutables import Map

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import nets, policy, program, rule

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.bench import Bench, lacking, make_devices
from emulator.dataplane.ebpf.frames import ACK, FIN, RST, SYN, ip_packet, transport, with_header
from reference.packet import Packet
from reference.program.types import HostEndpointProgram

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
CLOSED = {"ingress": [("default", "deny", ["np:shop/no"])], "policies": [policy("np:shop/no")]}
END = "deny by end of tier (ingress, tier default)"


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def bench(wanted=None):
    """A node with pods 1 and 2, open to each other unless said otherwise."""
    node = Bench(make_devices())
    node.apply(wanted or program(), host=("192.0.2.1", "2001:db8::1"))
    return node


def tcp(source=1, target=2, port=80, family=4, source_port=40000):
    """A packet between pods, by number, or from and to addresses."""
    return of(6, source, target, family, source_port=source_port, destination_port=port)


def of(protocol, source, target, family=4, **more):
    """A packet of any protocol."""
    ends = [
        end if isinstance(end, str) else f"10.0.0.{end}" if family == 4 else f"fd00::{end}" for end in (source, target)
    ]
    return Packet(source=ends[0], destination=ends[1], protocol=protocol, **{"source_port": 0, **more})


def icmp(kind, source=1, target=2, family=4, code=0):
    """An ICMP message."""
    return of(1 if family == 4 else 58, source, target, family, icmp_type=kind, icmp_code=code)


def connections():
    """Segments of connections into pod 2, by another machine, while policy changes."""
    node = bench()

    def into(flags, **more):
        return node.run("ingress", "cali2", ip_packet(tcp(**more), flags))

    def back(flags, **more):
        return node.run("egress", "cali2", ip_packet(tcp(2, 1, more.get("source_port", 40000), source_port=80), flags))

    found = {"no flow": into(ACK), "answer to nothing": into(SYN | ACK), "reset of nothing": into(RST)}
    found |= {"opening": into(SYN), "answer": back(SYN | ACK), "data": into(ACK)}
    half = into(SYN, source_port=40001)
    node.apply(program(**CLOSED), host=())
    found |= {"data after denial": into(ACK), "answer after denial": back(ACK), "opening again": into(SYN)}
    found |= {"half open before": half, "half open, after denial": into(SYN, source_port=40001)}
    found["half open, its answer"] = back(SYN | ACK, source_port=40001)
    found["other port after denial"] = into(SYN, source_port=40002)
    found["fin"] = into(FIN | ACK), back(FIN | ACK), into(ACK)
    found["opening after fin"] = into(SYN)
    return found


def test_connections(sandboxed):
    """CT-2: answered flows outlive policy; each opening without an answer is judged; a closed flow is a new one."""
    assert sandboxed(connections) == {
        "no flow": "invalid (ingress)",
        "answer to nothing": "invalid (ingress)",
        "reset of nothing": "invalid (ingress)",
        "opening": "allowed",
        "answer": "allowed",
        "data": "allowed",
        "data after denial": "allowed",
        "answer after denial": "allowed",
        "opening again": "allowed",
        "half open before": "allowed",
        "half open, after denial": END,
        "half open, its answer": "allowed",
        "other port after denial": END,
        "fin": ["allowed", "allowed", "allowed"],
        "opening after fin": END,
    }


def legs():
    """What the source's leg learns, the destination's must not know (each interface judges for itself)."""
    node = bench(program(**CLOSED))
    frame = ip_packet(tcp())
    return [node.run("egress", "cali1", frame), node.run("ingress", "cali2", frame)]


def test_legs(sandboxed):
    """POL-18: a flow allowed on the way out is judged again on the way in, on the same node too."""
    assert sandboxed(legs) == ["allowed", END]


def echoes():
    """Echo requests and replies in both directions with the same identifier."""
    node = bench(program(**CLOSED))
    found = {}
    for family, (request, reply) in ((4, (8, 0)), (6, (128, 129))):
        found[f"request out {family}"] = node.run("egress", "cali2", ip_packet(icmp(request, 2, 1, family)))
        found[f"reply {family}"] = node.run("ingress", "cali2", ip_packet(icmp(reply, 1, 2, family)))
        found[f"reply, other id {family}"] = node.run("ingress", "cali2", ip_packet(icmp(reply, 1, 2, family), echo=2))
        found[f"request in {family}"] = node.run("ingress", "cali2", ip_packet(icmp(request, 1, 2, family)))
    return found


def test_echoes(sandboxed):
    """A reply needs a request of its identifier; a request the other way is a flow of its own."""
    said = {"request out": "allowed", "reply": "allowed", "reply, other id": "invalid (ingress)", "request in": END}
    assert sandboxed(echoes) == {f"{name} {family}": what for name, what in said.items() for family in (4, 6)}


def errors():
    """ICMP errors from a router about flows of pod 2, and about none."""
    node = bench(program(**CLOSED))
    found = {}
    for family, router, kind in ((4, "203.0.113.9", 3), (6, "2001:db8:9::9", 1)):
        for name, known in (
            ("known", of(17, 2, 1, family, source_port=5000, destination_port=53)),
            ("echo", icmp(8 if family == 4 else 128, 2, 1, family)),
        ):
            node.run("egress", "cali2", ip_packet(known))
            found[f"{name} {family}"] = node.run("ingress", "cali2", error(router, kind, known, family))
        stranger = of(17, 2, 1, family, source_port=5001, destination_port=53)
        found[f"unknown {family}"] = node.run("ingress", "cali2", error(router, kind, stranger, family))
        found[f"back to front {family}"] = node.run(
            "ingress", "cali2", error(router, kind, of(17, 3, 4, family), family)
        )
    return found


def error(router, kind, about, family):
    """An ICMP error of a router that quotes a packet."""
    head = struct.pack("!BBHI", kind, 0, 0, 0)
    quoted = ip_packet(about)[: 28 if family == 4 else 48]
    return with_header(icmp(kind, router, 2, family), head + quoted)


def test_errors(sandboxed):
    """CT-4: an error about a known flow is related to it and allowed; any other is invalid."""
    said = {"known": "allowed", "echo": "allowed", "unknown": "invalid (ingress)", "back to front": "invalid (ingress)"}
    assert sandboxed(errors) == {f"{name} {family}": what for name, what in said.items() for family in (4, 6)}


def fragments():
    """First and later fragments, with policy on the port that only the first one has."""
    allow = policy("np:shop/web", [rule("allow", 0, protocol=17, destination_ports=(53,)), rule("deny", 1)])
    node = bench(program(ingress=[("default", "deny", ["np:shop/web"])], policies=[allow]))
    found = {}
    for family in (4, 6):
        for port in (53, 54):
            packet = of(17, 1, 2, family, source_port=9, destination_port=port)
            first = with_header(packet, transport(packet), fragment=(0, True), identification=port)
            later = with_header(packet, bytes(16), fragment=(2, False), identification=port)
            stray = with_header(packet, bytes(16), fragment=(2, False), identification=99)
            found[f"{port} {family}"] = [node.run("ingress", "cali2", each) for each in (later, first, later, stray)]
    return found


def test_fragments(sandboxed):
    """A later fragment shares the fate of its first one, and without one it is dropped."""
    allowed = ["invalid (ingress)", "allowed", "allowed", "invalid (ingress)"]
    denied = ["invalid (ingress)", "deny by rule 1 of np:shop/web (ingress, tier default)"] + ["invalid (ingress)"] * 2
    assert sandboxed(fragments) == {f"{port} {f}": said for f in (4, 6) for port, said in ((53, allowed), (54, denied))}


def guarded():
    """What no policy decides."""
    node = bench(program(**CLOSED))
    out = {
        "spoofed 4": tcp("10.0.0.9"),
        "spoofed 6": tcp("fd00::9", family=6),
        "of the other pod": tcp(2, 1),
        "to host 4": tcp(1, "192.0.2.1"),
        "to host 6": tcp(1, "2001:db8::1", family=6),
        "to a multicast group": of(17, 1, "224.0.0.251", source_port=5353, destination_port=5353),
        "solicitation": icmp(135, 1, "ff02::1:ff00:1", 6),
        "address detection": icmp(135, "::", "ff02::1:ff00:1", 6),
        "listener report": icmp(131, 1, "ff02::16", 6),
    }
    found = {name: node.run("egress", "cali1", ip_packet(packet)) for name, packet in out.items()}
    found["from its host"] = node.run("ingress", "cali2", ip_packet(tcp("192.0.2.1")), came_by=0)
    found["answer to its host"] = node.run(
        "egress", "cali2", ip_packet(tcp(2, "192.0.2.1", 40000, source_port=80), SYN | ACK)
    )
    found["from another host"] = node.run("ingress", "cali2", ip_packet(tcp("192.0.2.1", port=81)))
    found["no IP"] = node.run("egress", "cali1", bytes(40))
    found["cut short"] = node.run("egress", "cali1", ip_packet(tcp())[:24])
    options = with_header(tcp(family=6, target=9), transport(tcp(family=6)), options=bytes([60, 0, 1, 4, 0, 0, 0, 0]))
    found["behind options"] = node.run("egress", "cali1", options)
    node.interfaces["calix"] = node.devices[-1]
    found |= {f"unknown {way}": node.run(way, "calix", ip_packet(tcp())) for way in ("egress", "ingress")}
    return found


def test_guards(sandboxed):
    """CT-1, CT-5, HEP-12, POL-19: spoofing, the host, neighbour discovery, strangers, and what cannot be read."""
    assert sandboxed(guarded) == {
        "spoofed 4": "spoofed (egress)",
        "spoofed 6": "spoofed (egress)",
        "of the other pod": "spoofed (egress)",
        "to host 4": "to host (egress)",
        "to host 6": "to host (egress)",
        "to a multicast group": "to host (egress)",
        "solicitation": "allowed",
        "address detection": "allowed",
        "listener report": "allowed",
        "from its host": "allowed",
        "answer to its host": "allowed",
        "from another host": END,
        "no IP": "silent",
        "cut short": "silent",
        "behind options": "allowed",
        "unknown egress": "unknown interface (egress)",
        "unknown ingress": "unknown interface (ingress)",
    }


def accepting_host():
    """The same packet to the host under both endpoint-to-host actions."""
    node = bench(program(to_host="accept"))
    frames = [ip_packet(tcp(1, "192.0.2.1", source_port=port)) for port in (1, 2)]
    accepted = node.run("egress", "cali1", frames[0]), bool(node.mark & layout.MARK_FORWARD)
    node.apply(program(), host=("192.0.2.1",))
    return [*accepted, node.run("egress", "cali1", frames[1])]


def test_endpoint_to_host_action(sandboxed):
    """HEP-12: with the action Accept, what egress policy allows reaches the host."""
    assert sandboxed(accepting_host) == ["allowed", False, "to host (egress)"]


def generations():
    """A packet judged at its source just before a flip reaches its destination just after it."""
    no = policy("np:shop/no")
    closed_out = program(egress=[("default", "deny", ["np:shop/no"])], policies=[no])
    node = bench(program(**CLOSED))
    frame = ip_packet(tcp())
    before = node.run("egress", "cali1", frame)
    mark = node.mark
    node.apply(closed_out, host=())
    with_mark = node.run("ingress", "cali2", frame, mark=mark)
    node.forget_flows()
    return [before, with_mark, node.run("egress", "cali1", frame), node.run("ingress", "cali2", frame)]


def test_generations(sandboxed):
    """Old and new deny the packet at different ends; one that is under way while they change is denied too."""
    egress_end = "deny by end of tier (egress, tier default)"
    assert sandboxed(generations) == ["allowed", END, egress_end, "allowed"]


def to_itself():
    """Conversations of a machine with itself over its guarded loopback interface, each packet out and in again."""
    wanted = program()
    guard = HostEndpointProgram(name="h", interface="*", **{walk.direction: id_ for id_, walk in wanted.walks.items()})
    node = bench(msgspec.structs.replace(wanted, host_endpoints=Map({"*": guard})))

    def over(packet, flags=SYN):
        data = ip_packet(packet, flags)
        return [node.run("host egress", "lo", data, came_by=0), node.run("host ingress", "lo", data)]

    found = {}
    for family, own in ((4, "192.0.2.1"), (6, "2001:db8::1")):
        reply, request = (0, 8) if family == 4 else (129, 128)
        found[f"no flow {family}"] = over(tcp(own, own, family=family), ACK)
        found[f"opening {family}"] = over(tcp(own, own, family=family))
        found[f"answer {family}"] = over(tcp(own, own, 40000, family, source_port=80), SYN | ACK)
        found[f"data {family}"] = over(tcp(own, own, family=family), ACK)
        found[f"early reply {family}"] = over(icmp(reply, own, own, family))
        found[f"request {family}"] = over(icmp(request, own, own, family))
        found[f"reply {family}"] = over(icmp(reply, own, own, family))
    return found


def test_to_itself(sandboxed):
    """Where both addresses are the same, ports and types still tell an answer from what it answers."""
    unknown = ["invalid (egress)", "invalid (ingress)"]
    for name, said in sandboxed(to_itself).items():
        assert said == (unknown if name.startswith(("no flow", "early")) else ["allowed"] * 2), name


def sets():
    """Members come and go, nets replace nets that hold them, literal lists stay what they are."""
    rules = [rule("allow", 0, source_sets=("n1",)), rule("allow", 1, source_nets=("10.9.0.0/16", "10.9.1.0/24"))]
    seen = []
    node = Bench(make_devices())
    for members in (["10.0.0.1/32"], ["10.0.0.0/8"], ["10.0.0.0/24", "10.8.0.0/16"], ["10.0.0.0/8"], [], ["fd00::/64"]):
        wanted = program(
            ingress=[("default", "deny", ["np:shop/web"])],
            policies=[policy("np:shop/web", rules)],
            sets=nets("n1", *members),
        )
        node.apply(wanted)
        sources = ("10.0.0.1", "10.0.0.2", "10.8.0.1", "10.7.0.1", "10.9.1.1", "fd00::1")
        frames = [
            ip_packet(tcp(source, f"{'fd00::' if ':' in source else '10.0.0.'}2", family=6 if ":" in source else 4))
            for source in sources
        ]
        seen.append("".join("." if node.run("ingress", "cali2", frame) == "allowed" else "X" for frame in frames))
        node.forget_flows()
    return seen


def test_sets(sandboxed):
    """Each generation has its own members, also where a net of one lies in a net of the other."""
    assert sandboxed(sets) == [".XXX.X", ".....X", "...X.X", ".....X", "XXXX.X", "XXXX.."]


def increments():
    """(operations, bytes) of updates."""
    node = Bench(make_devices())
    open_, closed = program(), program(**CLOSED)
    sent = [node.apply(each).operations for each in (open_, open_, open_)]
    sent.append(node.apply(closed).operations)
    node.apply(closed)
    free = node.tables.code.free
    for each in (*(open_, closed) * 20, closed):
        node.apply(each)
    return [sent, node.tables.code.free - free]


def test_increments(sandboxed):
    """Each generation is written once; later only the flip is. Places are given back, whatever comes and goes."""
    sent, leaked = sandboxed(increments)
    assert sent[2] == 1 < sent[3] < sent[0]
    assert leaked == 0


def translations():
    """A packet whose source was translated on its way from pod 1 to pod 2, with and without its mark."""
    rules = [rule("allow", 0, source_nets=("10.0.0.1/32",)), rule("deny", 1)]
    wanted = program(
        ingress=[("default", "deny", ["np:shop/web"])],
        policies=[policy("np:shop/web", rules)],
        nat_sources=frozenset({"10.0.0.0/24"}),
    )
    node = bench(wanted)
    frame = ip_packet(tcp("192.0.2.1", source_port=55555))
    node.run("egress", "cali1", ip_packet(tcp()))
    said = [node.run("ingress", "cali2", frame, mark=node.mark)]
    said.append(node.run("egress", "cali2", ip_packet(tcp(2, "192.0.2.1", 55555, source_port=80), SYN | ACK)))
    node.forget_flows()
    return [*said, node.run("ingress", "cali2", frame)]


def test_translations(sandboxed):
    """NAT-4: on the same node policy sees the source before translation; the answer finds the translated flow."""
    denied = "deny by rule 1 of np:shop/web (ingress, tier default)"
    assert sandboxed(translations) == ["allowed", "allowed", denied]
