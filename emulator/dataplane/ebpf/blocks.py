"""Policies, walks and failsafe ports as code in the kernel: blocks that generations share while they are the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from operator import attrgetter
from typing import NamedTuple

from immutables import Map

from emulator.dataplane.ebpf import encode, layout
from emulator.dataplane.ebpf.encode import Numbering, Place, decisions, policy_number
from emulator.dataplane.ebpf.generations import NOWHERE, Block, FullError, Generation, Numbers, Part, References
from emulator.dataplane.ebpf.hosts import SAFE_PREFIX, safe_ports
from emulator.dataplane.ebpf.kept import KeptArray, KeptNumbers
from emulator.dataplane.ebpf.libbpf import Table
from emulator.dataplane.ebpf.pool import Pool
from emulator.dataplane.ebpf.sets import Sets
from emulator.dataplane.references import differing
from reference.program.types import NodeProgram, PolicyProgram, ProgramRule, Walk

_SIZE = layout.INSTRUCTION.size


class _New(NamedTuple):
    """Blocks whose code is made out and waits for its place: all is put there at once, when the maps are loaded."""

    blocks: list[Block]
    lengths: list[int]  # of each, in instructions
    code: list[bytes]  # of all, in pieces

    def take(self, blocks: Iterable[Block], lengths: Iterable[int], code: bytes) -> None:
        """Some more of them."""
        self.blocks.extend(blocks)
        self.lengths.extend(lengths)
        self.code.append(code)


class Blocks:
    """The code of both generations. `at` is the number of the idle one, the other decides.

    At place 0 is the code of a policy without rules: whatever has no place of its own begins there.
    """

    def __init__(
        self, code: KeptArray, starts: KeptNumbers, counts: Table, sizes: Mapping[str, int], sets: Sets,
        references: References,
    ) -> None:  # fmt: skip
        self._code = code
        self._starts = starts  # by a policy's number in a direction, and generation: where its code begins
        self._counts = counts
        self._sets = sets
        self._policies = Numbers(sizes["policies"] // 4)
        self._numbering = Numbering(sets=sets.numbers, policy=self._policies.of, references=references.of_all)
        self._pool = Pool(sizes["code"])
        self._pool.take(1)  # NOTHING, which is what an empty array says

    def bring(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        """Make the code of the idle generation be a program's.

        Raises:
            FullError: there is no room.
            EnvironmentLacksError: something cannot be expressed.
        """
        new = _New([], [], [])
        moved = self._bring_policies(idle, other, program, at, new)
        self._bring_walks(idle, other, program, at, new)
        if program.host_endpoints or idle.safes:
            self._bring_safes(idle, other, program, at, new)
        self._policies.check()
        code = self._placed(new.blocks, new.lengths, b"".join(new.code)) if new.blocks else ()
        starts = {number * 2 + at: block.start if block else 0 for number, block in moved.items()}
        for start, piece in code:  # from here on in memory that is there once the maps are loaded
            self._write(start, piece)
        self._starts.put_all(starts)

    def _bring_policies(
        self, idle: Generation, other: Generation, program: NodeProgram, at: int, new: _New
    ) -> dict[int, Block | None]:
        """What now is the code of which policy and direction, by its number; None where it has no rules."""
        moved: dict[int, Block | None] = {}
        fresh: list[tuple[Block, tuple[ProgramRule, ...]]] = []
        number = self._policies.of
        ways = [*zip(count(), layout.DIRECTIONS, map(attrgetter, layout.DIRECTIONS), idle.policies, other.policies)]
        before: Mapping[str, PolicyProgram] = idle.program.policies if idle.program else Map()
        for id_, _, policy in differing(before, program.policies):
            for way, direction, rules_of, mine, theirs in ways:
                rules = rules_of(policy) if policy is not None else ()
                held, other_held = mine.get(id_), theirs.get(id_)
                if policy is not None and rules:
                    place = policy.tier, id_, direction
                    block = _same(rules, place, held, other_held) if held or other_held else None
                    if block is None:
                        block = Block(rules, place)
                        fresh.append((block, rules))
                    self._use(mine, id_, block, at)
                    moved[policy_number(number(id_), way)] = block
                elif held is not None:
                    self._release(mine.pop(id_), at)
                    moved[policy_number(number(id_), way)] = None
        self._take_rules(fresh, new, of_walk=True)
        return moved

    def _bring_walks(self, idle: Generation, other: Generation, program: NodeProgram, at: int, new: _New) -> None:
        before: Mapping[str, Walk] = idle.program.walks if idle.program else Map()
        for id_, _, walk in differing(before, program.walks):
            if walk is None:
                self._release(idle.walks.pop(id_), at)
                continue
            block = _same(walk, NOWHERE, idle.walks.get(id_), other.walks.get(id_))
            if block is None:
                block = Block(walk)
                code = encode.walk(walk, self._numbering)
                new.take([block], [len(code) // _SIZE], code)
            self._use(idle.walks, id_, block, at)

    def _bring_safes(self, idle: Generation, other: Generation, program: NodeProgram, at: int, new: _New) -> None:
        fresh: list[tuple[Block, tuple[ProgramRule, ...]]] = []
        wanted = {ports.id.removeprefix(SAFE_PREFIX): ports for ports in safe_ports(program)}
        for id_ in [id_ for id_ in idle.safes if id_ not in wanted]:
            self._release(idle.safes.pop(id_), at)
        for id_, ports in wanted.items():
            place: Place = ports.tier, ports.id, "ingress"
            block = _same(ports.ingress, place, idle.safes.get(id_), other.safes.get(id_))
            if block is None:
                block = Block(ports.ingress, place)
                fresh.append((block, ports.ingress))
            self._use(idle.safes, id_, block, at)
        self._take_rules(fresh, new, of_walk=False)

    def _take_rules(self, fresh: list[tuple[Block, tuple[ProgramRule, ...]]], new: _New, *, of_walk: bool) -> None:
        """Make out the code of blocks of rules."""
        if not fresh:
            return
        blocks = [block for block, _ in fresh]
        code = encode.rules(
            [rules for _, rules in fresh], [block.place for block in blocks], self._numbering, of_walk=of_walk
        )
        for place, named in code.nets.items():
            blocks[place].nets = named
            for nets in named:
                self._sets.take_literal(nets)
        new.take(blocks, code.lengths, code.instructions)

    def _use(self, idle: dict[str, Block], name: str, block: Block, at: int) -> None:
        """Let what has this name be this block."""
        before = idle.get(name)
        if before is block:
            return
        block.users |= 1 << at
        idle[name] = block
        if before is not None:
            self._release(before, at)

    def _placed(self, blocks: Sequence[Block], lengths: Sequence[int], code: bytes) -> list[tuple[int, bytes]]:
        """(where, what) of code of so many instructions each: in one piece, or each block by itself.

        Raises:
            FullError: there is no room.
        """
        start = self._pool.take(len(code) // _SIZE)
        if start is None:
            return self._placed_each(blocks, lengths, code)
        place = start
        for block, length in zip(blocks, lengths, strict=True):
            block.start, block.length = place, length
            place += length
        return [(start, code)]

    def _placed_each(self, blocks: Sequence[Block], lengths: Sequence[int], code: bytes) -> list[tuple[int, bytes]]:
        if len(blocks) == 1:
            raise FullError
        pieces, at = [], 0
        for block, length in zip(blocks, lengths, strict=True):
            pieces += self._placed([block], [length], code[at : at + length * _SIZE])
            at += length * _SIZE
        return pieces

    def _write(self, start: int, code: bytes) -> None:
        used, end = self._code.size // _SIZE, start + len(code) // _SIZE
        self._code.write(start * _SIZE, code)
        counted = slice(start * layout.COUNT.size, min(used, end) * layout.COUNT.size)  # behind nothing ever was
        self._counts.memory[counted] = bytes(max(0, counted.stop - counted.start))

    def _release(self, block: Block, at: int) -> None:
        """The idle generation uses it no more; when neither does, its place is free."""
        block.users &= ~(1 << at)
        if not block.users:
            self._pool.give_back(block.start, block.length)
            for nets in block.nets:
                self._sets.drop_literal(nets)

    # -- what the kernel holds -------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Instructions there is room for."""
        return self._pool.free

    def decisions(self, block: Block) -> Iterator[tuple[int, int]]:
        """(place, number of the reference) of every instruction of a block that decides."""
        for place, reference in decisions(self._code.kept(block.start * _SIZE, block.length * _SIZE)):
            yield block.start + place, reference

    def counted(self, block: Block) -> Iterator[tuple[int, int, int]]:
        """(number of the reference, packets, bytes) of every instruction of a block that decides."""
        counts = slice(block.start * layout.COUNT.size, (block.start + block.length) * layout.COUNT.size)
        every = list(layout.COUNT.iter_unpack(self._counts.memory[counts]))
        for place, reference in decisions(self._code.kept(block.start * _SIZE, block.length * _SIZE)):
            yield reference, *every[place]

    def instruction(self, place: int) -> bytes:
        """One instruction."""
        return self._code.read(place * _SIZE, _SIZE)

    def policy_start(self, number: int, generation: int) -> int:
        """Where the code of a policy begins."""
        return self._starts[number * 2 + generation]

    def policy_name(self, number: int) -> str:
        """The policy and direction that have a number."""
        policy, way = divmod(number, len(layout.DIRECTIONS))
        return f"{self._policies.name(policy)} {layout.DIRECTIONS[way]}"


def _same(part: Part, place: Place, idle: Block | None, other: Block | None) -> Block | None:
    """The first of the two that says this already."""
    for block in (idle, other):
        if block is not None and block.place == place and block.part == part:
            return block
    return None
