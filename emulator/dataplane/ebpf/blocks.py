"""Policies, walks and failsafe ports as code in the kernel: blocks that generations share while they are the same."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from typing import TypeVar

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.encode import Code, Numbering, policy_code, walk_code
from emulator.dataplane.ebpf.generations import Block, FullError, Generation, Numbers
from emulator.dataplane.ebpf.hosts import SAFE_PREFIX, safe_code, safe_ports
from emulator.dataplane.ebpf.kept import KeptArray, KeptNumbers
from emulator.dataplane.ebpf.pool import Pool
from emulator.dataplane.ebpf.sets import Sets
from reference.program.types import FlowDirection, NodeProgram, PolicyProgram, Walk

_SIZE = layout.INSTRUCTION.size
Name = TypeVar("Name")
Part = TypeVar("Part", PolicyProgram, Walk)
Encoder = Callable[[Part, Numbering], Code]


class Blocks:
    """The code of both generations. `at` is the number of the idle one, the other decides."""

    def __init__(
        self, code: KeptArray, starts: KeptNumbers, counts: mmap.mmap, sizes: Mapping[str, int], sets: Sets,
        references: Numbers,
    ) -> None:  # fmt: skip
        self._code = code
        self._starts = starts  # by policy number and generation: where its code begins
        self._counts = counts
        self._sets = sets
        self._references = references
        self._policies = Numbers(0, sizes["policies"] // 2)
        self.pool = Pool(sizes["code"])

    def bring(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        """Make the code of the idle generation be a program's.

        Raises:
            FullError: there is no room.
        """
        self._bring_policies(idle, other, program, at)
        self._bring_walks(idle, other, program, at)
        if program.host_endpoints or idle.safes:
            self._bring_safes(idle, other, program, at)

    def _bring_policies(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        before = idle.program.policies if idle.program else None
        if before is program.policies:
            return
        for id_ in before or ():
            if id_ not in program.policies:
                for direction in layout.DIRECTIONS:
                    self._release(idle.policies.pop((id_, direction)), at)
        for id_, policy in program.policies.items():
            if before is not None and before.get(id_) is policy:
                continue
            for direction in layout.DIRECTIONS:
                key = (id_, direction)
                self._exchange(idle.policies, other.policies, key, policy, self._policy(direction), at)
                self._starts[self._policies.of(key) * 2 + at] = idle.policies[key].start

    def _bring_walks(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        if idle.program and idle.program.walks is program.walks:
            return
        for id_ in [id_ for id_ in idle.walks if id_ not in program.walks]:
            self._release(idle.walks.pop(id_), at)
        for id_, walk in program.walks.items():
            self._exchange(idle.walks, other.walks, id_, walk, walk_code, at)

    def _bring_safes(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        wanted = {ports.id.removeprefix(SAFE_PREFIX): ports for ports in safe_ports(program)}
        for id_ in [id_ for id_ in idle.safes if id_ not in wanted]:
            self._release(idle.safes.pop(id_), at)
        for id_, ports in wanted.items():
            self._exchange(idle.safes, other.safes, id_, ports, safe_code, at)

    @staticmethod
    def _policy(direction: FlowDirection) -> Callable[[PolicyProgram, Numbering], Code]:
        return lambda policy, numbers: policy_code(policy, direction, numbers)

    def _exchange(
        self, idle: dict[Name, Block], other: Mapping[Name, Block], name: Name, part: Part, code: Encoder[Part], at: int
    ) -> None:
        """Let what has this name be this part: the block it is, the one that decides, or a new one."""
        mine, theirs = idle.get(name), other.get(name)
        if mine is not None and mine.part == part:
            return
        block = theirs if theirs is not None and theirs.part == part else self._place(part, code)
        block.users |= 1 << at
        if mine is not None:
            self._release(mine, at)
        idle[name] = block

    def _place(self, part: Part, encode: Encoder[Part]) -> Block:
        literals: list[tuple[str, ...]] = []
        code = encode(part, self._numbering(literals))
        length = len(code.instructions)
        start = self.pool.take(length)
        if start is None:
            raise FullError
        self._code.write(start * _SIZE, b"".join(code.instructions))
        for action in code.actions:
            place = (start + action.offset) * layout.COUNT.size
            self._counts[place : place + layout.COUNT.size] = bytes(layout.COUNT.size)
        for nets in literals:
            self._sets.take_literal(nets)
        return Block(part, start, length, code.actions, tuple(literals))

    def _numbering(self, literals: list[tuple[str, ...]]) -> Numbering:
        """Numbers for one block; the lists of nets it names are noted."""

        def number(nets: tuple[str, ...]) -> int:
            literals.append(nets)
            return self._sets.base(nets)

        return Numbering(
            set=self._sets.base,
            nets=number,
            policy=lambda id_, direction: self._policies.of((id_, direction)),
            reference=self._references.of,
        )

    def _release(self, block: Block, at: int) -> None:
        """The idle generation uses it no more; when neither does, its place is free."""
        block.users &= ~(1 << at)
        if not block.users:
            self.pool.give_back(block.start, block.length)
            for nets in block.literals:
                self._sets.drop_literal(nets)

    # -- what the kernel holds -------------------------------------------------------------------------------------

    def count(self, place: int) -> tuple[int, int]:
        """(packets, bytes) an instruction has decided on."""
        packets, size = layout.COUNT.unpack_from(self._counts, place * layout.COUNT.size)
        return packets, size

    def instruction(self, place: int) -> bytes:
        """One instruction."""
        return self._code.read(place * _SIZE, _SIZE)

    def policy_start(self, number: int, generation: int) -> int:
        """Where the code of a policy begins."""
        return self._starts[number * 2 + generation]

    def policy_name(self, number: int) -> str:
        """The policy and direction that have a number."""
        name = self._policies.name(number)
        return " ".join(name) if isinstance(name, tuple) else str(name)
