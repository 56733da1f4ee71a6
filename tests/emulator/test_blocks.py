"""Blocks of rules decide as the list they were made from, whatever changes under them."""

import sys
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map
from msgspec import structs

from emulator.dataplane import blocks, unions
from emulator.dataplane.blocks import Block, in_blocks
from emulator.dataplane.gathering import gathered
from emulator.dataplane.iptables.plan import plan as plan_iptables
from emulator.dataplane.nftables.operations import AddElements, RemoveElements
from emulator.dataplane.nftables.phases import phases
from emulator.dataplane.nftables.plan import EMPTY, plan
from emulator.dataplane.references import differing
from emulator.dataplane.unions import Unions
from reference.program import matches as reading
from reference.program.matches import Facts
from reference.program.types import IPSet, Match, PolicyProgram, PortRange, ProgramRule

sys.path.insert(0, str(Path(__file__).parent))
import iptables_kernel
import nftables_kernel
import test_iptables_plan as iptables
import test_nftables_plan as plans

NETS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24", "fd00::/64")
ADDRESSES = ("10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.1", "fd00::1", "2001:db8::1")
SETS = ("na", "nb", "nc")


@contextmanager
def short_blocks():
    """Every list of more than one rule is long, and blocks are of two."""
    long, size = blocks.LONG, blocks.SIZE
    blocks.LONG, blocks.SIZE = 1, 2
    for made in (blocks._blocks_of, unions._unions_of_long):
        made.cache_clear()
    try:
        yield
    finally:
        blocks.LONG, blocks.SIZE = long, size
        for made in (blocks._blocks_of, unions._unions_of_long):
            made.cache_clear()


some_nets = st.lists(st.sampled_from(NETS), max_size=2, unique=True).map(tuple)
some_sets = st.lists(st.sampled_from(SETS), max_size=2, unique=True).map(tuple)
matches = st.builds(
    Match,
    family=st.sampled_from([None, None, 4, 6]),
    protocol=st.sampled_from([None, 6, 17, 1]),
    source_nets=some_nets,
    destination_nets=some_nets,
    source_sets=some_sets,
    not_source_sets=some_sets,
    destination_ports=st.lists(st.builds(PortRange, st.just(80), st.integers(80, 90)), max_size=2).map(tuple)
    | st.sampled_from([(PortRange(at, at),) for at in (80, 81, 82)] + [(PortRange(83, 85), PortRange(88, 90))]),
    destination_port_sets=st.sampled_from([(), (), ("px",)]),
)
rules = st.lists(matches, max_size=40).map(
    lambda some: tuple(ProgramRule(action="allow", index=at, match=match) for at, match in enumerate(some))
)
sets = st.fixed_dictionaries({name: st.frozensets(st.sampled_from(NETS[:3]), max_size=2) for name in SETS})


def a_program(policy, members):
    """A program of one policy with sets that hold nets of both families."""
    made = [
        IPSet(id=f"{base}{family}", kind="nets", family=family, members=widest(held, family))
        for base, held in members.items()
        for family in (4, 6)
    ]
    made += [IPSet(id=f"px{family}", kind="ports", family=family, members=frozenset()) for family in (4, 6)]
    return structs.replace(plans.simple(), policies=Map({policy.id: policy}), sets=Map({one.id: one for one in made}))


def widest(nets, family):
    """The members a set of a program may have: none within another."""
    from ipaddress import collapse_addresses, ip_network

    mine = [ip_network(net) for net in nets if (":" in net) == (family == 6)]
    return frozenset(map(str, collapse_addresses(mine)))


def facts(source, destination, protocol, port):
    """A packet; both ends are of one family."""
    from ipaddress import ip_address

    one, other = ip_address(source), ip_address(destination)
    return Facts(one.version, protocol, source, int(one), 999, destination, int(other), port, None, None)


def first(items, packet, known):
    """The first rule a packet matches, when it passes by blocks whose condition it does not meet."""
    for item in items:
        inside = item.cover.match if isinstance(item, Block) else item.match
        if all(test(packet, known) for test in reading.tests(inside)):
            if not isinstance(item, Block):
                return item.index
            if (found := first(item.items, packet, known)) is not None:
                return found
    return None


def packets_among(addresses, protocols):
    """Packets between any two of some addresses."""
    some = st.sampled_from(addresses)
    return st.builds(facts, some, some, st.sampled_from(protocols), st.integers(79, 91))


