"""From what the kernel holds to what it must hold: the operations of one transaction. Pure.

Parts are compared by identity first: a part that did not change is neither rendered nor looked into. What was
programmed last is kept as a value beside the operations, so a refused transaction changes nothing here either.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

import msgspec
from immutables import Map

from emulator.dataplane import references
from emulator.dataplane.nftables.base import (
    FROM_DISPATCH,
    FROM_WORKLOAD,
    INPUT,
    NAT_SOURCES,
    POOLS,
    SOURCES,
    STATIC_SETS,
    TO_WORKLOAD,
    WORKLOADS,
    dispatch_from,
    input_chain,
    static_chains,
)
from emulator.dataplane.nftables.chains import policy_chains, walk_to_chain
from emulator.dataplane.nftables.crowds import (
    Crowd,
    chain_in_parts,
    crowd_of,
    is_crowd,
    part,
    parts,
    replaced,
)
from emulator.dataplane.nftables.hosts import host_chains
from emulator.dataplane.nftables.names import is_programs, policy_chain, set_name, walk_chain, walk_chain_by_id
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
from emulator.dataplane.nftables.turns import chain_now, may_turn, spec_now
from emulator.dataplane.references import DIRECTIONS, NOTHING, Draft, differing, member_changes, no_program
from reference.program.types import EndpointProgram, IPSet, NodeProgram

Changes = tuple[frozenset[str], frozenset[str]]  # members that went, members that came
Phases = tuple[list[Operation], list[Operation], list[Operation]]  # additions, changes, removals


class Programmed(references.Programmed[Chain, SetSpec], frozen=True):
    """What a transaction left in the kernel; chains and sets are as if no set had ever turned or become a crowd."""

    turned: frozenset[str] = frozenset()  # the sets that go by their second name (`turns`)
    crowds: Map[str, Crowd] = Map()  # those that are several of the kernel's (`crowds`)

    def chain(self, name: str) -> Chain | None:
        """A chain of the kernel; None if there is none of this name."""
        found = self.chains.get(name) or self.groups.get(name)
        return found or (Chain(name=name) if name in self.jumps else None)

    def as_sent(self, chain: Chain) -> Chain:
        """A chain whose rules read sets as they are in the kernel."""
        return chain_in_parts(chain_now(chain, self.turned), self.crowds)

    def specs(self, name: str) -> tuple[SetSpec, ...]:
        """The kernel's sets for one of the program or of rules."""
        content = self.content(name)
        if content is None:
            return ()
        crowd = self.crowds.get(name)
        return tuple(part(content[0], length) for length in crowd.lengths) if crowd else (self._by_one(content[0]),)

    def in_sets(self, name: str, members: frozenset[str]) -> dict[SetSpec, frozenset[str]]:
        """Some members of a set by the kernel's sets they belong in."""
        content = self.content(name)
        if content is None or not members:
            return {}
        return parts(content[0], members) if name in self.crowds else {self._by_one(content[0]): members}

    def _by_one(self, spec: SetSpec) -> SetSpec:
        return spec_now(spec, self.turned)


EMPTY = Programmed()


class Plan(msgspec.Struct, frozen=True):
    """The operations in an order the kernel accepts (DP-1), and what they lead to."""

    operations: list[Operation]
    result: Programmed


