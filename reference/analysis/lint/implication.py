"""Does one selector imply another, whatever labels there are? Only certain answers are positive.

`a` implies `b` when `a && !b` can be satisfied by no labels. That is decided label by label over the disjunctive normal
form; a form that grows too large, or strings that are too hard to reason about, count as satisfiable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, groupby

from reference.selectors import (
    All,
    And,
    Contains,
    EndsWith,
    Equals,
    Global,
    Has,
    In,
    Node,
    Not,
    NotEquals,
    NotIn,
    Or,
    StartsWith,
)

Leaf = Has | Equals | In | Contains | StartsWith | EndsWith
Literal = tuple[Leaf, bool]  # a condition on one label, and whether it must hold or must not
_MOST = 256  # alternatives looked at before giving up


@lru_cache(maxsize=65536)
def implies(one: Node, other: Node) -> bool:
    """Report whether every set of labels that matches `one` certainly matches `other`."""
    return one == other or isinstance(other, All) or not satisfiable(And((one, Not(other))))


@lru_cache(maxsize=65536)
def satisfiable(node: Node) -> bool:
    """Report whether some labels may match; False only when none can (SEL-4)."""
    try:
        return any(map(_possible, _alternatives(node, wanted=True)))
    except _TooLarge:
        return True


class _TooLarge(Exception):  # noqa: N818 - never leaves this module
    """The normal form has too many alternatives."""


def _alternatives(node: Node, *, wanted: bool) -> list[tuple[Literal, ...]]:
    """The disjunctive normal form of a tree, or of its negation."""
    match node:
        case All() | Global():
            return [()] if wanted else []
        case Not(operand):
            return _alternatives(operand, wanted=not wanted)
        case NotEquals(label, value):
            return [((Equals(label, value), not wanted),)]
        case NotIn(label, values):
            return [((In(label, values), not wanted),)]
        case And(operands) | Or(operands):
            parts = [_alternatives(operand, wanted=wanted) for operand in operands]
            return _product(parts) if isinstance(node, And) == wanted else _bounded(list(chain.from_iterable(parts)))
        case _:
            return [((node, wanted),)]


def _product(parts: Iterable[list[tuple[Literal, ...]]]) -> list[tuple[Literal, ...]]:
    result: list[tuple[Literal, ...]] = [()]
    for part in parts:
        if len(result) * len(part) > _MOST:
            raise _TooLarge
        result = [(*left, *right) for left in result for right in part]
    return result


def _bounded(alternatives: list[tuple[Literal, ...]]) -> list[tuple[Literal, ...]]:
    if len(alternatives) > _MOST:
        raise _TooLarge
    return alternatives


def _possible(literals: tuple[Literal, ...]) -> bool:
    """Report whether every label can have a value, or be absent, as its conditions ask."""
    ordered = sorted(literals, key=lambda literal: literal[0].label)
    return all(_label_possible(list(group)) for _, group in groupby(ordered, key=lambda literal: literal[0].label))


def _label_possible(literals: list[Literal]) -> bool:
    positive = [leaf for leaf, wanted in literals if wanted]
    negative = [leaf for leaf, wanted in literals if not wanted]
    if not positive:
        return True  # the label may be absent, which every negation accepts (SEL-4)
    if any(isinstance(leaf, Has) for leaf in negative):
        return False
    named = [_values(leaf) for leaf in positive if isinstance(leaf, Equals | In)]
    if named:
        candidates = frozenset.intersection(*named)
        return any(all(_holds(leaf, value) is wanted for leaf, wanted in literals) for value in candidates)
    if any(_follows(strong, weak) for strong in positive for weak in negative):
        return False
    return not any(_exclude(one, other) for one in positive for other in positive)


def _values(leaf: Equals | In) -> frozenset[str]:
    return frozenset({leaf.value}) if isinstance(leaf, Equals) else leaf.values


def _holds(leaf: Leaf, value: str) -> bool:
    """Report whether a present label with this value satisfies a condition."""
    match leaf:
        case Has():
            return True
        case Equals() | In():
            return value in _values(leaf)
        case Contains():
            return leaf.value in value
        case StartsWith():
            return value.startswith(leaf.value)
        case EndsWith():
            return value.endswith(leaf.value)


def _follows(strong: Leaf, weak: Leaf) -> bool:
    """Report whether any value that satisfies one substring condition satisfies the other."""
    if isinstance(weak, Has | Equals | In):
        return False  # Has was settled before; no substring condition pins a value down
    if weak.value == "":
        return True  # true for every present label
    if isinstance(strong, Has | Equals | In):
        return False
    match weak:
        case Contains():
            return weak.value in strong.value
        case StartsWith():
            return isinstance(strong, StartsWith) and strong.value.startswith(weak.value)
        case EndsWith():
            return isinstance(strong, EndsWith) and strong.value.endswith(weak.value)


def _exclude(one: Leaf, other: Leaf) -> bool:
    """Report whether no value satisfies both: two beginnings, or two ends, that differ."""
    if isinstance(one, StartsWith) and isinstance(other, StartsWith):
        return not (one.value.startswith(other.value) or other.value.startswith(one.value))
    if isinstance(one, EndsWith) and isinstance(other, EndsWith):
        return not (one.value.endswith(other.value) or other.value.endswith(one.value))
    return False


def labels_in(node: Node) -> Iterator[str]:
    """Every label name a selector mentions."""
    match node:
        case All() | Global():
            return
        case Not(operand):
            yield from labels_in(operand)
        case And(operands) | Or(operands):
            for operand in operands:
                yield from labels_in(operand)
        case _:
            yield node.label
