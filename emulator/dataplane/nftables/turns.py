"""Two names of a set in turn: rules and members that change together are a new set and the rules that read it. Pure.

A packet that is among the old rules at the instant of a commit goes on with them, but looks into sets as they are
then. So members change in place only where no rule changes with them; else the set is filled anew under its other name
beforehand, and all its readers go over to it together with every other change of rules. What a union holds decides
nothing by itself, and a very large set would cost more than it is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

import msgspec

from emulator.dataplane.nftables.names import is_programs, is_union_name
from emulator.dataplane.nftables.parts import Chain, Rule, SetSpec
from emulator.nfnetlink import text

LARGEST = 10_000  # members of a set that is filled anew: a quarter of a second for as many
_FIRST, _SECOND = "s-", "z-"


def second(name: str) -> str:
    """The other name of a set of the program."""
    return _SECOND + name.removeprefix(_FIRST)


def first(name: str) -> str:
    """The name a set of the program has at first, by either."""
    return _FIRST + name.removeprefix(_SECOND) if name.startswith(_SECOND) else name


def may_turn(name: str, members: Set[str]) -> bool:
    """Whether a set is filled anew when its members change together with rules."""
    return is_programs(name) and not is_union_name(name) and len(members) <= LARGEST


def spec_now(spec: SetSpec, turned: Set[str]) -> SetSpec:
    """A set by the name it has now."""
    return SetSpec(second(spec.name), spec.type) if spec.name in turned else spec


def chain_now(chain: Chain, turned: Set[str]) -> Chain:
    """A chain whose rules read sets by the names they have now."""
    if not turned:
        return chain
    read = [spec.name for spec in chain.sets if spec.name in turned]
    if not read:
        return chain
    rules = tuple(
        msgspec.structs.replace(rule, expressions=_renamed(rule, ((name, second(name)) for name in read)))
        for rule in chain.rules
    )
    return msgspec.structs.replace(chain, rules=rules)


def _renamed(rule: Rule, names: Iterable[tuple[str, str]]) -> bytes:
    found = rule.expressions
    for old, new in names:
        found = found.replace(text(1, old), text(1, new))
    return found


def turned_among(names: Iterable[str]) -> frozenset[str]:
    """The first names of the sets that a kernel holds under their second ones only."""
    there = frozenset(names)
    return frozenset(first(name) for name in there if name.startswith(_SECOND) and first(name) not in there)


def with_first_names(expressions: bytes) -> bytes:
    """Encoded expressions of the kernel as they would be had no set ever turned."""
    return expressions.replace(_SECOND_NAME, _FIRST_NAME)


_SECOND_NAME, _FIRST_NAME = b"\x01\x00z-", b"\x01\x00s-"  # the attribute that names a set to look into
