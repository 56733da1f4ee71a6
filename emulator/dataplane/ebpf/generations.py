"""What a generation of the tables is made of, and the numbers that names have in them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emulator.dataplane.ebpf.encode import Action
from reference.program.types import FlowDirection, IPSet, NodeProgram, PolicyProgram, Walk

PolicyKey = tuple[str, FlowDirection]


class FullError(Exception):
    """A map is too small; nothing that decides was changed."""


@dataclass(slots=True, eq=False)
class Block:
    """Code in the kernel, and the generations that use it."""

    part: PolicyProgram | Walk
    start: int
    length: int
    actions: list[Action]
    literals: tuple[tuple[str, ...], ...]
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
    policies: dict[PolicyKey, Block] = field(default_factory=dict)
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
        self._numbers: dict[object, int] = {}
        self._names: list[object] = []
        self._first = first
        self._limit = limit

    def of(self, name: object) -> int:
        """The number of a name, a new one if it has none."""
        number = self._numbers.get(name)
        if number is None:
            number = self._first + len(self._names)
            if number >= self._limit:
                raise FullError
            self._numbers[name] = number
            self._names.append(name)
        return number

    def name(self, number: int) -> object | None:
        """What has a number."""
        at = number - self._first
        return self._names[at] if 0 <= at < len(self._names) else None
