"""What is sent: only what differs, accepted by the kernel, and at no step a mixture of two programs."""

import sys
from itertools import pairwise, product
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map
from msgspec import structs

from emulator.dataplane.iptables.changes import Changes
from emulator.dataplane.iptables.kernel import parse
from emulator.dataplane.iptables.plan import plan
from emulator.dataplane.iptables.wanted import Programmed
from reference.program.machine import WORKLOADS, Machine
from reference.program.matches import Facts as ProgramFacts
from reference.program.types import IPSet

sys.path.insert(0, str(Path(__file__).parent))
from iptables_kernel import Facts, Kernel
from nftables_lab import nets, policy, ports, program, rule
from test_nftables_plan import programs

ADDRESSES = ("10.0.0.0", "10.0.0.1", "10.2.0.5", "192.0.2.7")
INTERFACES = ("cali0", "cali1", "eth0")
PACKETS = [
    Facts(come, go, source, destination, 6, port)
    for come, go in product(INTERFACES, repeat=2)
    if come != go
    for source, destination in product(ADDRESSES, repeat=2)
    for port in (9, 95)
]
EMPTY = Programmed()


def fates(kernel):
    """Which packets get through."""
    return [kernel.passes(packet) for packet in PACKETS]


@settings(deadline=None, max_examples=25)
@given(history=st.lists(programs(), min_size=1, max_size=4), end=programs(), piece=st.sampled_from((0, 1, 3)))
def test_any_history_ends_alike(history, end, piece):
    """Every step is one the kernel accepts, and the end does not depend on the way there (DP-1)."""
    kernel, programmed = Kernel(), EMPTY
    for stage in (*history, end):
        planned = plan(programmed, stage, 4, piece)
        kernel.run(planned)
        programmed = planned.result
    fresh = Kernel()
    direct = plan(EMPTY, end, 4)
    fresh.run(direct)

    assert kernel.content() == fresh.content()
    assert plan(programmed, end, 4).operations == 0


@settings(deadline=None, max_examples=25)
@given(died=programs(), end=programs(), cut=st.integers(0, 60), piece=st.sampled_from((0, 1)))
def test_an_agent_that_takes_over_converges(died, end, cut, piece):
    """What an agent left that died at any line is read back and made the program; then nothing is left to send."""
    kernel = Kernel()
    first = plan(EMPTY, died, 4)
    kernel.run(first)
    halfway = plan(first.result, end, 4, piece)
    for line in halfway.sets_before[:cut]:
        kernel.ipset(line)
    if cut > len(halfway.sets_before):
        left = cut - len(halfway.sets_before)
        kernel.restore(halfway.rules[:left] if piece else halfway.rules)  # nothing is done before a COMMIT
        if not piece or left > len(halfway.rules):
            for line in halfway.sets_after[:left]:
                kernel.ipset(line)

    def take_over():
        types = {spec.name: spec.type for each in (died, end) for spec in specs(each)}
        return plan(Programmed(kernel=parse(4, kernel.saved(), kernel.saved_sets(types))), end, 4)

    kernel.run(take_over())
    fresh = Kernel()
    fresh.run(plan(EMPTY, end, 4))
    assert kernel.content() == fresh.content()
    assert take_over().operations == 0


def specs(wanted):
    """All sets a program needs."""
    result = plan(EMPTY, wanted, 4).result
    return [content[0] for content in (*result.sets.values(), *result.needed.values())]


def test_a_mixture_would_be_seen():
    """Two sets changed in place let through what both programs deny; the plan does not (so the check can fail)."""
    web = policy("np:shop/web", [rule("deny", 0, source_sets=("nb",)), rule("allow", 1, source_sets=("na",))])

    def of(*members):
        sets = [*nets("na", *members), *nets("nb", *members)]
        return program(ingress=[("default", "deny", ["np:shop/web"])], policies=[web], sets=sets)

    packet = Facts("eth0", "cali1", "192.0.2.7", "10.0.0.1", 6, 80)
    for careless in (True, False):
        kernel, seen = Kernel(), []
        first = plan(EMPTY, of(), 4)
        kernel.run(first)
        kernel.watch = lambda kernel=kernel, seen=seen: seen.append(kernel.passes(packet))
        if careless:
            kernel.ipset("add cali40na 192.0.2.7/32")
            kernel.ipset("add cali40nb 192.0.2.7/32")
        else:
            kernel.run(plan(first.result, of("192.0.2.7/32"), 4))
        assert any(seen) is careless
        assert not kernel.passes(packet)


def of_one_family(drawn):
    """The compiler cuts lists of nets down to one family."""
    four = tuple(net for net in drawn.match.not_source_nets if ":" not in net)
    return structs.replace(drawn, match=structs.replace(drawn.match, not_source_nets=four))


