"""A change in phases: additions that nothing refers to, the change itself, removals of what nothing refers to."""

import sys
from pathlib import Path

from hypothesis import given, settings

sys.path.insert(0, str(Path(__file__).parent))
import test_nftables_plan as plans
from nftables_kernel import Kernel, targets

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


@given(plans.programs())
def test_a_table_that_begins_is_one_transaction(program):
    """The first apply is one transaction that replaces what is there."""
    operations = plan(EMPTY, program).operations
    assert phases(operations) == [operations]
    assert isinstance(operations[0], ResetTable)
