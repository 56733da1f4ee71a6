"""From what the kernel holds to what it must hold: the operations of one transaction. Pure.

Parts are compared by identity first: a part that did not change is neither rendered nor looked into. What was
programmed last is kept as a value beside the operations, so a refused transaction changes nothing here either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import TypeVar

import msgspec
from immutables import Map, MapMutation

from emulator.dataplane.nftables.base import (
    FROM_WORKLOAD,
    INPUT,
    NAT_SOURCES,
    POOLS,
    SOURCES,
    STATIC_SETS,
    TO_WORKLOAD,
    WORKLOADS,
    input_chain,
    static_chains,
)
from emulator.dataplane.nftables.chains import policy_chains, walk_to_chain
from emulator.dataplane.nftables.hosts import host_chains
from emulator.dataplane.nftables.names import policy_chain, set_name, walk_chain, walk_chain_by_id
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
from reference.program.types import EndpointProgram, FlowDirection, IPSet, NodeProgram

T = TypeVar("T")
Phases = tuple[list[Operation], list[Operation], list[Operation]]  # additions, changes, removals
DIRECTIONS: tuple[FlowDirection, FlowDirection] = ("ingress", "egress")
_NOTHING: frozenset[str] = frozenset()


Content = tuple[SetSpec, frozenset[str]]


class Programmed(msgspec.Struct, frozen=True):
    """What a transaction left in the kernel.

    A chain exists when a part is behind it or a rule jumps to it (then it is a group of policies, or empty: POL-16);
    a set exists when the program has it or a rule looks into it (then it is a literal, or empty).
    """

    chains: Map[str, Chain] = Map()  # of policies and walks, by name
    groups: Map[str, Chain] = Map()  # that walks bring along
    jumps: Map[str, int] = Map()  # how many chains jump to a chain
    sets: Map[str, Content] = Map()  # the program's, by name in the kernel
    needed: Map[str, Content] = Map()  # what rules look into, as they need it
    lookups: Map[str, int] = Map()  # how many chains look into a set
    program: NodeProgram | None = None

    def chain(self, name: str) -> Chain | None:
        """A chain of the kernel; None if there is none of this name."""
        found = self.chains.get(name) or self.groups.get(name)
        return found or (Chain(name=name) if name in self.jumps else None)

    def content(self, name: str) -> Content | None:
        """A set with its members; None if the kernel has none of this name. Only the program knows members."""
        return self.sets.get(name) or self.needed.get(name)


EMPTY = Programmed()


class Plan(msgspec.Struct, frozen=True):
    """The operations in an order the kernel accepts (DP-1), and what they lead to."""

    operations: list[Operation]
    result: Programmed


def plan(before: Programmed, program: NodeProgram) -> Plan:
    """What turns `before` into `program`; nothing if it is there already (invariant 28)."""
    if before.program is program:
        return Plan([], before)
    old = before.program or _no_program(program.node)
    draft = _Draft(before)
    draft.take_chains(old, program)
    draft.take_sets(old, program)
    after = draft.finish(program)
    set_additions, set_changes, set_removals = _set_operations(before, after, draft.touched_sets)
    additions, rewrites, removals = _chain_operations(before, after, draft.touched_chains)
    operations = [
        *(_first_time() if before.program is None else ()),
        *_input_operations(old, program),
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
    """(key, old, new) of every entry that is not equal in both.

    Identity is tried first, and in C: of a thousand entries mostly one has changed.
    """
    if before is after:
        return
    added = 0
    moved = map(is_not, after.values(), map(before.get, after))
    for key, new in compress(after.items(), moved):
        old = before.get(key)
        added += old is None
        if old != new:
            yield key, old, new
    if len(before) + added != len(after):
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


def _input_operations(old: NodeProgram, new: NodeProgram) -> Iterator[Operation]:
    """What becomes of pods' packets to the node is the one rule of the fixed chains that may change (HEP-12)."""
    if old.to_host != new.to_host:
        yield FlushChain(INPUT)
        yield AddRules(input_chain(new.to_host))


