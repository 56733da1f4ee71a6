"""Sets of whole numbers as sorted, disjoint spans, both ends included: ports, addresses, protocols."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]
Spans = tuple[Span, ...]


def spans(pairs: Iterable[Span]) -> Spans:
    """The pairs sorted, with those that touch or overlap joined."""
    result: list[Span] = []
    for low, high in sorted(pairs):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return tuple(result)


def common(one: Spans, other: Spans) -> Spans:
    """What is in both."""
    found: list[Span] = []
    left, right = 0, 0
    while left < len(one) and right < len(other):
        low, high = max(one[left][0], other[right][0]), min(one[left][1], other[right][1])
        if low <= high:
            found.append((low, high))
        if one[left][1] < other[right][1]:
            left += 1
        else:
            right += 1
    return tuple(found)


def without(one: Spans, other: Spans) -> Spans:
    """What is in the one and not in the other."""
    found: list[Span] = []
    for low, high in one:
        for start, end in other:
            if end < low or start > high:
                continue
            if start > low:
                found.append((low, start - 1))
            low = end + 1
        if low <= high:
            found.append((low, high))
    return tuple(found)
