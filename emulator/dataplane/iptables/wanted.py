"""What one family's kernel must hold, and why: a program's chains and sets, counted by who needs them. Pure.

Parts are compared by identity first: a part that did not change is neither rendered nor looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec
from immutables import Map, MapMutation

from emulator.dataplane.iptables.base import (
    dispatch_chains,
    nat_sources_set,
    pools_set,
    sources_set,
    static_chains,
)
from emulator.dataplane.iptables.chains import policy_chains, walk_to_chain
from emulator.dataplane.iptables.hosts import host_chains
from emulator.dataplane.iptables.kernel import Kernel
from emulator.dataplane.iptables.matching import storable
from emulator.dataplane.iptables.names import policy_chain, set_name, walk_chain
from emulator.dataplane.iptables.parts import Chain, Content, SetSpec, SetType, chain_key, split_key
from emulator.dataplane.nftables.plan import DIRECTIONS, differing
from reference.endpoints import Family
from reference.program.types import IPSet, NodeProgram, Walk

K = TypeVar("K")
_KINDS: dict[str, SetType] = {"nets": "hash:net", "ports": "hash:ip,port"}
_NOTHING: frozenset[str] = frozenset()


class Programmed(msgspec.Struct, frozen=True):
    """What an apply left in the kernel, and why each thing is there.

    A chain exists when a part is behind it or a rule jumps to it (then it is a group of policies, or empty: POL-16);
    a set exists when the program has it or a rule reads it (then it is a literal, or empty).
    """

    chains: Map[str, Chain] = Map()  # of the parts of the program, and the fixed ones
    groups: Map[str, Chain] = Map()  # that walks bring along
    jumps: Map[str, int] = Map()  # how many chains jump to a chain
    sets: Map[str, Content] = Map()  # the program's, and the fixed ones
    needed: Map[str, Content] = Map()  # what rules read, as they need it
    reads: Map[tuple[str, str], int] = Map()  # how many chains read a set on a side
    program: NodeProgram | None = None
    kernel: Kernel = Kernel()

    def chain(self, key: str) -> Chain | None:
        """A chain of the kernel; None if there is none of this key."""
        found = self.chains.get(key) or self.groups.get(key)
        if found is None and key in self.jumps:
            table, name = split_key(key)
            return Chain(name=name, table=table)
        return found

    def content(self, name: str) -> Content | None:
        """A set with its members; None if there is none of this name. Only the program knows members."""
        return self.sets.get(name) or self.needed.get(name)

    def sides(self, name: str) -> tuple[str, ...]:
        """The sides of a packet on which the kernel's rules read a set."""
        read = self.kernel.reads if self.program is None else self.reads
        return tuple(side for side in ("src", "dst") if (name, side) in read)


def no_program(node: str) -> NodeProgram:
    """The program of a machine that nobody has programmed."""
    return NodeProgram(node=node, seq=0, sets=Map(), policies=Map(), walks=Map(), endpoints=Map())


