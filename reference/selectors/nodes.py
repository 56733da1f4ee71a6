"""The syntax tree of a selector, as frozen data, and its canonical text (SEL-7).

Trees are made by the parser or by `reference.selectors.building`; both keep them normal: And and Or have at least two
operands, and a Not never holds a Not, so that the canonical text parses to the tree it came from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class All:
    """`all()`, and the empty selector (SEL-6)."""


@dataclass(frozen=True, slots=True)
class Global:
    """`global()`: true by itself; rewriting gives it its meaning (SEL-6, RULE-9)."""


@dataclass(frozen=True, slots=True)
class Has:
    """`has(label)`."""

    label: str


@dataclass(frozen=True, slots=True)
class Equals:
    """`label == "value"`."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class NotEquals:
    """`label != "value"`: true when the label is absent (SEL-4)."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Contains:
    """`label contains "value"`."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class StartsWith:
    """`label starts with "value"`."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class EndsWith:
    """`label ends with "value"`."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class In:
    """`label in {…}`."""

    label: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class NotIn:
    """`label not in {…}`: true when the label is absent (SEL-4)."""

    label: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Not:
    """`!operand`."""

    operand: Node


@dataclass(frozen=True, slots=True)
class And:
    """`(a && b && …)`."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """`(a || b || …)`."""

    operands: tuple[Node, ...]


Node = All | Global | Has | Equals | NotEquals | Contains | StartsWith | EndsWith | In | NotIn | Not | And | Or
Substring = Contains | StartsWith | EndsWith

_INFIX: dict[type[Node], str] = {
    Equals: "==",
    NotEquals: "!=",
    Contains: "contains",
    StartsWith: "starts with",
    EndsWith: "ends with",
}


def canonical_text(node: Node) -> str:
    """The canonical text of a tree (SEL-7); parsing it gives the same tree."""
    match node:
        case All():
            return "all()"
        case Global():
            return "global()"
        case Has(label):
            return f"has({label})"
        case In(label, values):
            return f"{label} in {_set_text(values)}"
        case NotIn(label, values):
            return f"{label} not in {_set_text(values)}"
        case Not(operand):
            return f"!{canonical_text(operand)}"
        case And(operands):
            return f"({' && '.join(map(canonical_text, operands))})"
        case Or(operands):
            return f"({' || '.join(map(canonical_text, operands))})"
        case _:
            return f"{node.label} {_INFIX[type(node)]} {_quoted(node.value)}"


def _set_text(values: Iterable[str]) -> str:
    return "{" + ", ".join(_quoted(value) for value in sorted(values, key=str.encode)) + "}"


def _quoted(value: str) -> str:
    # No escapes exist, so a value with both quotes cannot be written; the parser never makes one.
    return f"'{value}'" if '"' in value else f'"{value}"'
