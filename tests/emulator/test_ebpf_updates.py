"""No hole, no hiccup: the eBPF programs judge without pause while program after program is applied."""

import random
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import nets, policy, program, rule

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.bench import Bench, lacking, make_devices
from emulator.dataplane.ebpf.frames import ip_packet
from reference.packet import Packet

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
UPDATES = 500
OPEN = policy("np:shop/open", [rule("allow", 0)], [rule("allow", 0)])


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def programs():
    """Programs that all deny port 80 and all allow port 81, each pair for different reasons in different places."""
    chosen = random.Random(7)
    tcp = {"protocol": 6}
    for _ in range(UPDATES):
        net, other = chosen.sample(("10.0.0.0/24", "10.0.0.1/32", "10.0.0.0/8"), 2)
        denied = rule("deny", 0, destination_ports=(80,), **tcp)
        by_set = rule("deny", 1, source_sets=("n1",), destination_ports=(80,), **tcp)
        allowed = rule("allow", 2, source_sets=("n2",), destination_ports=(81,), **tcp)
        rules = [chosen.choice((denied, by_set)), chosen.choice((allowed, rule("allow", 3, **tcp)))]
        way = chosen.choice(("ingress", "egress"))
        strict = policy("np:shop/strict", **{way: rules})
        first, second = chosen.sample(("np:shop/strict", "np:shop/open"), 2)
        tiers = {
            "ingress": [
                ("default", "deny", [first] if first == "np:shop/strict" and way == "ingress" else ["np:shop/open"])
            ],
            "egress": [("default", "deny", ["np:shop/strict"] if way == "egress" else ["np:shop/open"])],
        }
        if way == "ingress":
            tiers["ingress"] = [("default", "deny", ["np:shop/strict", second])]
        sets = [*nets("n1", net, *(["10.7.0.0/16"] if chosen.random() < 0.5 else [])), *nets("n2", other)]
        yield program(**tiers, policies=[strict, OPEN], sets=sets)


def judged(node, port, mark_passes):
    """Whether a packet from pod 1 reaches pod 2, judged at both ends; None if it took longer than packets do.

    A thread of Python may pause between the two ends until its generation is written anew; a packet does not.
    """
    frame = (
        b"\0" * 12
        + b"\x08\0"
        + ip_packet(
            Packet(source="10.0.0.1", destination="10.0.0.2", protocol=6, source_port=port, destination_port=port)
        )
    )
    at, before = node.interfaces, node.flipped
    result, mark, _ = node.programs["egress"](frame, at["cali1"], came_by=0)
    if result == layout.TC_ALLOWED:
        result, _, _ = node.programs["ingress"](frame, at["cali2"], came_by=1, mark=mark if mark_passes else 0)
    begun, flipped = node.begun, node.flipped
    in_time = flipped == before or (flipped == before + 1 and begun == flipped)
    return result == layout.TC_ALLOWED if in_time or not mark_passes else None


def stream(atomic):
    """[packets judged, holes, hiccups] while the programs are applied; not atomic: written where they decide."""
    node = Bench(make_devices())
    every = list(programs())
    node.apply(every[0])
    passed = {80: [], 81: []}
    ended = threading.Event()

    def update():
        for wanted in every:
            if not atomic:
                node.tables.epoch += 1  # the fault: what decides is taken for what is idle
            node.apply(wanted)
        ended.set()

    updating = threading.Thread(target=update)
    updating.start()
    while not ended.is_set():
        for port, seen in passed.items():
            seen.append(judged(node, port, atomic))
        node.ring.drain()
    updating.join()
    return [sum(map(len, passed.values())), passed[80].count(True), passed[81].count(False)]


def test_no_hole_no_hiccup(sandboxed):
    """Of a stream of packets none passes that every program denies, none is dropped that every program allows."""
    judgements, holes, hiccups = sandboxed(stream, True)
    assert judgements > 5000
    assert (holes, hiccups) == (0, 0)


def test_the_stream_finds_holes(sandboxed):
    """An apply that writes where it decides is caught by the same stream."""
    _, holes, hiccups = sandboxed(stream, False)
    assert holes + hiccups > 0
