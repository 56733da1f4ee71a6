"""What a generation of the tables is made of, and the numbers that names have in them. Pure."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.ebpf.encode import ACTIONS, Place
from emulator.dataplane.ebpf.layout import FIRST_REFERENCE
from reference.program.types import IPSet, NodeProgram, PolicyProgram

_NO_NUMBERS = 0, -2  # not even for a tier's end, which is rule -1


class FullError(Exception):
    """A map is too small; nothing that decides was changed."""


Span = tuple[int, int]
"""Where code is: its first place, and how many instructions it has."""
Spans = dict[str, Span]


class Attached(NamedTuple):
    """An endpoint as a generation knows it."""

    interface: int
    starts: tuple[int, int]  # of its walks, ingress and egress
    addresses: tuple[str, ...]


@dataclass(slots=True)
class Generation:
    """What one generation is."""

    program: NodeProgram | None = None
    policies: tuple[Spans, Spans] = field(default_factory=lambda: ({}, {}))  # by direction
    walks: Spans = field(default_factory=dict)
    endpoints: dict[str, Attached] = field(default_factory=dict)
    safes: Spans = field(default_factory=dict)
    safe_ports: Mapping[str, PolicyProgram] = field(default_factory=dict)
    hosts: dict[bytes, bytes] = field(default_factory=dict)  # the entries of that map, without their generation
    sets: dict[str, IPSet] = field(default_factory=dict)
    sources: frozenset[tuple[int, str]] = frozenset()
    pods: Mapping[str, int] = field(default_factory=dict)  # interfaces that packets are handed over to, by address
    pods_from: tuple[object, ...] = ()  # what they were made of


class Numbers(defaultdict[Hashable, int]):
    """Numbers of names, from 0: given once, never given again. To ask for one gives it, if need be."""

    def __init__(self, limit: int) -> None:
        super().__init__(count().__next__)
        self.of: Callable[[Hashable], int] = self.__getitem__
        self._limit = limit
        self._names: list[Hashable] = []

    def check(self) -> None:
        """See that no number reached the limit; to be called before any is written anywhere.

        Raises:
            FullError: one did.
        """
        if len(self) > self._limit:
            raise FullError

    def name(self, number: int) -> Hashable | None:
        """What has a number."""
        if len(self._names) < len(self):
            self._names = list(self)
        return self._names[number] if 0 <= number < len(self._names) else None


class References:
    """Numbers of what decides, of rules and of tiers' ends: those of one place are side by side."""

    def __init__(self) -> None:
        self._places: dict[Place, tuple[int, int]] = {}  # the first number of each, and the last rule there is room for
        self._firsts: list[int] = []  # in order
        self._names: list[Place] = []  # what begins there
        self._next = FIRST_REFERENCE

    def of(self, place: Place, last: int) -> int:
        """The number with which those of a place begin that has room for rule `last`; none is ever given again."""
        first, most = self._places.get(place, _NO_NUMBERS)
        if last > most:
            first, most = self._next, last + max(0, most)
            self._next = first + (most + 2) * len(ACTIONS)
            self._places[place] = first, most
            self._firsts.append(first)
            self._names.append(place)
        return first

    def rule(self, number: int) -> RuleRef | None:
        """What has a number, in the words of the contract; made when it is asked for, for most never decide."""
        if not FIRST_REFERENCE <= number < self._next:
            return None
        at = bisect(self._firsts, number) - 1
        tier, policy, direction = self._names[at]
        rule, action = divmod(number - self._firsts[at], len(ACTIONS))
        return RuleRef(tier=tier, policy=policy, direction=direction, rule=rule - 1, action=ACTIONS[action])