def both_ways(drawn):
    """The same policies for both directions; those that are missing are there and empty, as are sets."""
    walks = {
        key: structs.replace(walk, tiers=tuple(structs.replace(t, policies=t.policies[:4]) for t in walk.tiers))
        for key, walk in drawn.walks.items()
    }
    named = {name: policy(name) for walk in walks.values() for tier in walk.tiers for name in tier.policies}
    for name, drawn_policy in drawn.policies.items():
        rules = tuple(map(of_one_family, drawn_policy.ingress))
        named[name] = structs.replace(drawn_policy, ingress=rules, egress=rules)
    empty = {s.id: s for base in ("na", "nb", "nc") for s in nets(base)} | {s.id: s for s in ports("px")}
    guards = {  # early lists are in tables of their own, which no restore changes together with the filter table
        name: structs.replace(guard, untracked_ingress="", untracked_egress="", pre_dnat="")
        for name, guard in drawn.host_endpoints.items()
    }
    return structs.replace(
        drawn, host_endpoints=Map(guards), walks=Map(walks), policies=Map(named), sets=Map(empty | dict(drawn.sets))
    )


@settings(deadline=None, max_examples=15)
@given(stages=st.lists(programs().map(both_ways), min_size=2, max_size=3), piece=st.sampled_from((0, 1, 3)))
def test_no_packet_meets_a_mixture(stages, piece):
    """At every step, what both programs deny is denied and what both allow is allowed; the end is the program."""
    kernel, programmed = Kernel(), EMPTY
    start = plan(EMPTY, stages[0], 4)
    kernel.run(start)
    programmed = start.result
    for _, after in pairwise(stages):
        before, seen = fates(kernel), []
        kernel.watch = lambda seen=seen: seen.append(fates(kernel))
        planned = plan(programmed, after, 4, piece)
        kernel.run(planned)
        kernel.watch = lambda: None
        programmed, end = planned.result, fates(kernel)
        for now in seen:
            wrong = [p for p, a, b, c in zip(PACKETS, before, now, end, strict=True) if a == c != b]
            assert wrong == []
        assert end == [allowed_by_program(after, packet) for packet in PACKETS]


def allowed_by_program(wanted, packet):
    """The second reading of the program: anti-spoofing, then out of the source, then into the destination."""
    from ipaddress import ip_address

    facts = ProgramFacts(
        family=4,
        protocol=packet.protocol,
        source=packet.source,
        source_number=int(ip_address(packet.source)),
        source_port=0,
        destination=packet.destination,
        destination_number=int(ip_address(packet.destination)),
        destination_port=packet.port,
        icmp_type=None,
        icmp_code=None,
    )
    machine, come, go = Machine(wanted, facts), packet.source_interface, packet.target_interface
    pods = [name if name.startswith("cali") else "" for name in (come, go)]
    if pods[0] and not (pods[0] in wanted.endpoints and packet.source in wanted.endpoints[come].addresses):
        return False
    return not (
        machine.prerouting(WORKLOADS if pods[0] else come)
        or machine.forward_in(WORKLOADS if pods[0] else come)
        or (pods[0] and machine.from_workload(come, come))
        or (pods[1] and machine.to_workload(go, go))
        or machine.forward_out(WORKLOADS if pods[1] else go)
    )


def deny_all(*members):
    """A program in which members of a set may not send, and all else may."""
    rules = [rule("deny", 0, source_sets=("n",)), rule("allow", 1)]
    web = policy("np:shop/web", rules)
    return program(ingress=[("default", "deny", ["np:shop/web"])], policies=[web], sets=nets("n", *members))


def sent(before, after):
    """What an apply sends to a node that is at another program."""
    planned = plan(plan(EMPTY, before, 4).result, after, 4)
    return planned.sets_before, planned.rules, (*planned.sets_after, *planned.destroyed)


def test_one_member_is_one_line():
    """A set's change does not touch a rule, whatever the number of members (IPT-6)."""
    many = [f"10.1.{n}.0/24" for n in range(200)]
    assert sent(deny_all(*many), deny_all(*many[1:])) == ((), (), ("del cali40n 10.1.0.0/24",))


def test_a_set_read_on_both_sides_is_swapped():
    """Where one packet is asked about two members, several change at once."""
    both = policy("np:shop/web", [rule("allow", 0, source_sets=("n",), destination_sets=("n",))])

    def of(*members):
        return program(ingress=[("default", "deny", ["np:shop/web"])], policies=[both], sets=nets("n", *members))

    _, rules, after = sent(of("10.0.0.1/32"), of("10.0.0.2/32", "10.0.0.3/32"))
    assert rules == ()
    assert [line.split(" ")[:2] for line in after] == [
        ["create", "cali4tn"],
        ["add", "cali4tn"],
        ["add", "cali4tn"],
        ["swap", "cali4tn"],
        ["destroy", "cali4tn"],
    ]


