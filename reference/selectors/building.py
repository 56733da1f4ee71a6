"""Selectors made from selectors: combined, negated, with prefixed labels (RULE-7, RULE-9 … RULE-11)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from reference.selectors.matching import conditions
from reference.selectors.nodes import All, And, Global, Node, Not, Or
from reference.selectors.parsing import negated
from reference.selectors.selector import Selector, parse, selector_of

ALL: Selector = parse("")


def conjunction(*selectors: Selector) -> Selector:
    """All of the selectors, in order. `all()` adds nothing; of none, or of nothing else, it is `all()`."""
    return _conjunction(tuple(selector for selector in selectors if not isinstance(selector.node, All)))


@lru_cache(maxsize=16384)
def _conjunction(selectors: tuple[Selector, ...]) -> Selector:
    match selectors:
        case ():
            return ALL
        case (single,):
            return single
        case _:
            return selector_of(And(tuple(selector.node for selector in selectors)))


@lru_cache(maxsize=4096)
def negation(selector: Selector) -> Selector:
    """Everything the selector does not match (RULE-7)."""
    return selector_of(negated(selector.node))


@lru_cache(maxsize=16384)
def with_label_prefix(selector: Selector, prefix: str) -> Selector:
    """The selector with a prefix on every label name: `pcns.` for namespaces, `pcsa.` for accounts (RULE-9, RULE-10).

    `all()` and `global()` name no label and stay; what they become is the caller's to say.
    """
    return selector_of(_prefixed(selector.node, prefix))


def _prefixed(node: Node, prefix: str) -> Node:
    match node:
        case All() | Global():
            return node
        case Not(operand):
            return Not(_prefixed(operand, prefix))
        case And(operands) | Or(operands):
            return replace(node, operands=tuple(_prefixed(operand, prefix) for operand in operands))
        case _:
            return replace(node, label=prefix + node.label)


@lru_cache(maxsize=16384)
def required(selector: Selector) -> frozenset[tuple[str, frozenset[str] | None]]:
    """Conditions that hold of the labels in every match: (label, its possible values, or None for any).

    At most one per label. For an inverted index: what fails one cannot match; what passes all may still not.
    """
    return frozenset(conditions(selector.node).items())
