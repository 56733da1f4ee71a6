"""Policies, walks and failsafe ports as code in the kernel, of two generations that share what says the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, compress, pairwise, repeat
from operator import attrgetter, itemgetter
from typing import NamedTuple

from immutables import Map

from emulator.dataplane.ebpf import encode, layout
from emulator.dataplane.ebpf.encode import Numbering, Place, Written, decisions, policy_number
from emulator.dataplane.ebpf.generations import FullError, Generation, Numbers, References, Span, Spans
from emulator.dataplane.ebpf.hosts import SAFE_PREFIX, safe_ports
from emulator.dataplane.ebpf.kept import KeptArray, KeptNumbers
from emulator.dataplane.ebpf.libbpf import Table
from emulator.dataplane.ebpf.pool import Pool
from emulator.dataplane.ebpf.sets import Sets
from emulator.dataplane.references import differing
from reference.program.types import NodeProgram, PolicyProgram, ProgramRule, Walk

_SIZE = layout.INSTRUCTION.size
_STARTS_EACH = len(layout.DIRECTIONS) * 2  # places in the map of starts that a policy has
_ID, _TIER, _START = attrgetter("id"), attrgetter("tier"), itemgetter(0)
_RulesOf = Callable[[PolicyProgram], tuple[ProgramRule, ...]]  # in one direction


class _Names(NamedTuple):
    """One sort of code: where a name's code is in the idle generation, and in the one that decides."""

    mine: Spans
    theirs: Spans


