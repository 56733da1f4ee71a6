"""The eBPF programs remember what became of a packet: for the same packet in the same epoch, and never beyond."""

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import nets, policy, program, rule

from emulator.dataplane.ebpf.bench import Bench, in_words_of_the_kernel, lacking, make_devices
from emulator.dataplane.ebpf.frames import ip_packet
from emulator.dataplane.ebpf.trial import Cluster
from property_tests.strategies.choices import Seeded
from property_tests.strategies.clusters import clusters
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built
from reference.errors import InvalidInputError
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.interpret import decide

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
NEVER = 1 << 31  # steps of a walk that is remembered
RULES = 100
PACKETS = 40
ALLOWED = "allowed"


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def many(last, **more):
    """A policy of many rules, of which the last one decides about TCP."""
    rules = [rule("deny", n, protocol=132) for n in range(RULES)]  # told apart by nothing
    rules.append(rule(last, RULES, **more))
    return program(ingress=[("default", "deny", ["np:shop/web"])], policies=[policy("np:shop/web", rules)])


def tcp(source=1, port=80, source_port=40000):
    """An opening of a connection to pod 2."""
    return Packet(
        source=f"10.0.0.{source}", destination="10.0.0.2", protocol=6, source_port=source_port, destination_port=port
    )


def remembered(node):
    """How many verdicts are."""
    return sum(1 for _ in node.object.maps["verdicts"].items())


def into(node, one):
    """What becomes of the first packet of a flow into pod 2."""
    node.forget_flows()
    return node.run("ingress", "cali2", ip_packet(one))


def updated():
    """The same packet again and again while the last rule, then a set, then the walk changes."""
    node, said = Bench(make_devices()), []
    by_set = {"source_sets": ("n1",)}

    def apply(wanted):
        node.apply(wanted)
        said.append([into(node, tcp()), into(node, tcp()), remembered(node)])

    for last in ("allow", "deny") * 3:
        apply(many(last))
    with_set, without = many("allow", **by_set), many("allow", **by_set)
    for wanted, members in ((with_set, ["10.0.0.0/24"]), (without, []), (with_set, ["10.0.0.1/32"]), (without, [])):
        one = program(
            ingress=[("default", "deny", ["np:shop/web"])],
            policies=[wanted.policies["np:shop/web"]],
            sets=nets("n1", *members),
        )
        apply(one)
    apply(program())
    node.close()
    return said


def test_an_update_is_in_force_at_the_next_packet(sandboxed):
    """A pair that is remembered meets a changed rule, member or walk at the very next packet."""
    denied = f"deny by rule {RULES} of np:shop/web (ingress, tier default)"
    end = "deny by end of tier (ingress, tier default)"
    outcomes = [*[ALLOWED, denied] * 3, *[ALLOWED, end] * 2, ALLOWED]
    assert sandboxed(updated) == [[outcome, outcome, 1] for outcome in outcomes]


def what_is_remembered():
    """For each packet: how many verdicts there are after it was seen twice."""
    node = Bench(make_devices())
    counts = []
    node.apply(many("allow"))
    for one in (tcp(), tcp(), tcp(source_port=1), tcp(port=81), tcp(source=3)):
        into(node, one)
        counts.append(remembered(node))
    node.apply(many("allow", source_ports=((1, 65000),)))
    into(node, tcp(source=4))
    counts.append(remembered(node))
    logging = program(
        ingress=[("default", "deny", ["np:shop/web"])],
        policies=[
            policy("np:shop/web", [*many("deny").policies["np:shop/web"].ingress[:RULES], rule("log"), rule("allow")])
        ],
    )
    node.apply(logging)
    into(node, tcp(source=5))
    counts.append(remembered(node))
    node.close()
    return counts


def test_a_verdict_is_remembered_by_what_the_walk_asked(sandboxed):
    """Source ports share a place; a walk that asks for them, or that logs, is gone through each time."""
    assert sandboxed(what_is_remembered) == [1, 1, 1, 2, 3, 3, 3]


def counters(long_walk):
    """Packets and bytes of every rule after a thousand packets, through tiers that pass."""
    node, dice = Bench(make_devices()), random.Random(5)
    node.tables.long_walk = long_walk
    passing = [rule("pass" if n % 2 else "log", n, protocol=6, destination_ports=((80 + n, 81 + n),)) for n in range(6)]
    last = [rule(("allow", "deny", "pass")[n % 3], n, source_nets=(f"10.0.0.{n}/32",)) for n in range(6)]
    policies = [policy(f"np:shop/{name}", passing, tier=name) for name in "abcd"] + [policy("np:shop/z", last)]
    tiers = [*((name, "pass", [f"np:shop/{name}"]) for name in "abcd"), ("default", "deny", ["np:shop/z"])]
    node.apply(program(ingress=tiers, policies=policies))
    for _ in range(1000):
        into(node, tcp(dice.randrange(8), dice.randrange(78, 90)))
    found = {str(ref): (count.packets, count.bytes) for ref, count in node.tables.rule_counts().items()}
    found |= {str(ref): (packets, size) for ref, packets, size in node.tables.guard_counts()}
    places = remembered(node)
    node.close()
    return [found, places]


def test_counters_are_the_same_with_and_without_memory(sandboxed):
    """Every rule on the way counts every packet and byte, also where nobody went through the walk."""
    with_memory, without = sandboxed(counters, 0), sandboxed(counters, NEVER)
    assert with_memory[1] > 20 > without[1] == 0
    assert with_memory[0] == without[0]
    assert sum(packets for packets, _ in without[0].values()) > 1000


def search():
    """Every packet twice in whatever cluster, remembered from the first step; how many were, how many verdicts."""
    cluster, seen = Cluster(), [0, 0]

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(clusters())
    def agree(resources):
        try:
            state = built(resources)
        except InvalidInputError:
            return
        about = interest(state)
        programs = Compiler().compile(state)
        cluster.bring(state, programs)
        for bench in cluster._benches.values():
            bench.tables.long_walk = 0
            bench.tables.settle(tracing=False)
        if not has_pods(about):
            return
        choices = Seeded(str(state.seq))
        some = [packet(choices, about) for _ in range(PACKETS)]
        first, again = cluster.fates(some), cluster.fates(some)
        assert first == again
        for one, said in zip(some, again, strict=True):
            if said is not None and not said.startswith("allowed, though"):
                assert said == in_words_of_the_kernel(decide(programs, state, one)), one
                seen[0] += 1
        seen[1] = max(seen[1], *(remembered(bench) for bench in cluster._benches.values()))

    agree()
    cluster.close()
    return seen


def test_agreement_of_remembered_verdicts(sandboxed):
    """In whatever cluster, a packet that is remembered meets what the second reading decides, by the same rule."""
    packets, verdicts = sandboxed(search)
    assert packets > 1000
    assert verdicts > 20
