"""A parsed selector as a value: its tree, canonical text, unique id and match function."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from reference.selectors.matching import matcher
from reference.selectors.nodes import Node, canonical_text
from reference.selectors.parsing import SelectorError, parse_tree


@dataclass(frozen=True, slots=True, eq=False)
class Selector:
    """A selector. Two are equal when their canonical texts are (SEL-8). Made by `parse` and the builders."""

    node: Node = field(repr=False)
    canonical: str  # SEL-7
    unique_id: str = field(repr=False)  # SEL-8
    matches: Callable[[Mapping[str, str]], bool] = field(repr=False)  # report whether labels satisfy it (SEL-4)

    def __eq__(self, other: object) -> bool:
        return self.canonical == other.canonical if isinstance(other, Selector) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __str__(self) -> str:
        return self.canonical

    def __reduce__(self) -> tuple[Callable[[str], Selector], tuple[str]]:
        return parse, (self.canonical,)  # closures do not pickle; the text says it all


def unique_id(canonical: str) -> str:
    """The id of a canonical text: `s:` and the unpadded base64url of a SHA-224 of it (SEL-8)."""
    digest = hashlib.sha224(f"s:{canonical}".encode()).digest()
    return "s:" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def selector_of(node: Node) -> Selector:
    """The selector of a tree."""
    canonical = canonical_text(node)
    return Selector(node, canonical, unique_id(canonical), matcher(node))


@lru_cache(maxsize=16384)
def parse(text: str) -> Selector:
    """Parse a selector; the empty text selects everything (SEL-6). Results are cached by text.

    Raises:
        SelectorError: the text is no selector; it says what was found at which column and what was expected.
    """
    node = parse_tree(text)
    try:
        return selector_of(node)
    except RecursionError:
        raise SelectorError(text, 0, "it is nested too deeply; write it with fewer parentheses") from None
