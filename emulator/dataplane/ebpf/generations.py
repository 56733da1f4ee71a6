"""What a generation of the tables is made of, and the numbers that names have in them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import msgspec

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.ebpf.encode import Reference
from emulator.dataplane.ebpf.layout import FIRST_REFERENCE
from reference.program.types import IPSet, NodeProgram, ProgramRule, Walk


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


class Numbers:
    """Numbers of names: given once, never given again."""

    def __init__(self, first: int, limit: int) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._names: list[Hashable] = []
        self._first = first
        self._limit = limit

    def of(self, name: Hashable) -> int:
        """The number of a name, a new one if it has none."""
        number = self._numbers.get(name)
        if number is None:
            number = self._first + len(self._names)
            if number >= self._limit:
                raise FullError
            self._numbers[name] = number
            self._names.append(name)
        return number

    def name(self, number: int) -> Hashable | None:
        """What has a number."""
        at = number - self._first
        return self._names[at] if 0 <= at < len(self._names) else None


class References:
    """Numbers of what decides: of rules and of tiers' ends."""

    def __init__(self) -> None:
        self._numbers = Numbers(FIRST_REFERENCE, 1 << 32)
        self.of: Callable[[Reference], int] = self._numbers.of

    def rule(self, number: int) -> RuleRef | None:
        """What has a number, in the words of the contract; made when it is asked for, for most never decide."""
        name = self._numbers.name(number)
        if not isinstance(name, tuple):
            return None
        tier, policy, direction, rule, action = name
        return RuleRef(tier=tier, policy=policy, direction=direction, rule=rule, action=action)
