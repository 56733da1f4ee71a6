"""Policies, walks and failsafe ports as code in the kernel: blocks that generations share while they are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from immutables import Map

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.encode import NOTHING, Draft, Numbering, decisions, in_direction, packed
from emulator.dataplane.ebpf.generations import Block, FullError, Generation, Numbers, Part, References
from emulator.dataplane.ebpf.hosts import SAFE_PREFIX, safe_ports
from emulator.dataplane.ebpf.kept import KeptArray, KeptNumbers
from emulator.dataplane.ebpf.libbpf import Table
from emulator.dataplane.ebpf.pool import Pool
from emulator.dataplane.ebpf.sets import Sets
from emulator.dataplane.references import differing
from reference.program.types import FlowDirection, NodeProgram, PolicyProgram, ProgramRule, Walk

_SIZE = layout.INSTRUCTION.size


class Blocks:
    """The code of both generations. `at` is the number of the idle one, the other decides.

    At place 0 is the code of a policy without rules: whatever has no place of its own begins there.
    """

    def __init__(
        self, code: KeptArray, starts: KeptNumbers, counts: Table, sizes: Mapping[str, int], sets: Sets,
        references: References,
    ) -> None:  # fmt: skip
        self._code = code
        self._starts = starts  # by policy number and generation: where its code begins
        self._counts = counts
        self._sets = sets
        self._policies = Numbers(0, sizes["policies"] // 2)
        self._numbering = Numbering(set=sets.base, policy=self._policies.of, reference=references.of)
        self._pool = Pool(sizes["code"])
        self._pool.take(len(NOTHING))  # an empty array says just that
        self._begin()

    def _begin(self) -> None:
        """Nothing is written that waits for its place."""
        self._draft = Draft(self._numbering)
        self._new: list[Block] = []
        self._begun = 0  # what is written from there on is of no block yet

    def bring(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        """Make the code of the idle generation be a program's.

        Raises:
            FullError: there is no room.
            EnvironmentLacksError: something cannot be expressed.
        """
        moved = self._bring_policies(idle, other, program, at)
        self._bring_walks(idle, other, program, at)
        if program.host_endpoints or idle.safes:
            self._bring_safes(idle, other, program, at)
        if self._new:
            self._place(self._new, self._draft.words)
        self._starts.put_all({number * 2 + at: block.start if block else 0 for number, block in moved.items()})
        self._begin()

    def _bring_policies(
        self, idle: Generation, other: Generation, program: NodeProgram, at: int
    ) -> dict[int, Block | None]:
        """What now is the code of which policy, by its number; None where it has no rules."""
        moved: dict[int, Block | None] = {}
        draft, number, mine, theirs = self._draft, self._policies.of, idle.policies, other.policies
        before: Mapping[str, PolicyProgram] = idle.program.policies if idle.program else Map()
        for id_, old, policy in differing(before, program.policies):
            for direction in layout.DIRECTIONS:
                rules = _rules_of(policy, direction)
                if policy is not None and rules:
                    name, tier = in_direction(id_, direction), policy.tier
                    block = _same(rules, tier, mine.get(name), theirs.get(name))
                    if block is None:
                        draft.rules(rules, (tier, id_, direction))
                        block = self._made(rules, tier)
                    self._use(mine, name, block, at)
                    moved[number(name)] = block
                elif _rules_of(old, direction):
                    name = in_direction(id_, direction)
                    self._release(mine.pop(name), at)
                    moved[number(name)] = None
        return moved

    def _bring_walks(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        before: Mapping[str, Walk] = idle.program.walks if idle.program else Map()
        for id_, _, walk in differing(before, program.walks):
            if walk is None:
                self._release(idle.walks.pop(id_), at)
                continue
            block = _same(walk, "", idle.walks.get(id_), other.walks.get(id_))
            if block is None:
                self._draft.walk(walk)
                block = self._made(walk)
            self._use(idle.walks, id_, block, at)

    def _bring_safes(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        wanted = {ports.id.removeprefix(SAFE_PREFIX): ports for ports in safe_ports(program)}
        for id_ in [id_ for id_ in idle.safes if id_ not in wanted]:
            self._release(idle.safes.pop(id_), at)
        for id_, ports in wanted.items():
            block = _same(ports.ingress, "", idle.safes.get(id_), other.safes.get(id_))
            if block is None:
                self._draft.rules(ports.ingress, (ports.tier, ports.id, "ingress"), of_walk=False)
                block = self._made(ports.ingress)
            self._use(idle.safes, id_, block, at)

    def _made(self, part: Part, tier: str = "") -> Block:
        """A block of what was written last; it waits for its place: all new code is put there at once."""
        draft = self._draft
        end = len(draft.words)
        block = Block(part, tier, (), end - self._begun)
        self._begun = end
        if draft.nets:
            block.nets = tuple(draft.nets)
            draft.nets.clear()
            for nets in block.nets:
                self._sets.take_literal(nets)
        self._new.append(block)
        return block

    def _use(self, idle: dict[str, Block], name: str, block: Block, at: int) -> None:
        """Let what has this name be this block."""
        before = idle.get(name)
        if before is block:
            return
        block.users |= 1 << at
        idle[name] = block
        if before is not None:
            self._release(before, at)

    def _place(self, blocks: Sequence[Block], words: Sequence[int]) -> None:
        """Write code, the last block and instruction of which come first: in one piece, or each block by itself."""
        start = self._pool.take(len(words))
        if start is None:
            self._place_each(blocks, words)
            return
        end = start + len(words)
        counts = slice(start * layout.COUNT.size, end * layout.COUNT.size)
        for block in blocks:
            end -= block.length
            block.start = end
        self._code.write(start * _SIZE, packed(words), operations=len(blocks))
        self._counts.memory[counts] = bytes(counts.stop - counts.start)

    def _place_each(self, blocks: Sequence[Block], words: Sequence[int]) -> None:
        if len(blocks) == 1:
            raise FullError
        at = 0
        for block in blocks:
            self._place([block], words[at : at + block.length])
            at += block.length

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
        return str(self._policies.name(number))


def _rules_of(policy: PolicyProgram | None, direction: FlowDirection) -> tuple[ProgramRule, ...]:
    """Its rules in one direction; none where there is no policy."""
    if policy is None:
        return ()
    return policy.ingress if direction == "ingress" else policy.egress


def _same(part: Part, tier: str, idle: Block | None, other: Block | None) -> Block | None:
    """The first of the two that says this already."""
    for block in (idle, other):
        if block is not None and block.tier == tier and block.part == part:
            return block
    return None
