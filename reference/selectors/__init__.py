"""The selector language (semantics 2c): parse, canonical text, unique id, match."""

from __future__ import annotations

from reference.selectors.building import ALL, conjunction, negation, required, with_label_prefix
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
)
from reference.selectors.parsing import SelectorError
from reference.selectors.selector import Selector, parse

__all__ = [
    "ALL",
    "All",
    "And",
    "Contains",
    "EndsWith",
    "Equals",
    "Global",
    "Has",
    "In",
    "Node",
    "Not",
    "NotEquals",
    "NotIn",
    "Or",
    "Selector",
    "SelectorError",
    "StartsWith",
    "conjunction",
    "negation",
    "parse",
    "required",
    "with_label_prefix",
]
