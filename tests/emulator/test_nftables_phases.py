"""A change in phases: additions that nothing refers to, the change itself, removals of what nothing refers to."""

import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import test_nftables_plan as plans
from nftables_kernel import Kernel, targets
from nftables_lab import nets, policy, program, rule

from emulator.dataplane.nftables.base import INPUT
from emulator.dataplane.nftables.operations import (
    AddChain,
    AddElements,
    AddRules,
    AddSet,
    RemoveChain,
    RemoveSet,
    ResetTable,
)
from emulator.dataplane.nftables.phases import phases
from emulator.dataplane.nftables.plan import EMPTY, plan


@settings(deadline=None, max_examples=50)
@given(plans.programs(), plans.programs())
def test_each_phase_is_a_transaction_the_kernel_takes(before, after):
    """Sent one after the other the phases are accepted, and lead where the whole in one transaction leads."""
    one, other = Kernel(), Kernel()
    for kernel in (one, other):
        kernel.run(plan(EMPTY, before).operations)
    operations = plan(plan(EMPTY, before).result, after).operations
    one.run(operations)
    for phase in phases(operations):
        other.run(phase)
    assert (one.chains, one.sets) == (other.chains, other.sets)


@settings(deadline=None, max_examples=50)
@given(plans.programs(), plans.programs())
def test_additions_and_removals_are_inert(before, after):
    """What the first phase makes, no rule of before leads to; what the last one removes, no rule of after leads to."""
    operations = plan(plan(EMPTY, before).result, after).operations
    sent = phases(operations)
    first = [operation for operation in sent[0] if isinstance(operation, AddSet | AddChain)] if sent else []
    if first:
        new_sets = {operation.spec for operation in first if isinstance(operation, AddSet)}
        new_chains = {operation.chain.name for operation in first if isinstance(operation, AddChain)}
        for operation in sent[0]:
            match operation:
                case AddElements(spec, _):
                    assert spec in new_sets
                case AddRules(chain):
                    assert chain.name in new_chains
                    assert chain.hook is None
                case _:
                    assert isinstance(operation, AddSet | AddChain)
    kernel = Kernel()
    kernel.run(plan(EMPTY, before).operations)
    for phase in sent[:-1]:
        kernel.run(phase)
    led_to = set().union(*(targets(rules) for rules in kernel.chains.values()))
    for operation in sent[-1] if sent else ():
        if isinstance(operation, RemoveChain) and len(sent) > 1:
            assert not kernel.is_used(operation.name)
        if isinstance(operation, RemoveSet) and len(sent) > 1:
            assert operation.spec.name not in led_to


@settings(deadline=None, max_examples=100)
@given(st.lists(plans.programs(), min_size=2, max_size=4))
def test_rules_never_change_beside_members_they_read(history):
    """DP-1: a transaction that changes rules of a chain that stays changes no member of a set that any old rule reads.

    A packet among the old rules at the instant of the commit would meet them with the new members.
    """
    kernel = Kernel()
    programmed = EMPTY
    for wanted in history:
        made = plan(programmed, wanted)
        read = set().union(*map(targets, kernel.chains.values()))
        for phase in phases(made.operations):
            chains, sets = dict(kernel.chains), {name: set(members) for name, members in kernel.sets.items()}
            kernel.run(phase)
            stay = [name for name in chains if name == INPUT or made.result.chain(name)]
            if any(chains[name] != kernel.chains[name] for name in stay):
                changed = {name for name in sets.keys() & kernel.sets.keys() if sets[name] != kernel.sets[name]}
                assert not read & changed
        programmed = made.result


def test_a_set_takes_turns_only_beside_rules():
    """Members alone change in place; with rules they are a set of the other name, and the reader goes over to it."""
    rules = [rule("allow", source_sets=("na",)), rule("deny", destination_ports=(80,), protocol=6)]

    def of(members, *rules):
        tiers = [("default", "deny", ["np:shop/a", "np:shop/b"])]
        policies = [policy("np:shop/a", rules), policy("np:shop/b", [rule("allow", source_sets=("na",))])]
        return program(ingress=tiers, policies=policies, sets=nets("na", *members))

    first = plan(EMPTY, of(["10.0.0.1/32"], rules[0])).result
    alone = plan(first, of(["10.0.0.2/32"], rules[0]))
    assert [type(one).__name__ for one in alone.operations] == ["RemoveElements", "AddElements"]
    both = plan(alone.result, of(["10.0.0.3/32"], *rules))
    sent = [[f"{type(one).__name__} {name_of(one)}" for one in phase] for phase in phases(both.operations)]
    assert sent == [
        ["AddSet z-na4", "AddElements z-na4"],
        ["FlushChain pi-np.shop/a", "AddRules pi-np.shop/a", "FlushChain pi-np.shop/b", "AddRules pi-np.shop/b"],
        ["RemoveSet s-na4"],
    ]
    back = plan(both.result, of(["10.0.0.4/32"], rules[0]))
    assert [name_of(one) for one in back.operations if isinstance(one, AddSet | RemoveSet)] == ["s-na4", "z-na4"]
    assert back.result.turned == frozenset()


def name_of(operation):
    """What an operation is about."""
    about = getattr(operation, "spec", None) or getattr(operation, "chain", None)
    return about.name if about else operation.name


@given(plans.programs())
def test_a_table_that_begins_is_one_transaction(program):
    """The first apply is one transaction that replaces what is there."""
    operations = plan(EMPTY, program).operations
    assert phases(operations) == [operations]
    assert isinstance(operations[0], ResetTable)