class Draft:
    """A `Programmed` in the making, and the names of everything its changes concern, in order."""

    def __init__(self, before: Programmed, family: Family) -> None:
        self._before, self._family = before, family
        self._chains, self._groups, self._jumps = before.chains.mutate(), before.groups.mutate(), before.jumps.mutate()
        self._sets, self._needed, self._reads = before.sets.mutate(), before.needed.mutate(), before.reads.mutate()
        self.touched_chains: dict[str, None] = {}
        self.touched_sets: dict[str, None] = {}

    def finish(self, program: NodeProgram) -> Programmed:
        """The finished value, with the kernel still as it was."""
        return Programmed(
            chains=self._chains.finish(),
            groups=self._groups.finish(),
            jumps=self._jumps.finish(),
            sets=self._sets.finish(),
            needed=self._needed.finish(),
            reads=self._reads.finish(),
            program=program,
            kernel=self._before.kernel,
        )

    def take_chains(self, old: NodeProgram, new: NodeProgram, *, first: bool) -> None:
        """Put the chains of changed parts in place of the old ones."""
        for policy_id, _, policy in differing(old.policies, new.policies):
            keys = [chain_key("filter", policy_chain(policy_id, direction)) for direction in DIRECTIONS]
            self._replace(keys, policy_chains(policy, self._family) if policy else ())
        for _, old_walk, walk in differing(old.walks, new.walks):
            self._replace(_walk_keys(old_walk), (walk_to_chain(walk),) if walk else ())
        if first or old.endpoints != new.endpoints:
            dispatch = dispatch_chains(old.endpoints.values())
            self._replace([chain.key for chain in dispatch], dispatch_chains(new.endpoints.values()))
        if first or old.to_host != new.to_host:
            static = static_chains(self._family, new.to_host)
            self._replace([chain.key for chain in static], static)
        if first or old.host_endpoints or new.host_endpoints:
            self._take_hosts(old, new, first=first)

    def _take_hosts(self, old: NodeProgram, new: NodeProgram, *, first: bool) -> None:
        """The chains of host endpoints depend on all of these; there are few of them."""
        same = all(
            getattr(old, part) is getattr(new, part) or getattr(old, part) == getattr(new, part)
            for part in ("host_endpoints", "failsafes", "open_ports", "policies", "walks")
        )
        if first or not same:
            self._replace([chain.key for chain in host_chains(old, self._family)], host_chains(new, self._family))

    def _replace(self, old: Iterable[str], new: Iterable[Chain]) -> None:
        for key in old:
            if key in self._chains:
                self._count(self._chains.pop(key), -1)
        for chain in new:
            self._chains[chain.key] = chain
            self._count(chain, 1)

    def _count(self, chain: Chain, by: int) -> None:
        """Note, or take back, what a chain refers to."""
        self.touched_chains[chain.key] = None
        for group in chain.groups:
            self._count_group(group, by)
        for key in chain.jump_keys:
            self.touched_chains[key] = None
            _add(self._jumps, key, by)
        literals = {content[0]: content for content in chain.literals}
        for spec, side in chain.lookups:
            self.touched_sets[spec.name] = None
            _add(self._reads, (spec.name, side), by)
            if any((spec.name, either) in self._reads for either in ("src", "dst")):
                self._needed[spec.name] = literals.get(spec, (spec, _NOTHING))
            else:
                self._needed.pop(spec.name, None)

    def _count_group(self, group: Chain, by: int) -> None:
        """A group is there while a walk jumps to it, and only then counts for what it refers to itself."""
        now = _add(self._jumps, group.key, by)
        if now == max(by, 0):
            self._count(group, by)
        if now:
            self._groups[group.key] = group
        else:
            self._groups.pop(group.key, None)

    def take_sets(self, old: NodeProgram | None, new: NodeProgram) -> None:
        """Put the program's changed sets in place, and the fixed ones."""
        for set_id, _, now in differing(old.sets if old else Map(), new.sets):
            if set_id.endswith(str(self._family)):
                self._put(set_name(set_id[:-1], self._family), _content(now, self._family) if now else None)
        for spec, mine in _fixed_sets(new, self._family, old):
            self._put(spec.name, (spec, mine))

    def _put(self, name: str, content: Content | None) -> None:
        self.touched_sets[name] = None
        if content is None:
            self._sets.pop(name, None)
        else:
            self._sets[name] = content


def _walk_keys(walk: Walk | None) -> list[str]:
    return [chain_key("filter", walk_chain(walk.id, walk.direction))] if walk else []


def _content(ip_set: IPSet, family: Family) -> Content:
    spec = SetSpec(set_name(ip_set.id[:-1], family), _KINDS[ip_set.kind])
    return spec, storable(ip_set.members) if ip_set.kind == "nets" else ip_set.members


def _fixed_sets(new: NodeProgram, family: Family, old: NodeProgram | None) -> Iterator[tuple[SetSpec, frozenset[str]]]:
    """The anti-spoofing set and those of natOutgoing, where they may have changed."""
    if old is None or old.endpoints is not new.endpoints:
        addresses = (
            f"{address.partition('/')[0]},{endpoint.interface}"
            for endpoint in new.endpoints.values()
            for address in endpoint.addresses
            if (":" in address) == (family == 6)
        )
        yield sources_set(family), frozenset(addresses)
    if old is None or old.nat_sources != new.nat_sources:
        yield nat_sources_set(family), storable(_of_family(new.nat_sources, family))
    if old is None or old.pools != new.pools:
        yield pools_set(family), storable(_of_family(new.pools, family))


def _of_family(nets: frozenset[str], family: Family) -> frozenset[str]:
    return frozenset(net for net in nets if (":" in net) == (family == 6))


def _add(counts: MapMutation[K, int], key: K, by: int) -> int:
    count = counts.get(key, 0) + by
    if count:
        counts[key] = count
    else:
        counts.pop(key, None)
    return count
