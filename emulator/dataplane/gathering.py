"""Rules for the same ports side by side, as far as that changes nothing, so that blocks have more in common. Pure.

Two rules that ask for different destination ports never match the same packet, so their order is of no matter. In a
run of rules any two of which ask for the same ports or for ports apart, those for the same are brought together. The
first rule to match a packet stays the first.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Iterable, Iterator
from itertools import pairwise

from reference.program.types import Match, ProgramRule

Span = tuple[int, int]  # from (protocol, port) to (protocol, port), as numbers
_PORTS = 1 << 16


def gathered(rules: Iterable[ProgramRule]) -> Iterator[ProgramRule]:
    """The rules; within each run those for the same ports together, in their order, at the place of the first."""
    run: dict[tuple[Span, ...], list[ProgramRule]] = {}
    taken: list[Span] = []  # by the run, in order
    for rule in rules:
        spans = _spans(rule.match)
        if not spans or (spans not in run and any(_is_taken(taken, span) for span in spans)):
            yield from (one for same in run.values() for one in same)
            run, taken = {}, []
        if not spans:
            yield rule
            continue
        if spans not in run:
            run[spans] = []
            for span in spans:
                insort(taken, span)
        run[spans].append(rule)
    yield from (one for same in run.values() for one in same)


def _spans(match: Match) -> tuple[Span, ...]:
    """The destination ports without which a rule does not match, in order; none when it matches others too (RULE-5)."""
    if match.protocol is None or match.destination_port_sets:
        return ()
    first = match.protocol * _PORTS
    spans = sorted((first + ports.low, first + ports.high) for ports in match.destination_ports)
    if any(low <= high for (_, high), (low, _) in pairwise(spans)):
        return ()  # the compiler merges these
    return tuple(spans)


def _is_taken(taken: list[Span], span: Span) -> bool:
    """Report whether a span overlaps with any of some that are apart."""
    at = bisect(taken, span)
    return (at > 0 and taken[at - 1][1] >= span[0]) or (at < len(taken) and taken[at][0] <= span[1])