packets = packets_among(ADDRESSES[:4], [6, 17, 1]) | packets_among(ADDRESSES[4:], [6, 17, 58])


@settings(deadline=None, max_examples=150)
@given(rules=rules, members=sets, sent=st.lists(packets, min_size=1, max_size=20))
def test_the_first_rule_to_match_is_the_same(rules, members, sent):
    """A condition is never narrower than the rules behind it: blocks decide what the list decides (POL-12)."""
    with short_blocks():
        items = in_blocks(rules)
        policy = PolicyProgram(id="np:shop/web", tier="default", ingress=rules)
        known = Unions().extend(a_program(policy, members)).sets
        for packet in sent:
            assert first(items, packet, known) == first(rules, packet, known)


@given(rules=rules)
def test_every_rule_is_there_once(rules):
    """Blocks copy nothing: counters and reports are those of the list."""

    def flat(items):
        return [rule for item in items for rule in (flat(item.items) if isinstance(item, Block) else [item])]

    with short_blocks():
        assert sorted(flat(in_blocks(rules)), key=lambda rule: rule.index) == list(rules)


@settings(deadline=None, max_examples=200)
@given(rules=rules)
def test_only_rules_for_ports_apart_change_places(rules):
    """Two rules of which one now comes before the other have no packet in common."""

    def places(match):
        if match.destination_port_sets or match.protocol is None:
            return None
        return {
            (match.protocol, port) for ports in match.destination_ports for port in range(ports.low, ports.high + 1)
        }

    def apart(one, other):
        mine, theirs = places(one.match), places(other.match)
        return bool(mine and theirs) and not mine & theirs

    found = list(gathered(rules))
    for at, rule in enumerate(found):
        for later in found[at:]:
            assert rule.index <= later.index or apart(rule, later)


def test_rules_for_the_same_ports_come_together():
    """By turns for a port of their own and for one port: those for the one are side by side."""
    ports = [7 if at % 2 else 100 + at for at in range(8)]
    made = tuple(
        ProgramRule(action="allow", index=at, match=Match(protocol=6, destination_ports=(PortRange(port, port),)))
        for at, port in enumerate(ports)
    )
    assert [rule.index for rule in gathered(made)] == [0, 1, 3, 5, 7, 2, 4, 6]


def numbered(count):
    """Rules that differ by port."""
    match = [Match(protocol=6, destination_ports=(PortRange(2 * at, 2 * at),)) for at in range(count)]
    return tuple(ProgramRule(action="allow", index=at, match=one) for at, one in enumerate(match))


def test_a_thousand_rules_are_a_few_dozen():
    """A packet that the last of a thousand rules matches is asked about three dozen conditions."""
    assert asked(in_blocks(numbered(1000)), facts("10.1.2.3", "10.9.9.9", 6, 1998)) < 40


def asked(items, packet):
    """How many conditions a packet is asked about."""
    number = 0
    for item in items:
        number += 1
        inside = item.cover.match if isinstance(item, Block) else item.match
        if isinstance(item, Block) and all(test(packet, {}) for test in reading.tests(inside)):
            number += asked(item.items, packet)
    return number


def test_rules_that_ask_by_turns_for_source_and_port_are_few_dozen():
    """Half of a thousand rules match a packet's source, the other half its port: neither way alone would tell them."""
    crossed = [
        Match(protocol=6, source_nets=("10.1.2.3/32",), destination_ports=(PortRange(1000 + at, 1000 + at),))
        if at % 2
        else Match(protocol=6, source_nets=(f"10.2.{at >> 8}.{at & 255}/32",), destination_ports=(PortRange(80, 80),))
        for at in range(1000)
    ]
    made = tuple(ProgramRule(action="allow", index=at, match=match) for at, match in enumerate(crossed))
    assert asked(in_blocks(made), facts("10.1.2.3", "10.9.9.9", 6, 80)) < 60


def test_short_lists_stay_lists():
    """What people read in a listing is their rules, until there are very many."""
    assert in_blocks(numbered(blocks.LONG)) == numbered(blocks.LONG)


def test_rules_that_nothing_tells_apart_stay_a_list():
    """A condition that spares nobody anything is not asked."""
    same = tuple(ProgramRule(action="log", index=at, match=Match(protocol=6)) for at in range(100))
    assert in_blocks(same) == same


