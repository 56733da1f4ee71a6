"""The unions that conditions of blocks ask for, kept as sets of the program beside its own.

A union may hold more than its sets do and decides nothing by itself: a dataplane adds members to it before it changes
anything else, and takes members out after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import msgspec
from immutables import Map

from emulator.dataplane.blocks import UNION_PREFIX, Union, has_blocks, in_blocks, unions_of
from emulator.dataplane.references import differing
from reference.endpoints import Family
from reference.program.descent import descends
from reference.program.nets import Cover, net
from reference.program.types import IPSet, NodeProgram, PolicyProgram, ProgramRule

FAMILIES: tuple[Family, Family] = (4, 6)
_HOST: dict[Family, str] = {4: "/32", 6: "/128"}
_NONE: frozenset[Union] = frozenset()


def is_union(set_id: str) -> bool:
    """Whether a set of a program is a union."""
    return set_id.startswith(UNION_PREFIX)


class Unions:
    """What a node's program was last extended by; touches what changed since."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._program: NodeProgram | None = None
        self._extended: NodeProgram | None = None
        self._asked: Counter[Union] = Counter()  # by how many policies
        self._over: dict[str, set[Union]] = {}  # those that hold the members of a set, by its base id
        self._sets: Map[str, IPSet] = Map()  # of the unions

    def extend(self, program: NodeProgram) -> NodeProgram:
        """The program with the unions that blocks of its rules ask for; the same object for the same program."""
        if program is self._program and self._extended is not None:
            return self._extended
        old, before = self._program, self._extended
        changed: set[tuple[Union, Family]] = set(product(self._take_policies(old, program), FAMILIES))
        touched = {set_id for set_id, _, _ in differing(old.sets if old else Map(), program.sets)}
        for set_id in touched:
            family: Family = 4 if set_id.endswith("4") else 6
            changed.update((union, family) for union in self._over.get(set_id[:-1], ()))
        for union, family in changed:
            self._put(union, family, program)
        self._program = program
        self._extended = _with(program, self._sets) if self._sets else program
        if before is not None:
            descends(
                self._extended.sets, before.sets, touched.union(f"{union.id}{family}" for union, family in changed)
            )
        return self._extended

    def _take_policies(self, old: NodeProgram | None, new: NodeProgram) -> set[Union]:
        """Count anew how many policies ask for which unions; those that changed policies ask for, or asked for."""
        touched: set[Union] = set()
        for _, before, after in differing(old.policies, new.policies) if old else _long_ones(new):
            gone, come = _unions(before), _unions(after)
            if gone is come:
                continue
            self._asked.subtract(gone)
            self._asked.update(come)
            touched |= gone ^ come
        self._asked = +self._asked
        for union in touched:
            for base in union.sets:
                over = self._over.setdefault(base, set())
                (over.add if union in self._asked else over.discard)(union)
                if not over:
                    del self._over[base]
        return touched

    def _put(self, union: Union, family: Family, program: NodeProgram) -> None:
        name = f"{union.id}{family}"
        if union in self._asked:
            self._sets = self._sets.set(name, _made(union, family, program))
        elif name in self._sets:
            self._sets = self._sets.delete(name)


def _long_ones(program: NodeProgram) -> Iterator[tuple[str, None, PolicyProgram]]:
    """The policies that may ask for unions, as what differs from no program: of many they are few."""
    return ((id_, None, policy) for id_, policy in program.policies.items() if has_blocks(policy))


def _unions(policy: PolicyProgram | None) -> frozenset[Union]:
    if policy is None or not has_blocks(policy):
        return _NONE
    return _unions_of_long(policy.ingress) | _unions_of_long(policy.egress)


@lru_cache(maxsize=1024)
def _unions_of_long(rules: tuple[ProgramRule, ...]) -> frozenset[Union]:
    return unions_of(in_blocks(rules))


def _with(program: NodeProgram, unions: Map[str, IPSet]) -> NodeProgram:
    sets = program.sets.mutate()
    sets.update(unions)
    return msgspec.structs.replace(program, sets=sets.finish())


def _made(union: Union, family: Family, program: NodeProgram) -> IPSet:
    """The set of a union. Of nets within nets only the widest stay, as in every set of a program."""
    found = (program.sets.get(f"{base}{family}") for base in union.sets)
    members = frozenset(text for text in union.nets if (":" in text) == (family == 6)).union(
        *(some.members for some in found if some is not None)
    )
    if not all(member.endswith(_HOST[family]) for member in members):
        cover = Cover(family, map(net, members))
        members = frozenset(member for member in members if not cover.contains(net(member)))
    return IPSet(id=f"{union.id}{family}", kind="nets", family=family, members=members)
