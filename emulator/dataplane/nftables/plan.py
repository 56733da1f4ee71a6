"""From what the kernel holds to what it must hold: the operations of one transaction. Pure.

Parts are compared by identity first: a part that did not change is neither rendered nor looked into. What was
programmed last is kept as a value beside the operations, so a refused transaction changes nothing here either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec
from immutables import Map

from emulator.dataplane.nftables.base import (
    FROM_WORKLOAD,
    NAT_SOURCES,
    POOLS,
    SOURCES,
    STATIC_SETS,
    TO_WORKLOAD,
    WORKLOADS,
    static_chains,
)
from emulator.dataplane.nftables.chains import policy_chains, walk_to_chain
from emulator.dataplane.nftables.names import set_name, walk_chain_by_id
from emulator.dataplane.nftables.operations import (
    AddChain,
    AddElements,
    AddRules,
    AddSet,
    FlushChain,
    Operation,
    RemoveChain,
    RemoveElements,
    RemoveSet,
    ResetTable,
)
from emulator.dataplane.nftables.parts import Chain, SetSpec, SetType
from reference.program.types import EndpointProgram, IPSet, NodeProgram

T = TypeVar("T")
Phases = tuple[list[Operation], list[Operation], list[Operation]]  # additions, changes, removals
_NOTHING: frozenset[str] = frozenset()


Content = tuple[SetSpec, frozenset[str]]


class Programmed(msgspec.Struct, frozen=True):
    """What a transaction left in the kernel.

    A chain exists when a part is behind it or a rule jumps to it (then it is empty: POL-16); a set exists when the
    program has it or a rule looks into it (then it is empty, or a literal with its own members).
    """

    chains: dict[str, Chain]
    jumps: dict[str, int]  # how many chains jump to a chain
    sets: dict[str, Content]  # the program's, by name in the kernel
    needed: dict[str, Content]  # what rules look into, as they need it
    lookups: dict[str, int]  # how many chains look into a set
    program: NodeProgram | None = None

    def has_chain(self, name: str) -> bool:
        """Report whether the kernel has a chain of this name."""
        return name in self.chains or name in self.jumps

    def content(self, name: str) -> Content | None:
        """A set with its members; None if the kernel has none of this name. Only the program knows members."""
        return self.sets.get(name) or self.needed.get(name)

    def copy(self, program: NodeProgram) -> Programmed:
        """A copy to change into what `program` wants."""
        return Programmed(
            dict(self.chains), dict(self.jumps), dict(self.sets), dict(self.needed), dict(self.lookups), program
        )


EMPTY = Programmed({}, {}, {}, {}, {})


class Plan(msgspec.Struct, frozen=True):
    """The operations in an order the kernel accepts (DP-1), and what they lead to."""

    operations: list[Operation]
    result: Programmed


def plan(before: Programmed, program: NodeProgram) -> Plan:
    """What turns `before` into `program`; nothing if it is there already (invariant 28)."""
    if before.program is program:
        return Plan([], before)
    after = before.copy(program)
    old = before.program or _no_program(program.node)
    chains, sets = _take_chains(old, program, after), _take_sets(old, program, after)
    sets.update(dict.fromkeys(_sets_of(before, chains)) | dict.fromkeys(_sets_of(after, chains)))
    set_additions, set_changes, set_removals = _set_operations(before, after, sets)
    additions, rewrites, removals = _chain_operations(before, after, chains)
    operations = [
        *(_first_time() if before.program is None else ()),
        *set_additions,
        *set_changes,
        *additions,
        *rewrites,
        *_element_operations(endpoint_members(old, program)),
        *_element_operations(nat_members(old, program)),
        *removals,
        *set_removals,
    ]
    return Plan(operations, after)


def differing(before: Mapping[str, T], after: Mapping[str, T]) -> Iterator[tuple[str, T | None, T | None]]:
    """(key, old, new) of every entry that is not equal in both; identity is tried first."""
    if before is after:
        return
    for key, new in after.items():
        old = before.get(key)
        if old is not new and old != new:
            yield key, old, new
    for key, old in before.items():
        if key not in after:
            yield key, old, None


def _first_time() -> Iterator[Operation]:
    yield ResetTable()
    for spec in STATIC_SETS:
        yield AddSet(spec)
    chains = static_chains()
    for chain in chains:
        yield AddChain(chain)
    for chain in chains:
        yield AddRules(chain)


def _no_program(node: str) -> NodeProgram:
    return NodeProgram(node=node, seq=0, sets=Map(), policies=Map(), walks=Map(), endpoints=Map())


def _take_chains(old: NodeProgram, program: NodeProgram, after: Programmed) -> dict[str, None]:
    """Put the changed policies' and walks' chains in place; returns the names of all chains this may concern."""
    touched: dict[str, None] = {}
    for _, was, now in differing(old.policies, program.policies):
        _replace(after, touched, policy_chains(was) if was else (), policy_chains(now) if now else ())
    for _, old_walk, new_walk in differing(old.walks, program.walks):
        _replace(
            after,
            touched,
            (walk_to_chain(old_walk),) if old_walk else (),
            (walk_to_chain(new_walk),) if new_walk else (),
        )
    return touched


def _replace(after: Programmed, touched: dict[str, None], old: Iterable[Chain], new: Iterable[Chain]) -> None:
    for chain in old:
        _count(after, after.chains.pop(chain.name), -1)
        touched |= dict.fromkeys((chain.name, *chain.jumps))
    for chain in new:
        after.chains[chain.name] = chain
        _count(after, chain, 1)
        touched |= dict.fromkeys((chain.name, *chain.jumps))


def _count(after: Programmed, chain: Chain, by: int) -> None:
    """Note, or take back, what a chain refers to."""
    for name in chain.jumps:
        _add(after.jumps, name, by)
    for content in (*((spec, _NOTHING) for spec in chain.sets), *chain.literals):
        name = content[0].name
        if _add(after.lookups, name, by):
            after.needed[name] = content
        else:
            after.needed.pop(name, None)


def _take_sets(old: NodeProgram, program: NodeProgram, after: Programmed) -> dict[str, None]:
    """Put the program's changed sets in place; returns their names."""
    touched: dict[str, None] = {}
    for set_id, _, now in differing(old.sets, program.sets):
        name = set_name(set_id)
        touched[name] = None
        if now is None:
            after.sets.pop(name)
        else:
            after.sets[name] = (_spec(now), now.members)
    return touched


