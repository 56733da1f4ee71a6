"""A change in the order in which no packet can meet half of it. Pure.

The kernel commits a transaction at one instant, but a packet that is among the rules at that instant goes on with the
old rules while its later set look-ups already see the new members. A verdict map would send it into a chain that has
no rules yet in the old view, and a set that goes away is empty for it. So what is new is made in a transaction before,
while nothing refers to it, and what nothing refers to any more is removed in one after. A union gets its new members
before and loses its old ones after: it may be too wide for a moment, never too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

from emulator.dataplane.nftables.names import is_union_name
from emulator.dataplane.nftables.operations import (
    AddChain,
    AddElements,
    AddRules,
    AddSet,
    Operation,
    RemoveChain,
    RemoveElements,
    RemoveSet,
    ResetTable,
)
from emulator.dataplane.nftables.parts import SetSpec


def phases(operations: Sequence[Operation]) -> list[Sequence[Operation]]:
    """The operations as transactions to be sent one after the other: additions, the change itself, removals.

    A table that begins anew is one transaction: no rule of it has seen a packet.
    """
    if any(isinstance(operation, ResetTable) for operation in operations):
        return [operations]
    new_sets = {operation.spec for operation in operations if isinstance(operation, AddSet)}
    new_chains = {operation.chain.name for operation in operations if isinstance(operation, AddChain)}
    nested = _nested_unions(operations)
    made: tuple[list[Operation], list[Operation], list[Operation]] = ([], [], [])
    for operation in operations:
        match operation:
            case AddSet() | AddChain():
                phase = 0
            case AddElements(spec, _, early):
                phase = 0 if early or spec in new_sets or (is_union_name(spec.name) and spec not in nested) else 1
            case RemoveElements(spec, _, late):
                phase = 2 if late or (is_union_name(spec.name) and spec not in nested) else 1
            case AddRules(chain):  # those of a base chain decide at once: they come with the change itself
                phase = 0 if chain.name in new_chains and chain.hook is None else 1
            case RemoveChain() | RemoveSet():
                phase = 2
            case _:
                phase = 1
        made[phase].append(operation)
    return [phase for phase in made if phase]


def _nested_unions(operations: Sequence[Operation]) -> set[SetSpec]:
    """Unions in which a net may take the place of nets within it, or the reverse: the kernel refuses to hold both."""
    gone = {operation.spec: operation.members for operation in operations if isinstance(operation, RemoveElements)}
    come = {operation.spec: operation.members for operation in operations if isinstance(operation, AddElements)}
    return {
        spec
        for spec in gone.keys() & come.keys()
        if is_union_name(spec.name)
        and spec.type in ("nets4", "nets6")
        and not all(net.endswith(("/32", "/128")) for net in gone[spec] | come[spec])
    }
