"""How a large value came out of the one before: who made it says where the two may differ, so that nobody searches.

A memory only, beside the values: it holds none of them alive, and what it does not know has to be worked out.
"""

from __future__ import annotations

import weakref
from collections.abc import Set
from typing import Any, NamedTuple, TypeVar

from immutables import Map

V = TypeVar("V", Map[str, Any], frozenset[str])


class _Descent(NamedTuple):
    child: weakref.ref[Any]
    parent: weakref.ref[Any]
    touched: Set[str]


_GENERATIONS = 4  # that are looked back
_KNOWN: dict[int, _Descent] = {}  # by the identity of the child; equality would look at everything


def descends(child: V, parent: V, touched: Set[str]) -> V:
    """Remember that the two are the same but for these keys or members, or some of them; the child."""
    at = id(child)
    if child is not parent and parent:
        _KNOWN[at] = _Descent(weakref.ref(child, lambda _: _KNOWN.pop(at, None)), weakref.ref(parent), touched)
    return child


def touched_between(one: V, other: V) -> Set[str] | None:
    """Keys or members outside of which the two, in either order, are the same; None: nobody has told.

    One may be a late descendant of the other, if all between are alive.
    """
    found = _touched_since(other, one)
    return _touched_since(one, other) if found is None else found


def _touched_since(child: object, ancestor: object) -> Set[str] | None:
    touched: Set[str] = frozenset()
    for _ in range(_GENERATIONS):
        known = _KNOWN.get(id(child))
        parent = None if known is None or known.child() is not child else known.parent()
        if known is None or parent is None:
            return None
        touched = touched | known.touched
        if parent is ancestor:
            return touched
        child = parent
    return None