class Code:
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
        self._policies = Numbers(sizes["policies"] // _STARTS_EACH)
        self._numbering = Numbering(sets=sets.numbers, policy=self._policies.of, reference=references.of)
        self._pool = Pool(sizes["code"])
        self._pool.take(1)  # the end of a policy, which is what an empty array says
        self._nets: dict[int, tuple[tuple[str, ...], ...]] = {}  # lists that rules name, by where their code begins
        self._pieces: list[tuple[int, bytes]] = []  # code that is made out, and where it is to be

    def bring(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        """Make the code of the idle generation be a program's.

        Raises:
            FullError: there is no room.
            EnvironmentLacksError: something cannot be expressed.
        """
        self._pieces = []
        starts = self._bring_policies(idle, other, program, at)
        self._bring_walks(idle, other, program)
        if program.host_endpoints or idle.safes:
            self._bring_safes(idle, other, program)
        self._policies.check()
        for start, piece in self._pieces:  # from here on in memory that is there once the maps are loaded
            self._write(start, piece)
        self._starts.put_all(starts)

    def _bring_policies(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> dict[int, int]:
        """What is to be in the map of starts, by its place there."""
        starts: dict[int, int] = {}
        for way, direction in enumerate(layout.DIRECTIONS):
            names, rules_of = _Names(idle.policies[way], other.policies[way]), attrgetter(direction)
            if idle.program or other.program:
                fresh, moved = self._changed(names, rules_of, idle, other, program)
            else:
                fresh, moved = [*program.policies.values()], {}
            rules = [*map(rules_of, fresh)]
            fresh, rules = [*compress(fresh, rules)], [*filter(None, rules)]
            if fresh:  # there may be very many: what is done for each is done in C
                ids = [*map(_ID, fresh)]
                places: list[Place] = [*zip(map(_TIER, fresh), ids, repeat(direction))]
                spans = self._put(names, ids, encode.rules(rules, places, self._numbering))
                moved.update(zip(ids, map(_START, spans), strict=True))
            first = policy_number(0, way) * 2 + at
            numbers = map(self._policies.of, moved)
            starts.update(zip([first + number * _STARTS_EACH for number in numbers], moved.values(), strict=True))
        return starts

    def _changed(
        self, names: _Names, rules_of: _RulesOf, idle: Generation, other: Generation, program: NodeProgram
    ) -> tuple[list[PolicyProgram], dict[str, int]]:
        """Policies whose rules in a direction are to become code; and where others begin now, 0 for nowhere."""
        fresh: list[PolicyProgram] = []
        moved: dict[str, int] = {}
        deciding = other.program.policies if other.program else Map()
        before: Mapping[str, PolicyProgram] = idle.program.policies if idle.program else Map()
        for id_, old, policy in differing(before, program.policies):
            if policy is None or not rules_of(policy):
                if self._release(names, id_):
                    moved[id_] = 0
            elif _same(policy, deciding.get(id_), rules_of):
                moved[id_] = self._share(names, id_)[0]
            elif not _same(policy, old, rules_of):
                fresh.append(policy)
        return fresh, moved

    def _bring_walks(self, idle: Generation, other: Generation, program: NodeProgram) -> None:
        names = _Names(idle.walks, other.walks)
        deciding = other.program.walks if other.program else Map()
        before: Mapping[str, Walk] = idle.program.walks if idle.program else Map()
        fresh: dict[str, Walk] = {}
        for id_, _, walk in differing(before, program.walks):
            if walk is None:
                self._release(names, id_)
            elif deciding.get(id_) == walk:
                self._share(names, id_)
            else:
                fresh[id_] = walk
        if fresh:
            self._put(names, fresh, encode.walks(fresh.values(), self._numbering))

    def _bring_safes(self, idle: Generation, other: Generation, program: NodeProgram) -> None:
        names = _Names(idle.safes, other.safes)
        wanted = {ports.id.removeprefix(SAFE_PREFIX): ports for ports in safe_ports(program)}
        fresh: dict[str, PolicyProgram] = {}
        for id_, _, ports in differing(idle.safe_ports, wanted):
            if ports is None:
                self._release(names, id_)
            elif other.safe_ports.get(id_) == ports:
                self._share(names, id_)
            else:
                fresh[id_] = ports
        if fresh:
            rules = [ports.ingress for ports in fresh.values()]
            places: list[Place] = [(ports.tier, ports.id, "ingress") for ports in fresh.values()]
            self._put(names, fresh, encode.rules(rules, places, self._numbering, of_walk=False))
        idle.safe_ports = wanted

    # -- places ----------------------------------------------------------------------------------------------------

    def _release(self, names: _Names, name: str) -> bool:
        """The idle generation has it no more, if it had; when the other has not either, its place is free."""
        span = names.mine.pop(name, None)
        if span is not None and names.theirs.get(name) != span:
            self._pool.give_back(*span)
            for nets in self._nets.pop(span[0], ()):
                self._sets.drop_literal(nets)
        return span is not None

    def _share(self, names: _Names, name: str) -> Span:
        """The idle generation has what the other has."""
        if names.mine.get(name) != names.theirs[name]:
            self._release(names, name)
            names.mine[name] = names.theirs[name]
        return names.mine[name]

    def _put(self, names: _Names, fresh: Iterable[str], written: Written) -> list[Span]:
        """Let names of the idle generation have new code, in one piece or each by itself; where it is going to be.

        Raises:
            FullError: there is no room.
        """
        if names.mine:
            for name in fresh:
                self._release(names, name)
        spans = self._places(written)
        names.mine.update(zip(fresh, spans, strict=True))
        for place, named in written.nets.items():
            self._nets[spans[place][0]] = named
            for nets in named:
                self._sets.take_literal(nets)
        return spans

    def _places(self, written: Written) -> list[Span]:
        """Take places for code."""
        code, lengths = written.instructions, written.lengths
        start = self._pool.take(len(code) // _SIZE)
        if start is not None:
            self._pieces.append((start, code))
            return [*zip(accumulate(lengths, initial=start), lengths, strict=False)]
        spans = []
        for begin, end in pairwise(accumulate(lengths, initial=0)):
            start = self._pool.take(end - begin)
            if start is None:
                raise FullError
            self._pieces.append((start, code[begin * _SIZE : end * _SIZE]))
            spans.append((start, end - begin))
        return spans

    def _write(self, start: int, code: bytes) -> None:
        used, end = self._code.size // _SIZE, start + len(code) // _SIZE
        self._code.write(start * _SIZE, code)
        counted = slice(start * layout.COUNT.size, min(used, end) * layout.COUNT.size)  # behind nothing ever was
        self._counts.memory[counted] = bytes(max(0, counted.stop - counted.start))

    # -- what the kernel holds -------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Instructions there is room for."""
        return self._pool.free

    def decisions(self, span: Span) -> Iterator[tuple[int, int]]:
        """(place, number of the reference) of every instruction that decides."""
        start, length = span
        for place, reference in decisions(self._code.kept(start * _SIZE, length * _SIZE)):
            yield start + place, reference

    def counted(self, span: Span) -> Iterator[tuple[int, int, int]]:
        """(number of the reference, packets, bytes) of every instruction that decides."""
        start, length = span
        counts = slice(start * layout.COUNT.size, (start + length) * layout.COUNT.size)
        every = list(layout.COUNT.iter_unpack(self._counts.memory[counts]))
        for place, reference in decisions(self._code.kept(start * _SIZE, length * _SIZE)):
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


def _same(one: PolicyProgram, other: PolicyProgram | None, rules_of: _RulesOf) -> bool:
    """Whether the code of two is the same, with the same numbers of rules."""
    return other is not None and other.tier == one.tier and rules_of(other) == rules_of(one)
