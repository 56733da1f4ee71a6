"""Selectors as fast functions of labels, and what a match requires (SEL-4, SEL-6, SEL-10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reference.selectors.nodes import (
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
    Substring,
)

Labels = Mapping[str, str]
Matcher = Callable[[Labels], bool]
Conditions = dict[str, frozenset[str] | None]


def matcher(node: Node) -> Matcher:
    """Compile a tree into one closure per node: nothing of the tree is looked at while matching."""
    match node:
        case All() | Global():
            return lambda _: True
        case Has(label):
            return lambda labels: label in labels
        case Equals(label, value):
            return lambda labels: labels.get(label) == value
        case NotEquals(label, value):
            return lambda labels: labels.get(label) != value
        case In(label, values):
            return lambda labels: labels.get(label) in values
        case NotIn(label, values):
            return lambda labels: labels.get(label) not in values
        case Not(operand):
            inner = matcher(operand)
            return lambda labels: not inner(labels)
        case And(operands):
            return _all_of(tuple(map(matcher, operands)))
        case Or(operands):
            return _any_of(tuple(map(matcher, operands)))
        case _:
            return _substring(node)


def _all_of(parts: tuple[Matcher, ...]) -> Matcher:
    def both(labels: Labels) -> bool:
        return first(labels) and second(labels)

    def every(labels: Labels) -> bool:
        return all(part(labels) for part in parts)

    first, second = parts[:2]
    return both if len(parts) == 2 else every


def _any_of(parts: tuple[Matcher, ...]) -> Matcher:
    def either(labels: Labels) -> bool:
        return first(labels) or second(labels)

    def some(labels: Labels) -> bool:
        return any(part(labels) for part in parts)

    first, second = parts[:2]
    return either if len(parts) == 2 else some


def _substring(node: Substring) -> Matcher:
    """An absent label is false, the empty substring true for any present one (SEL-4)."""
    label, value = node.label, node.value
    match node:
        case Contains():
            return lambda labels: (found := labels.get(label)) is not None and value in found
        case StartsWith():
            return lambda labels: (found := labels.get(label)) is not None and found.startswith(value)
        case EndsWith():
            return lambda labels: (found := labels.get(label)) is not None and found.endswith(value)


def conditions(node: Node, *, negated: bool = False) -> Conditions:
    """What must hold of single labels in any match: the values one may have, or None for any value.

    Necessary, not sufficient: an index may skip whatever fails one of them, and must still match the rest.
    A negation is pushed inwards (De Morgan), so `!(a != "x")` requires what `a == "x"` does.
    """
    match node:
        case Not(operand):
            return conditions(operand, negated=not negated)
        case And(operands) | Or(operands):
            parts = [conditions(operand, negated=negated) for operand in operands]
            return _joined(parts) if isinstance(node, And) != negated else _common(parts)
        case Equals(label, value) if not negated:
            return {label: frozenset({value})}
        case NotEquals(label, value) if negated:
            return {label: frozenset({value})}
        case In(label, values) if not negated:
            return {label: values}
        case NotIn(label, values) if negated:
            return {label: values}
        case Has(label) | Contains(label) | StartsWith(label) | EndsWith(label) if not negated:
            return {label: None}
        case _:
            return {}


def _joined(parts: list[Conditions]) -> Conditions:
    """All parts hold: values of one label intersect."""
    result: Conditions = {}
    for part in parts:
        for label, values in part.items():
            known = result.get(label)
            result[label] = values if known is None else known if values is None else known & values
    return result


def _common(parts: list[Conditions]) -> Conditions:
    """At least one part holds: only labels every part names stay, with the union of their values."""
    result: Conditions = {}
    for label in parts[0]:
        if all(label in part for part in parts):
            known = [values for part in parts if (values := part[label]) is not None]
            result[label] = frozenset().union(*known) if len(known) == len(parts) else None
    return result