@settings(deadline=None, max_examples=60)
@given(stages=st.lists(plans.programs(), min_size=2, max_size=4))
def test_unions_do_not_depend_on_history(stages):
    """What changed is all that is made again, and it comes out as if all of it were."""
    with short_blocks():
        kept = Unions()
        before = None
        for stage in stages:
            extended = kept.extend(stage)
            fresh = Unions().extend(stage)
            assert dict(extended.sets) == dict(fresh.sets)
            assert kept.extend(stage) is extended
            if before is not None:
                told, found = (differing(before.sets, after) for after in (extended.sets, Map(extended.sets)))
                assert {id_: both for id_, *both in told} == {id_: both for id_, *both in found}
            before = extended


@settings(deadline=None, max_examples=60)
@given(stages=st.lists(plans.programs(), min_size=2, max_size=4))
def test_nftables_takes_every_phase(stages):
    """The kernel accepts each transaction; between them a union holds what either program's rules may need of it."""
    with short_blocks():
        kernel, kept, programmed = nftables_kernel.Kernel(), Unions(), EMPTY
        for stage in map(kept.extend, stages):
            planned = plan(programmed, stage)
            for phase in phases(planned.operations):
                kernel.run(phase)
            programmed = planned.result
        fresh = nftables_kernel.Kernel()
        fresh.run(plan(EMPTY, Unions().extend(stages[-1])).operations)
        assert kernel.content() == fresh.content()


def apart(*ports, members):
    """A policy of rules that differ by source set, long enough for blocks."""
    made = tuple(
        ProgramRule(action="allow", index=at, match=Match(protocol=6, source_sets=(base,)))
        for at, base in enumerate(SETS)
    )
    return a_program(PolicyProgram(id="np:shop/web", tier="default", ingress=made), members)


def test_a_union_is_wide_before_and_narrow_after():
    """A member that moves from one set to another is in the union all the while."""
    with short_blocks():
        before = apart(members={"na": {"10.0.0.1/32"}, "nb": {"10.0.0.2/32"}, "nc": set()})
        after = apart(members={"na": {"10.0.0.3/32"}, "nb": {"10.0.0.2/32"}, "nc": set()})
        kept = Unions()
        sent = phases(plan(plan(EMPTY, kept.extend(before)).result, kept.extend(after)).operations)
        unions_changed = [
            [type(operation) for operation in phase if "union" in operation.spec.name]
            for phase in sent
            if all(isinstance(operation, AddElements | RemoveElements) for operation in phase)
        ]
        assert unions_changed == [[AddElements], [], [RemoveElements]]


def test_one_member_rewrites_no_rule_of_iptables():
    """Set and union change in place, the union first to grow and last to shrink."""
    with short_blocks():
        before = apart(members={"na": {"10.0.0.1/32"}, "nb": {"10.0.0.2/32"}, "nc": set()})
        after = apart(members={"na": {"10.0.0.3/32"}, "nb": {"10.0.0.2/32"}, "nc": set()})
        kept = Unions()
        have = plan_iptables(iptables.EMPTY, kept.extend(before), 4).result
        planned = plan_iptables(have, kept.extend(after), 4)
        assert planned.rules == ()
        lines = [line.split() for line in (*planned.sets_before, *planned.sets_after)]
        steps = [f"{verb} union" if "union" in name else verb for verb, name, *_ in lines]
        assert (steps[0], steps[-1]) == ("add union", "del union")
        assert sorted(steps[1:-1]) == ["add", "del"]


@settings(deadline=None, max_examples=15)
@given(stages=st.lists(plans.programs().map(iptables.both_ways), min_size=2, max_size=3))
def test_no_packet_meets_a_mixture_in_blocks(stages):
    """At every step of iptables, what both programs deny is denied and what both allow is allowed."""
    with short_blocks():
        kernel, kept = iptables_kernel.Kernel(), Unions()
        start = plan_iptables(iptables.EMPTY, kept.extend(stages[0]), 4)
        kernel.run(start)
        programmed = start.result
        for _, after in pairwise(stages):
            before, seen = iptables.fates(kernel), []
            kernel.watch = lambda kernel=kernel, seen=seen: seen.append(iptables.fates(kernel))
            planned = plan_iptables(programmed, kept.extend(after), 4)
            kernel.run(planned)
            kernel.watch = lambda: None
            programmed, end = planned.result, iptables.fates(kernel)
            for now in seen:
                assert [b for a, b, c in zip(before, now, end, strict=True) if a == c != b] == []
            assert end == [iptables.allowed_by_program(after, packet) for packet in iptables.PACKETS]