def _sets_of(programmed: Programmed, chains: Iterable[str]) -> Iterator[str]:
    for name in chains:
        if chain := programmed.chains.get(name):
            yield from (spec.name for spec in chain.sets)
            yield from (spec.name for spec, _ in chain.literals)


def _set_operations(before: Programmed, after: Programmed, touched: Iterable[str]) -> Phases:
    additions: list[Operation] = []
    changes: list[Operation] = []
    removals: list[Operation] = []
    for name in touched:
        old, new = before.content(name), after.content(name)
        if new is None:
            if old is not None:
                removals.append(RemoveSet(old[0]))
            continue
        if old is None:
            additions.append(AddSet(new[0]))
        changes.extend(_element_operations({new[0]: (old[1] if old else _NOTHING, new[1])}))
    return additions, changes, removals


def _chain_operations(before: Programmed, after: Programmed, touched: Iterable[str]) -> Phases:
    additions: list[Operation] = []
    rewrites: list[Operation] = []
    flushes: list[Operation] = []
    removals: list[Operation] = []
    for name in touched:
        existed = before.has_chain(name)
        if not after.has_chain(name):
            if existed:
                flushes.append(FlushChain(name))
                removals.append(RemoveChain(name))
            continue
        old, new = before.chains.get(name), after.chains.get(name) or Chain(name=name)
        if not existed:
            additions.append(AddChain(new))
        if (old.rules if old else ()) != new.rules:
            if old and old.rules:
                rewrites.append(FlushChain(name))
            if new.rules:
                rewrites.append(AddRules(new))
    return additions, rewrites, flushes + removals


def _spec(ip_set: IPSet) -> SetSpec:
    kind: dict[tuple[str, int], SetType] = {
        ("nets", 4): "nets4",
        ("nets", 6): "nets6",
        ("ports", 4): "ports4",
        ("ports", 6): "ports6",
    }
    return SetSpec(set_name(ip_set.id), kind[ip_set.kind, ip_set.family])


def _add(counts: dict[str, int], name: str, by: int) -> int:
    count = counts.get(name, 0) + by
    if count:
        counts[name] = count
    else:
        counts.pop(name, None)
    return count


def _element_operations(changes: Mapping[SetSpec, tuple[frozenset[str], frozenset[str]]]) -> Iterator[Operation]:
    """Removals before additions: the kernel refuses a key that is still there."""
    for spec, (old, new) in changes.items():
        if old is new:
            continue
        if gone := old - new:
            yield RemoveElements(spec, gone)
        if come := new - old:
            yield AddElements(spec, come)


def endpoint_members(old: NodeProgram, new: NodeProgram) -> dict[SetSpec, tuple[frozenset[str], frozenset[str]]]:
    """For each dispatch and source set: what the changed endpoints had in it, and what they have now."""
    had: dict[SetSpec, set[str]] = {}
    have: dict[SetSpec, set[str]] = {}
    for _, before, after in differing(old.endpoints, new.endpoints):
        for endpoint, collected in ((before, had), (after, have)):
            if endpoint is not None:
                for spec, member in _elements_of(endpoint):
                    collected.setdefault(spec, set()).add(member)
    return {spec: (frozenset(had.get(spec, ())), frozenset(have.get(spec, ()))) for spec in {**had, **have}}


def _elements_of(endpoint: EndpointProgram) -> Iterator[tuple[SetSpec, str]]:
    interface = endpoint.interface
    yield WORKLOADS, interface
    yield FROM_WORKLOAD, f"{interface},{walk_chain_by_id(endpoint.egress, 'egress')}"
    yield TO_WORKLOAD, f"{interface},{walk_chain_by_id(endpoint.ingress, 'ingress')}"
    for address in endpoint.addresses:
        bare = address.partition("/")[0]
        yield SOURCES[6 if ":" in bare else 4], f"{interface},{bare}"


def nat_members(old: NodeProgram, new: NodeProgram) -> dict[SetSpec, tuple[frozenset[str], frozenset[str]]]:
    """For each masquerading set: its members before and after (NAT-1)."""
    changes = {}
    for specs, before, after in (
        (NAT_SOURCES, old.nat_sources, new.nat_sources),
        (POOLS, old.pools, new.pools),
    ):
        if before != after:
            for family, spec in specs.items():
                changes[spec] = (_of_family(before, family), _of_family(after, family))
    return changes


def _of_family(nets: frozenset[str], family: int) -> frozenset[str]:
    return frozenset(net for net in nets if (":" in net) == (family == 6))