def test_two_sets_go_over_together():
    """Sets that change in one apply are filled beside the old ones, and one transaction goes over to them."""
    web = policy("np:shop/web", [rule("allow", 0, source_sets=("a", "b"))])

    def of(member):
        return program(
            ingress=[("default", "deny", ["np:shop/web"])],
            policies=[web],
            sets=[*nets("a", member), *nets("b", member)],
        )

    before, rules, after = sent(of("10.0.0.1/32"), of("10.0.0.2/32"))
    assert sorted(line for line in before if line.startswith("add")) == [
        "add cali41a 10.0.0.2/32",
        "add cali41b 10.0.0.2/32",
    ]
    assert [line.split(" ")[0] for line in rules] == ["*filter", "-R", "COMMIT"]
    assert "cali41a" in rules[1]
    assert set(after) == {"destroy cali40a", "destroy cali40b"} or set(after) == {"cali40a", "cali40b"}


def test_only_the_rules_from_the_first_difference_on_are_sent():
    """A rule appended to a policy is one line of one table (IPT-4)."""
    rules = [rule("deny", n, protocol=6, destination_ports=(n + 1,)) for n in range(5)]

    def of(count):
        return program(ingress=[("default", "deny", ["np:shop/web"])], policies=[policy("np:shop/web", rules[:count])])

    _, lines, _ = sent(of(4), of(5))
    assert [" ".join(line.split(" ")[:2]) for line in lines] == [
        "*filter",
        "-A cali-pi-np.shop/web",
        "-A cali-pi-np.shop/web",
        "COMMIT",
    ]


def test_what_decides_nothing_is_written_in_pieces():
    """New chains are there, targets first, before the one transaction that decides; those that go do so after it."""
    made = {"cali-a": ["-A cali-a -j cali-c"], "cali-b": [], "cali-c": ["-A cali-c -j DROP"]}
    changes = Changes(made=made, changed=["-R walk 1 -j cali-a"], gone=["x", "y", "z"])
    transactions = "\n".join(changes.lines("filter", 2)).removesuffix("\nCOMMIT").split("\nCOMMIT\n")
    assert [text.removeprefix("*filter\n").split("\n") for text in transactions] == [
        [":cali-c - [0:0]", ":cali-a - [0:0]", "-A cali-c -j DROP", "-A cali-a -j cali-c"],
        [":cali-b - [0:0]"],
        ["-R walk 1 -j cali-a"],
        ["-F x", "-F y"],
        ["-F z"],
        ["-X x", "-X y"],
        ["-X z"],
    ]
    assert "\n".join(changes.lines("filter", 3)).count("COMMIT") == 1


def test_our_jump_goes_before_others():
    """Somebody got before us: our jump is put first again, and others' rules stay where they are (IPT-7)."""
    kernel, wanted = Kernel(), deny_all("10.0.0.1/32")
    first = plan(EMPTY, wanted, 4)
    kernel.run(first)
    kernel.restore(["*filter", "-I FORWARD 1 -j THEIRS", "-A FORWARD -j OTHERS", "COMMIT"])
    types = {spec.name: spec.type for spec in specs(wanted)}
    again = plan(Programmed(kernel=parse(4, kernel.saved(), kernel.saved_sets(types))), wanted, 4)
    kernel.run(again)
    assert [rule[-1] for rule in kernel.tables["filter"]["FORWARD"]] == ["cali-FORWARD", "THEIRS", "OTHERS"]
    assert len(again.rules) == 4


def test_whole_families_are_two_halves():
    """hash:net cannot hold all addresses, so it holds both halves of them."""
    everything = IPSet(id="n4", kind="nets", family=4, members=frozenset({"0.0.0.0/0"}))
    web = policy("np:shop/web", [rule("allow", 0, source_sets=("n",))])
    wanted = program(ingress=[("default", "deny", ["np:shop/web"])], policies=[web], sets=[everything])
    kernel = Kernel()
    kernel.run(plan(EMPTY, wanted, 4))
    assert kernel.sets["cali40n"] == {"0.0.0.0/1", "128.0.0.0/1"}
    assert Map(wanted.sets)["n4"] is everything


def test_a_large_set_begins_with_places_for_all_its_members():
    """The kernel would double its table again and again while the set is filled; small sets begin as ever."""
    many = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(10_000)]
    lines = plan(EMPTY, program(sets=[*nets("nmany", *many), *nets("nfew", *many[:4000])]), 4).sets_before
    assert "create cali40nmany hash:net family inet hashsize 8192 maxelem 1048576" in lines
    assert "create cali40nfew hash:net family inet maxelem 1048576" in lines
