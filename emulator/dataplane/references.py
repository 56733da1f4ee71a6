"""Which chains and sets the kernel must hold for a program, and why: counted by what refers to them. Pure.

Parts are compared by identity first: a part that did not change is neither rendered nor looked into. What was
programmed last is a value, so a refused transaction changes nothing here either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from operator import is_not
from typing import Any, Generic, Protocol, Self, TypeVar

import msgspec
from immutables import Map, MapMutation

from reference.program.descent import touched_between
from reference.program.types import FlowDirection, NodeProgram

DIRECTIONS: tuple[FlowDirection, FlowDirection] = ("ingress", "egress")
NOTHING: frozenset[str] = frozenset()
T = TypeVar("T")


class Spec(Protocol):
    """A set without its members."""

    @property
    def name(self) -> str:
        """What tells it apart from all other sets."""
        ...


Read = TypeVar("Read", bound=Spec, covariant=True)


class Referring(Protocol[Read]):
    """A chain, and what its rules refer to."""

    @property
    def key(self) -> str:
        """What tells it apart from all other chains."""
        ...

    @property
    def groups(self) -> tuple[Self, ...]:
        """Chains that exist because of jumps to them."""
        ...

    @property
    def jump_keys(self) -> Iterable[str]:
        """The keys of other chains jumped to; parts of the program are behind them."""
        ...

    @property
    def reads(self) -> Iterable[tuple[Read, frozenset[str], str]]:
        """Each set, with the members it has for ever if it is there for the rules only, and the side that is read."""
        ...


C = TypeVar("C", bound=Referring[Spec])
S = TypeVar("S", bound=Spec)
P = TypeVar("P", bound="Programmed[Any, Any]")


class Programmed(msgspec.Struct, Generic[C, S], frozen=True):
    """What an apply left in the kernel.

    A chain exists when a part is behind it or a rule jumps to it (then it is a group of policies, or empty: POL-16);
    a set exists when the program has it or a rule reads it (then it is a literal, or empty).
    """

    chains: Map[str, C] = Map()  # of policies and walks, by key
    groups: Map[str, C] = Map()  # that chains bring along
    jumps: Map[str, int] = Map()  # how many chains jump to a chain
    sets: Map[str, tuple[S, frozenset[str]]] = Map()  # the program's, by name
    needed: Map[str, tuple[S, frozenset[str]]] = Map()  # what rules read, as they need it
    reads: Map[tuple[str, str], int] = Map()  # how many chains read a set on a side; on "" those on any
    program: NodeProgram | None = None

    def content(self, name: str) -> tuple[S, frozenset[str]] | None:
        """A set with its members; None if there is none of this name. Only the program knows members."""
        return self.sets.get(name) or self.needed.get(name)


class Draft(Generic[C, S]):
    """A `Programmed` in the making, and the names of everything its changes concern, in order."""

    def __init__(self, before: Programmed[C, S]) -> None:
        """Begin with what is programmed."""
        self._chains, self._groups, self._jumps = before.chains.mutate(), before.groups.mutate(), before.jumps.mutate()
        self._sets, self._needed, self._reads = before.sets.mutate(), before.needed.mutate(), before.reads.mutate()
        self.touched_chains: dict[str, None] = {}
        self.touched_sets: dict[str, None] = {}

    def finish(self, before: P, program: NodeProgram) -> P:
        """The finished value; whatever else `before` holds stays."""
        return msgspec.structs.replace(
            before,
            chains=self._chains.finish(),
            groups=self._groups.finish(),
            jumps=self._jumps.finish(),
            sets=self._sets.finish(),
            needed=self._needed.finish(),
            reads=self._reads.finish(),
            program=program,
        )

    def replace(self, old: Iterable[str], new: Iterable[C]) -> None:
        """Put chains in the place of those with the old keys."""
        for key in old:
            if key in self._chains:
                self._count(self._chains.pop(key), -1)
        for chain in new:
            self._chains[chain.key] = chain
            self._count(chain, 1)

    def put(self, name: str, content: tuple[S, frozenset[str]] | None) -> None:
        """Put a set of the program in place, or take it out."""
        self.touched_sets[name] = None
        if content is None:
            self._sets.pop(name, None)
        else:
            self._sets[name] = content

    def _count(self, chain: C, by: int) -> None:
        """Note, or take back, what a chain refers to."""
        self.touched_chains[chain.key] = None
        for group in chain.groups:
            self._count_group(group, by)
        for key in chain.jump_keys:
            self.touched_chains[key] = None
            _add(self._jumps, key, by)
        for spec, members, side in chain.reads:
            self.touched_sets[spec.name] = None
            if side:
                _add(self._reads, (spec.name, side), by)
            if _add(self._reads, (spec.name, ""), by):
                self._needed[spec.name] = spec, members  # type: ignore[assignment]  # a C reads sets of S
            else:
                self._needed.pop(spec.name, None)

    def _count_group(self, group: C, by: int) -> None:
        """A group is there while a chain jumps to it, and only then counts for what it refers to itself."""
        now = _add(self._jumps, group.key, by)
        if now == max(by, 0):
            self._count(group, by)
        if now:
            self._groups[group.key] = group
        else:
            self._groups.pop(group.key, None)


def differing(before: Mapping[str, T], after: Mapping[str, T]) -> Iterator[tuple[str, T | None, T | None]]:
    """(key, old, new) of every entry that is not equal in both.

    Where a map came out of the other, only what was touched is looked at. Else identity is tried first, and in C: of a
    thousand entries mostly one has changed.
    """
    if before is after:
        return
    if not before:
        yield from ((key, None, new) for key, new in after.items())
        return
    if isinstance(before, Map) and isinstance(after, Map) and (touched := touched_between(before, after)) is not None:
        for key in touched:
            old, new = before.get(key), after.get(key)
            if old is not new and old != new:
                yield key, old, new
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


def member_changes(old: frozenset[str], new: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """(gone, come): the members that are in one only. Where sets differ a little, one difference tells the other."""
    if old is new:
        return NOTHING, NOTHING
    if (touched := touched_between(old, new)) is not None:
        return frozenset((touched & old) - new), frozenset((touched & new) - old)
    if len(new) >= len(old):
        come = new - old
        return (old - new if len(old) + len(come) != len(new) else NOTHING), come
    gone = old - new
    return gone, (new - old if len(new) + len(gone) != len(old) else NOTHING)


def no_program(node: str) -> NodeProgram:
    """The program of a machine that nobody has programmed."""
    return NodeProgram(node=node, seq=0, sets=Map(), policies=Map(), walks=Map(), endpoints=Map())


K = TypeVar("K")


def _add(counts: MapMutation[K, int], key: K, by: int) -> int:
    count = counts.get(key, 0) + by
    if count:
        counts[key] = count
    else:
        counts.pop(key, None)
    return count
