"""Long lists of rules in blocks, each behind a condition without which none of its rules can match. Pure.

A packet then passes by a block at the price of one rule: of a thousand rules that differ by port or by address it meets
a few dozen. Every rule stays what it is and is there once, and the first to match a packet stays the first
(`gathering`): counters and reports are those of the list.

The condition is a `Match` like any rule's. It may be wider than the rules behind it, never narrower. Where rules differ
by sets of addresses it asks for a *union*, a set that holds the members of others: `unions.py` keeps those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import chain, groupby
from operator import or_
from typing import TypeVar

import msgspec

from emulator.dataplane.gathering import gathered
from reference.endpoints import Family
from reference.program.types import Match, PolicyProgram, PortRange, ProgramRule

LONG = 32  # rules; shorter lists are easier to read as they are
SIZE = 16  # items of a block, rules or blocks
UNION_PREFIX = "union-"

T = TypeVar("T")


class Union(msgspec.Struct, frozen=True):
    """Addresses in any of some sets (base ids) or nets."""

    sets: frozenset[str] = frozenset()
    nets: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """The base id of the set that holds them, known by what it unites."""
        return (
            UNION_PREFIX + hashlib.sha256(msgspec.json.encode((sorted(self.sets), sorted(self.nets)))).hexdigest()[:16]
        )

    def __or__(self, other: Union) -> Union:
        return Union(self.sets | other.sets, self.nets | other.nets)


@lru_cache(maxsize=65536)
def _union_id(union: Union) -> str:
    content = msgspec.json.encode((sorted(union.sets), sorted(union.nets)))
    return UNION_PREFIX + hashlib.sha256(content).hexdigest()[:16]


class Cover(msgspec.Struct, frozen=True):
    """What every packet has that one of some rules matches; None where they have nothing in common."""

    family: Family | None = None
    protocol: int | None = None
    ports: frozenset[PortRange] | None = None  # of the destination
    source: Union | None = None
    destination: Union | None = None

    @property
    def match(self) -> Match:
        """The condition."""
        source, destination = _asked(self.source), _asked(self.destination)
        return Match(
            family=self.family,
            protocol=self.protocol,
            destination_ports=tuple(sorted(self.ports or (), key=lambda port: (port.low, port.high))),
            source_nets=source[0],
            source_sets=source[1],
            destination_nets=destination[0],
            destination_sets=destination[1],
        )

    @property
    def unions(self) -> tuple[Union, ...]:
        """The unions the condition asks for."""
        return tuple(union for union in (self.source, self.destination) if union is not None and union.sets)


class Block(msgspec.Struct, frozen=True):
    """Some rules, or blocks of rules, and what they have in common."""

    cover: Cover
    items: tuple[Item, ...]


Item = ProgramRule | Block


def is_long(rules: Sequence[ProgramRule]) -> bool:
    """Whether a list is put in blocks."""
    return len(rules) > LONG


def has_blocks(policy: PolicyProgram) -> bool:
    """Whether a list of a policy is put in blocks."""
    return is_long(policy.ingress) or is_long(policy.egress)


def in_blocks(rules: tuple[ProgramRule, ...]) -> tuple[Item, ...]:
    """The rules; those of a long list in blocks, and blocks of blocks, wherever something tells them apart."""
    return _blocks_of(rules) if is_long(rules) else rules


@lru_cache(maxsize=1024)
def _blocks_of(rules: tuple[ProgramRule, ...]) -> tuple[Item, ...]:
    items: tuple[Item, ...] = tuple(gathered(rules))
    while len(items) > SIZE:
        shorter = tuple(chain.from_iterable(map(_block, _pieces(items))))
        if len(shorter) == len(items):
            break
        items = shorter
    return items


def in_order(items: Iterable[Item]) -> Iterator[ProgramRule]:
    """The rules of all blocks, in the order a packet meets them."""
    for item in items:
        if isinstance(item, Block):
            yield from in_order(item.items)
        else:
            yield item


def unions_of(items: Iterable[Item]) -> frozenset[Union]:
    """Every union the conditions of the blocks ask for."""
    found: set[Union] = set()
    for item in items:
        if isinstance(item, Block):
            found.update(item.cover.unions, unions_of(item.items))
    return frozenset(found)


def _pieces(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    """Items that become a block: so many, and many for the same ports by themselves."""
    others: list[Item] = []
    for _, stretch in groupby(items, key=_ports):
        same = tuple(stretch)
        if len(same) < SIZE:
            others.extend(same)
        else:
            yield from _cut(others)
            yield from _cut(same)
            others = []
    yield from _cut(others)


def _cut(items: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    return (tuple(items[start : start + SIZE]) for start in range(0, len(items), SIZE))


def _ports(item: Item) -> object:
    return item.cover.ports if isinstance(item, Block) else (item.match.protocol, item.match.destination_ports)


def _block(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """One block, or the items themselves where no condition would spare a packet any of them."""
    covers = [item.cover if isinstance(item, Block) else _cover(item.match) for item in items]
    telling = [
        name for name in ("ports", "source", "destination") if _tells_apart([getattr(cover, name) for cover in covers])
    ]
    if not telling:
        return items
    united = {name: reduce(or_, (getattr(cover, name) for cover in covers)) for name in telling}
    common = Cover(
        family=_shared([cover.family for cover in covers]),
        protocol=_shared([cover.protocol for cover in covers]),
        ports=_shared([cover.ports for cover in covers]),
    )
    return (Block(msgspec.structs.replace(common, **united), items),)


def _cover(match: Match) -> Cover:
    return Cover(
        family=match.family,
        protocol=match.protocol,
        ports=frozenset(match.destination_ports) if not match.destination_port_sets else None,
        source=_union(match.source_nets, match.source_sets),
        destination=_union(match.destination_nets, match.destination_sets),
    )


def _union(nets: tuple[str, ...], sets: tuple[str, ...]) -> Union | None:
    """Nets and sets are ANDed, so any one of them covers the rule; nets never change."""
    if nets:
        return Union(nets=frozenset(nets))
    return Union(sets=frozenset(sets[:1])) if sets else None


def _tells_apart(values: Sequence[object]) -> bool:
    """Whether every item asks for something here, and not all for the same."""
    return all(values) and len(set(values)) > 1


def _shared(values: Sequence[T | None]) -> T | None:
    return values[0] if len(set(values)) == 1 else None


def _asked(union: Union | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(nets, sets) of a condition."""
    if union is None:
        return (), ()
    return ((), (union.id,)) if union.sets else (tuple(sorted(union.nets)), ())