def _no_program(node: str) -> NodeProgram:
    return NodeProgram(node=node, seq=0, sets=Map(), policies=Map(), walks=Map(), endpoints=Map())


class _Draft:
    """A `Programmed` in the making, and the names of everything its changes concern, in order."""

    def __init__(self, before: Programmed) -> None:
        self._chains, self._groups, self._jumps = before.chains.mutate(), before.groups.mutate(), before.jumps.mutate()
        self._sets, self._needed, self._lookups = before.sets.mutate(), before.needed.mutate(), before.lookups.mutate()
        self._literals: dict[str, None] = {}
        self._other_sets: dict[str, None] = {}
        self.touched_chains: dict[str, None] = {}

    @property
    def touched_sets(self) -> dict[str, None]:
        """Literals come first: the kernel looks sets up one after the other, and many rules share a literal."""
        return self._literals | self._other_sets

    def finish(self, program: NodeProgram) -> Programmed:
        return Programmed(
            chains=self._chains.finish(),
            groups=self._groups.finish(),
            jumps=self._jumps.finish(),
            sets=self._sets.finish(),
            needed=self._needed.finish(),
            lookups=self._lookups.finish(),
            program=program,
        )

    def take_chains(self, old: NodeProgram, new: NodeProgram) -> None:
        """Put the chains of changed policies and walks in place of the old ones."""
        for policy_id, _, policy in differing(old.policies, new.policies):
            names = [policy_chain(policy_id, direction) for direction in DIRECTIONS]
            self._replace(names, policy_chains(policy) if policy else ())
        for _, old_walk, walk in differing(old.walks, new.walks):
            names = [walk_chain(old_walk)] if old_walk else []
            self._replace(names, (walk_to_chain(walk),) if walk else ())
        if _guards(old) != _guards(new):
            self._replace([chain.name for chain in host_chains(old)], host_chains(new))

    def _replace(self, old: Iterable[str], new: Iterable[Chain]) -> None:
        for name in old:
            if name in self._chains:
                self._count(self._chains.pop(name), -1)
        for chain in new:
            self._chains[chain.name] = chain
            self._count(chain, 1)

    def _count(self, chain: Chain, by: int) -> None:
        """Note, or take back, what a chain refers to."""
        self.touched_chains[chain.name] = None
        for group in chain.groups:
            self._count_group(group, by)
        for name in chain.jumps:
            self.touched_chains[name] = None
            _add(self._jumps, name, by)
        for content in chain.literals:
            self._need(content, by, self._literals)
        for spec in chain.sets:
            self._need((spec, _NOTHING), by, self._other_sets)

    def _count_group(self, group: Chain, by: int) -> None:
        """A group is there while a walk jumps to it, and only then counts for what it refers to itself."""
        now = _add(self._jumps, group.name, by)
        if now == max(by, 0):
            self._count(group, by)
        if now:
            self._groups[group.name] = group
        else:
            self._groups.pop(group.name, None)

    def _need(self, content: Content, by: int, touched: dict[str, None]) -> None:
        name = content[0].name
        touched[name] = None
        if _add(self._lookups, name, by):
            self._needed[name] = content
        else:
            self._needed.pop(name, None)

    def take_sets(self, old: NodeProgram, new: NodeProgram) -> None:
        """Put the program's changed sets in place."""
        for set_id, _, now in differing(old.sets, new.sets):
            name = set_name(set_id)
            self._other_sets[name] = None
            if now is None:
                self._sets.pop(name)
            else:
                self._sets[name] = (_spec(now), now.members)


def _guards(program: NodeProgram) -> tuple[object, ...]:
    """All that the chains of host endpoints are made from."""
    return program.host_endpoints, program.failsafes, program.open_ports


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
        old, new = before.chain(name), after.chain(name)
        if new is None:
            if old is not None:
                flushes.append(FlushChain(name))
                removals.append(RemoveChain(name))
            continue
        if old is None:
            additions.append(AddChain(new))
        old_rules = old.rules if old else ()
        if old_rules != new.rules:
            if old_rules:
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


def _add(counts: MapMutation[str, int], name: str, by: int) -> int:
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