def plan(before: Programmed, program: NodeProgram) -> Plan:
    """What turns `before` into `program`; nothing if it is there already (invariant 28)."""
    if before.program is program:
        return Plan([], before)
    old = before.program or no_program(program.node)
    draft = Draft(before)
    _take_chains(draft, old, program)
    for set_id, _, now in differing(old.sets, program.sets):
        draft.put(set_name(set_id), (_spec(now), now.members) if now else None)
    after = draft.finish(before, program)
    # Literals come first: the kernel looks sets up one after the other, and many rules share a literal.
    sets = sorted(draft.touched_sets, key=is_programs)
    fixed = list(_settings_operations(old, program))
    turning = _turning(before, after, sets) if fixed or _rewrites_any(before, after, draft.touched_chains) else set()
    changes = {name: _member_changes(before, after, name) for name in sets}
    crowds = _crowds(before, after, changes)
    turned = (before.turned ^ turning).difference(_gone(after, sets), crowds)
    after = msgspec.structs.replace(after, turned=turned, crowds=crowds)
    chains = dict.fromkeys([*draft.touched_chains, *_readers(after, turning | _regrouped(before, after, sets))])
    set_additions, set_changes, set_removals = _set_operations(before, after, changes, turning)
    additions, rewrites, removals = _chain_operations(before, after, chains)
    operations = [
        *(_first_time() if before.program is None else ()),
        *fixed,
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


def _rewrites_any(before: Programmed, after: Programmed, chains: Iterable[str]) -> bool:
    """Report whether rules change where packets may be: in chains that stay, and in base chains that come or go."""
    for name in chains:
        old, new = before.chain(name), after.chain(name)
        if old is not None and new is not None:
            if old.rules != new.rules:
                return True
        elif any(chain is not None and chain.hook is not None for chain in (old, new)):
            return True
    return False


def _turning(before: Programmed, after: Programmed, names: Iterable[str]) -> set[str]:
    """The sets whose members change under the eyes of old rules."""
    found = set()
    for name in names:
        old, new = before.content(name), after.content(name)
        if name in before.crowds or not old or not new:
            continue
        if old[1] != new[1] and (name, "") in before.reads and may_turn(name, new[1]):
            found.add(name)
    return found


def _gone(after: Programmed, names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if after.content(name) is None)


def _member_changes(before: Programmed, after: Programmed, name: str) -> Changes:
    old, new = before.content(name), after.content(name)
    return member_changes(old[1] if old else NOTHING, new[1] if new else NOTHING)


def _crowds(before: Programmed, after: Programmed, changes: Mapping[str, Changes]) -> Map[str, Crowd]:
    """The crowds there are after these sets changed."""
    crowds = before.crowds
    for name, (gone, come) in changes.items():
        content = after.content(name)
        if content is not None and is_crowd(*content):
            known = crowds.get(name)
            crowds = crowds.set(name, known.changed(gone, come) if known else crowd_of(content[1]))
        elif name in crowds:
            crowds = crowds.delete(name)
    return crowds


def _regrouped(before: Programmed, after: Programmed, names: Iterable[str]) -> set[str]:
    """Sets that are other sets of the kernel than before, if they are there before and after."""
    return {name for name in names if name in after.sets and _lengths(before, name) != _lengths(after, name)}


def _lengths(programmed: Programmed, name: str) -> tuple[int, ...]:
    crowd = programmed.crowds.get(name)
    return crowd.lengths if crowd else ()


def _readers(after: Programmed, turning: set[str]) -> Iterator[str]:
    if turning:
        for chain in (*after.chains.values(), *after.groups.values()):
            if any(spec.name in turning for spec in chain.sets):
                yield chain.name


def _first_time() -> Iterator[Operation]:
    yield ResetTable()
    for spec in STATIC_SETS:
        yield AddSet(spec)
    chains = static_chains()
    for chain in chains:
        yield AddChain(chain)
    for chain in chains:
        yield AddRules(chain)


def _settings_operations(old: NodeProgram, new: NodeProgram) -> Iterator[Operation]:
    """What becomes of pods' packets to the node (HEP-12), and of encapsulated ones (CT-6), is set for each machine."""
    if old.encapsulation != new.encapsulation:
        yield FlushChain(FROM_DISPATCH)
        yield AddRules(dispatch_from(new.encapsulation))
    if old.to_host != new.to_host:
        yield FlushChain(INPUT)
        yield AddRules(input_chain(new.to_host))


def _take_chains(draft: Draft[Chain, SetSpec], old: NodeProgram, new: NodeProgram) -> None:
    """Put the chains of changed policies and walks in place of the old ones."""
    for policy_id, _, policy in differing(old.policies, new.policies):
        names = [policy_chain(policy_id, direction) for direction in DIRECTIONS]
        draft.replace(names, policy_chains(policy) if policy else ())
    for _, old_walk, walk in differing(old.walks, new.walks):
        draft.replace([walk_chain(old_walk)] if old_walk else [], (walk_to_chain(walk),) if walk else ())
    if _guards(old) != _guards(new):
        draft.replace([chain.name for chain in host_chains(old)], host_chains(new))


def _guards(program: NodeProgram) -> tuple[object, ...]:
    """All that the chains of host endpoints are made from."""
    return program.host_endpoints, program.failsafes, program.open_ports


def _set_operations(before: Programmed, after: Programmed, changes: Mapping[str, Changes], turning: set[str]) -> Phases:
    additions: list[Operation] = []
    moves: list[Operation] = []
    removals: list[Operation] = []
    for name, (gone, come) in changes.items():
        had, has = before.specs(name), after.specs(name)
        additions.extend(AddSet(spec) for spec in has if spec not in had)
        removals.extend(RemoveSet(spec) for spec in had if spec not in has)
        content = after.content(name)
        if content is not None and (name in turning or (name in before.crowds) != (name in after.crowds)):
            gone, come = NOTHING, content[1]  # filled anew
        moves.extend(_moves(after, name, gone, come, had))
    return additions, moves, removals


def _moves(
    after: Programmed, name: str, gone: frozenset[str], come: frozenset[str], had: Container[SetSpec]
) -> Iterator[Operation]:
    """Members out of sets that were there and stay, and in; removals first: the kernel refuses what is still there."""
    late, early = replaced(gone, come) if name in after.crowds else (NOTHING, NOTHING)
    stay = [spec for spec in after.specs(name) if spec in had]
    for members, is_late in ((gone - late, False), (late, True)):
        for spec, some in after.in_sets(name, members).items():
            if spec in stay:
                yield RemoveElements(spec, some, is_late)
    for members, is_early in ((come - early, False), (early, True)):
        for spec, some in after.in_sets(name, members).items():
            yield AddElements(spec, some, is_early)


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
        new = after.as_sent(new)
        if old is None:
            additions.append(AddChain(new))
        old_rules = before.as_sent(old).rules if old else ()
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


def _element_operations(changes: Mapping[SetSpec, tuple[frozenset[str], frozenset[str]]]) -> Iterator[Operation]:
    """Removals before additions: the kernel refuses a key that is still there."""
    for spec, (old, new) in changes.items():
        gone, come = member_changes(old, new)
        if gone:
            yield RemoveElements(spec, gone)
        if come:
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
