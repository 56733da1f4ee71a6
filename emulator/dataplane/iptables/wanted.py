"""What one family's kernel must hold, and why: a program's chains and sets, counted by who needs them. Pure.

Parts are compared by identity first: a part that did not change is neither rendered nor looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from emulator.dataplane import references
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
from emulator.dataplane.iptables.twins import has_twins, twins
from emulator.dataplane.references import DIRECTIONS, Draft, differing, no_program
from reference.endpoints import Family
from reference.program.types import IPSet, NodeProgram, PolicyProgram, Walk

_KINDS: dict[str, SetType] = {"nets": "hash:net", "ports": "hash:ip,port"}


class Programmed(references.Programmed[Chain, SetSpec], frozen=True):
    """What an apply left in the kernel, and why each thing is there."""

    kernel: Kernel = Kernel()

    def chain(self, key: str) -> Chain | None:
        """A chain of the kernel; None if there is none of this key."""
        found = self.chains.get(key) or self.groups.get(key)
        if found is None and key in self.jumps:
            table, name = split_key(key)
            return Chain(name=name, table=table)
        return found

    def sides(self, name: str) -> tuple[str, ...]:
        """The sides of a packet on which the kernel's rules read a set."""
        read = self.kernel.reads if self.program is None else self.reads
        return tuple(side for side in ("src", "dst") if (name, side) in read)


class Differences(NamedTuple):
    """(id, old, new) of the parts that differ between two programs; both families are made from them."""

    policies: list[tuple[str, PolicyProgram | None, PolicyProgram | None]]
    walks: list[tuple[str, Walk | None, Walk | None]]
    sets: list[tuple[str, IPSet | None, IPSet | None]]
    made: dict[str, tuple[Chain, ...]]  # of policies, for IPv4, until they were made for IPv6 too

    def chains(self, policy: PolicyProgram, family: Family) -> tuple[Chain, ...]:
        """The chains of a policy."""
        if family == 6 and policy.id in self.made:
            return twins(self.made.pop(policy.id))
        chains = tuple(policy_chains(policy, family))
        if family == 4 and has_twins(policy):
            self.made[policy.id] = chains
        return chains


def differences(old: NodeProgram | None, new: NodeProgram) -> Differences:
    """What differs."""
    old = old or no_program(new.node)
    return Differences(
        list(differing(old.policies, new.policies)),
        list(differing(old.walks, new.walks)),
        list(differing(old.sets, new.sets)),
        {},
    )


def drafted(before: Programmed, program: NodeProgram, family: Family, between: Differences) -> Draft[Chain, SetSpec]:
    """The program's chains and sets in place of those of the one before."""
    draft = Draft(before)
    first = before.program is None
    old = before.program or no_program(program.node)
    _take_chains(draft, old, program, family, between, first=first)
    for set_id, _, now in between.sets:
        if set_id.endswith(str(family)):
            draft.put(set_name(set_id[:-1], family), _content(now, family) if now else None)
    for spec, mine in _fixed_sets(program, family, None if first else old):
        draft.put(spec.name, (spec, mine))
    return draft


def _take_chains(
    draft: Draft[Chain, SetSpec],
    old: NodeProgram,
    new: NodeProgram,
    family: Family,
    between: Differences,
    *,
    first: bool,
) -> None:
    """Put the chains of changed parts in place of the old ones."""
    for policy_id, old_policy, policy in between.policies:
        draft.replace(_policy_keys(policy_id) if old_policy else (), between.chains(policy, family) if policy else ())
    for _, old_walk, walk in between.walks:
        draft.replace(_walk_keys(old_walk), (walk_to_chain(walk),) if walk else ())
    if first or old.endpoints != new.endpoints:
        draft.replace(_keys(dispatch_chains((*old.endpoints.values(),))), dispatch_chains((*new.endpoints.values(),)))
    if first or (old.to_host, old.encapsulation) != (new.to_host, new.encapsulation):
        static = static_chains(family, new.to_host, new.encapsulation)
        draft.replace(_keys(static), static)
    if first or not _has_same_guards(old, new):
        draft.replace(_keys(host_chains(old, family)), host_chains(new, family))


def _has_same_guards(old: NodeProgram, new: NodeProgram) -> bool:
    """Report whether all that the chains of host endpoints depend on is the same; there are few of them."""
    return not (old.host_endpoints or new.host_endpoints) or all(
        getattr(old, part) is getattr(new, part) or getattr(old, part) == getattr(new, part)
        for part in ("host_endpoints", "failsafes", "open_ports", "policies", "walks")
    )


def _keys(chains: Iterable[Chain]) -> list[str]:
    return [chain.key for chain in chains]


def _policy_keys(policy_id: str) -> list[str]:
    return [chain_key("filter", policy_chain(policy_id, direction)) for direction in DIRECTIONS]


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
