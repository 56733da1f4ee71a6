"""Very large sets are several of the kernel's: the same members, the same answers, and on the way between them too."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import test_nftables_phases as phasing
import test_nftables_plan as planning
from nftables_kernel import Kernel
from nftables_lab import nets, policy, program, rule

from emulator.dataplane.nftables import crowds
from emulator.dataplane.nftables.phases import phases
from emulator.dataplane.nftables.plan import EMPTY, plan
from reference.program.nets import net, widest

FEW = 2  # members of the largest set that is no crowd here


@pytest.fixture(autouse=True, scope="module")
def small_crowds():
    """Few members are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crowds, "LARGEST", FEW)
        yield


def test_any_history_with_crowds_ends_alike():
    """DP-1, with sets that become crowds and no crowds."""
    planning.test_any_history_ends_alike()


def test_phases_with_crowds_are_transactions_the_kernel_takes():
    """Sent one after the other the phases are accepted, and lead where the whole in one transaction leads."""
    phasing.test_each_phase_is_a_transaction_the_kernel_takes()


def test_the_same_crowds_again_send_nothing():
    """Invariant 28."""
    planning.test_the_same_again_sends_nothing()


PLACES = st.sampled_from([f"10.0.0.{place}/{length}" for length in (32, 31, 30, 28) for place in range(0, 16, 4)])
MEMBERS = st.lists(PLACES, max_size=8).map(lambda some: frozenset(widest(some, 4)))


@given(MEMBERS)
def test_the_parts_hold_all_members_by_length(members):
    """Each member is in the part of its length, and each part is known to the crowd."""
    (spec,) = [made for made in (plan(EMPTY, of(members)).result.content("s-na4"),) if made]
    found = crowds.parts(spec[0], members)
    assert frozenset().union(*found.values()) == members
    for part, some in found.items():
        assert {member.partition("/")[2] for member in some} == {part.name.partition(".")[2]}
    assert [crowds.part(spec[0], length) for length in crowds.crowd_of(members).lengths] == list(found)


def of(members, wanted=True):
    """A program whose one policy asks whether the source is in a set, or is not."""
    asked = {"source_sets": ("na",)} if wanted else {"not_source_sets": ("na",)}
    tiers = [("default", "deny", ["np:shop/a"])]
    return program(ingress=tiers, policies=[policy("np:shop/a", [rule("allow", **asked)])], sets=nets("na", *members))


@settings(deadline=None, max_examples=200)
@given(before=MEMBERS, after=MEMBERS)
def test_a_packet_on_its_way_through_the_parts_finds_what_both_have(before, after):
    """Whichever part it has asked when a transaction comes: in both is in, in neither is out.

    It goes on with the rules it began with, and meets the sets as they are by then.
    """
    kernel, old = Kernel(), plan(EMPTY, of(before)).result
    kernel.run(plan(EMPTY, of(before)).operations)
    made = plan(old, of(after))
    asked = parts_asked(old)
    steps = [contents(kernel, asked)]
    sent = phases(made.operations)
    for phase in sent:
        kernel.run(phase)
        steps.append(contents(kernel, asked))
        rules_now = [part for part in parts_asked(made.result) if part in kernel.sets]
        if any(type(operation).__name__ == "AddRules" for operation in phase):
            asked, steps = rules_now, [contents(kernel, rules_now)]
        for address in range(20):
            inside = [holds(members, address) for members in (before, after)]
            answers = {mixed(steps[-2:], asked, cut, address) for cut in range(len(asked) + 1)}
            if inside[0] == inside[1]:
                assert answers == {inside[0]}, (address, [len(phase) for phase in sent])


def parts_asked(programmed):
    """The kernel sets that the policy's rules ask, in order."""
    return [spec.name for spec in programmed.specs("s-na4")]


def contents(kernel, names):
    """What some sets hold; one that is gone holds nothing."""
    return {name: frozenset(kernel.sets.get(name, ())) for name in names}


def mixed(steps, asked, cut, address):
    """What a packet finds that has asked `cut` sets when the step comes."""
    at_first, then = steps[0], steps[-1]
    return any(holds((at_first if number < cut else then)[name], address) for number, name in enumerate(asked))


def holds(members, address):
    """Whether nets hold 10.0.0.<address>."""
    number = net(f"10.0.0.{address}").number
    return any(number >> (32 - one.prefix) << (32 - one.prefix) == one.number for one in map(net, members))


def test_a_rule_asks_every_part():
    """In any of the parts is a rule each, in none of them is one rule."""
    members = frozenset({"10.0.0.1/32", "10.1.0.0/16", "10.2.0.0/16"})
    for wanted, count in ((True, 2), (False, 1)):
        programmed = plan(EMPTY, of(members, wanted)).result
        chain = programmed.as_sent(programmed.chain("pi-np.shop/a"))
        of_4 = [one for one in chain.rules if b"s-na4." in one.expressions]
        assert len(of_4) == count
        for length in (b"16", b"32"):
            assert sum(one.expressions.count(b"s-na4." + length) for one in of_4) == 1
        assert {one.ref for one in of_4} == {chain.rules[0].ref}


def test_a_member_of_a_crowd_is_one_element():
    """No rule is written again, and no other member."""
    members = frozenset({"10.0.0.1/32", "10.0.0.2/32", "10.1.0.0/16", "10.2.0.0/16"})
    before = plan(EMPTY, of(members)).result
    operations = plan(before, of(members - {"10.0.0.1/32"} | {"10.3.0.0/16"})).operations
    assert [(type(one).__name__, one.spec.name, set(one.members)) for one in operations] == [
        ("RemoveElements", "s-na4.32", {"10.0.0.1/32"}),
        ("AddElements", "s-na4.16", {"10.3.0.0/16"}),
    ]
