"""What a generation of the tables is made of, and the numbers that names have in them. Pure."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import msgspec

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.ebpf.encode import ACTIONS, Place
from emulator.dataplane.ebpf.layout import FIRST_REFERENCE
from reference.program.types import IPSet, NodeProgram, ProgramRule, Walk

_NO_ROOM = -2  # not even for a tier's end, which is rule -1


class FullError(Exception):
    """A map is too small; nothing that decides was changed."""


Part = tuple[ProgramRule, ...] | Walk
"""What code says."""


class Block(msgspec.Struct, eq=False, gc=False):
    """Code in the kernel, and the generations that use it."""

    part: Part
    tier: str = ""  # of a policy's rules
    nets: tuple[tuple[str, ...], ...] = ()  # lists that its rules name
    length: int = 0
    start: int = 0
    users: int = 0  # a bit per generation


@dataclass(frozen=True, slots=True)
class Attached:
    """An endpoint as a generation knows it."""

    interface: int
    starts: tuple[int, int]  # of its walks, ingress and egress
    addresses: tuple[str, ...]


@dataclass(slots=True)
class Generation:
    """What one generation is."""

    program: NodeProgram | None = None
    policies: dict[str, Block] = field(default_factory=dict)
    walks: dict[str, Block] = field(default_factory=dict)
    endpoints: dict[str, Attached] = field(default_factory=dict)
    safes: dict[str, Block] = field(default_factory=dict)
    hosts: dict[bytes, bytes] = field(default_factory=dict)  # the entries of that map, without their generation
    sets: dict[str, IPSet] = field(default_factory=dict)
    sources: frozenset[tuple[int, str]] = frozenset()
    pods: Mapping[str, int] = field(default_factory=dict)  # interfaces that packets are handed over to, by address
    pods_from: tuple[object, ...] = ()  # what they were made of


class Numbers(dict[Hashable, int]):
    """Numbers of names: given once, never given again. To ask for one gives it, if need be."""

    def __init__(self, first: int, limit: int) -> None:
        super().__init__()
        self._names: list[Hashable] = []
        self._first = first
        self._limit = limit
        self.of: Callable[[Hashable], int] = self.__getitem__

    def __missing__(self, name: Hashable) -> int:
        """A new number.

        Raises:
            FullError: there are no more.
        """
        number = self._first + len(self._names)
        if number >= self._limit:
            raise FullError
        self[name] = number
        self._names.append(name)
        return number

    def name(self, number: int) -> Hashable | None:
        """What has a number."""
        at = number - self._first
        return self._names[at] if 0 <= at < len(self._names) else None


class References:
    """Numbers of what decides, of rules and of tiers' ends: those of one place are side by side."""

    def __init__(self) -> None:
        self._places: dict[Place, tuple[int, int]] = {}  # the first number of each, and the last rule there is room for
        self._firsts: list[int] = []  # in order
        self._names: list[Place] = []  # what begins there
        self._next = FIRST_REFERENCE

    def of(self, place: Place, last: int) -> int:
        """The number with which those of a place begin that has room for rule `last`; none is ever given again."""
        first, most = self._places.get(place, (0, _NO_ROOM))
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
