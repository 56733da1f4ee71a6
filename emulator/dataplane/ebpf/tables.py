"""The kernel's maps as one node's tables: two generations side by side, one of which decides.

`bring` makes the idle generation be a program, writing only what differs from what that generation last was; `flip`
makes it decide. Until then nothing that decides has changed, so an apply that fails half way has done nothing.
Everything the two generations have in common is there once: code that did not change, and members of sets with a bit
for each generation they belong to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from emulator.dataplane.blocks import in_blocks, in_order
from emulator.dataplane.contract import Counter, RuleRef
from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.code import Code
from emulator.dataplane.ebpf.endpoints import Endpoints
from emulator.dataplane.ebpf.generations import Generation, References
from emulator.dataplane.ebpf.hosts import asks_for_origins
from emulator.dataplane.ebpf.kept import Account, KeptArray, KeptNumbers, KeptTable
from emulator.dataplane.ebpf.libbpf import Object
from emulator.dataplane.ebpf.sets import Sets
from reference.program.types import NodeProgram, ProgramRule

LONG_WALK = 32  # steps; what becomes of a packet after so many is remembered, after fewer it is found as quickly anew
REST = 0.002  # seconds a generation that was just left is not written to: packets it judged may be under way
_KEPT = ("settings", "endpoints", "sources", "pods", "hosts", "locals", "members", "nets")


class Tables:
    """The tables of one loaded object."""

    def __init__(self, loaded: Object, references: References, epoch: int = 1) -> None:
        """Empty tables. `epoch`: the one in which the first program is to decide."""
        self.maps = loaded.maps
        self.epoch = (epoch - 1) % (1 << 32)  # moves with every flip; its low bit is the generation that decides
        self.long_walk = LONG_WALK
        self.account = Account()
        self._generations = (Generation(), Generation())
        self._told = b""  # of the settings
        self._tables = {name: KeptTable(self.maps[name], self.account) for name in _KEPT}
        starts = KeptNumbers(self.maps["policies"], self.account)
        wide = KeptNumbers(self.maps["wide"], self.account)
        code = KeptArray(self.maps["code"], self.account)
        self._kept: Mapping[str, KeptTable | KeptArray] = {
            **self._tables, "code": code, "policies": starts, "wide": wide
        }  # fmt: skip
        self._references = references
        self._guards = self.maps["guards"]
        sizes = {name: table.entries for name, table in self.maps.items()}
        self.sets = Sets(self._tables["members"], self._tables["nets"], wide, sizes["wide"] // 2)
        self.code = Code(code, starts, self.maps["counts"], sizes, self.sets, references)
        self._endpoints = Endpoints(*(self._tables[name] for name in ("endpoints", "sources", "pods", "hosts")))
        self._locals: frozenset[str] = frozenset()
        self._left_at = 0.0

    @property
    def current(self) -> int:
        """The number of the generation that decides."""
        return self.epoch & 1

    @property
    def programmed(self) -> Generation:
        """The generation that decides."""
        return self._generations[self.current]

    # -- one update ------------------------------------------------------------------------------------------------

    def bring(
        self,
        program: NodeProgram,
        interfaces: Mapping[str, int],
        tunnels: frozenset[int] = frozenset(),
        peers: frozenset[int] = frozenset(),
    ) -> None:
        """Make the idle generation be `program`.

        `interfaces` are the indices of all there are, `tunnels` those without a link header, `peers` those that packets
        are handed over to.

        Raises:
            FullError: a map is too small; these tables are spoilt for another `bring`.
            BpfError: the kernel refused.
            EnvironmentLacksError: something cannot be expressed.
        """
        time.sleep(max(0.0, self._left_at + REST - time.monotonic()))
        at = 1 - self.current
        idle, other = self._generations[at], self._generations[self.current]
        try:
            self.sets.bring(idle, other, program, at)
            self.code.bring(idle, other, program, at)
        finally:
            self.sets.settle()  # before anybody may close the maps
        self.sets.flush()
        self._endpoints.bring(idle, other, program, interfaces, at)
        self._endpoints.bring_pods(idle, other, program, peers, at)
        self._endpoints.bring_hosts(idle, program, interfaces, tunnels, at)
        idle.program = program

    def hand_over(self, peers: frozenset[int]) -> None:
        """Let packets go straight to these interfaces and no others, from now on."""
        mine, other = self.programmed, self._generations[1 - self.current]
        if mine.program is not None:
            self._endpoints.bring_pods(mine, other, mine.program, peers, self.current)

    def addresses(self) -> frozenset[str]:
        """Of the workloads there are."""
        return frozenset(address for _, address in self.programmed.sources)

    def flip(self, *, tracing: bool) -> None:
        """Let the idle generation decide: one word. A system call comes before it, so that all else is seen first."""
        if self._settings(tracing)[4:] != self._told[4:]:  # what is new of the idle generation, beforehand
            self.settle(tracing=tracing)
        self._move_on(1)
        self._left_at = time.monotonic()
        self.settle(tracing=tracing)

    def _move_on(self, steps: int) -> None:
        self.epoch = (self.epoch + steps) % (1 << 32)

    def settle(self, *, tracing: bool) -> None:
        """Write which generation decides, whether packets are traced, and who accepts packets to the host (HEP-12)."""
        self._told = self._settings(tracing)
        self._tables["settings"].put_all({bytes(4): self._told})

    def _settings(self, tracing: bool) -> bytes:
        accepting = asking = 0
        refused = [0, 0]
        for number, generation in enumerate(self._generations):
            if generation.program is not None:
                accepting |= (generation.program.to_host == "accept") << number
                asking |= asks_for_origins(generation.program) << number
                encapsulation = generation.program.encapsulation
                refused[number] = encapsulation.vxlan_port | layout.IPIP_REFUSED * encapsulation.ipip
        return layout.SETTINGS.pack(self.epoch, tracing, accepting, asking, self.long_walk, *refused)

    def know_host(self, addresses: frozenset[str]) -> None:
        """The addresses of the host itself (HEP-12): of both generations."""
        if addresses != self._locals:
            came, went = addresses - self._locals, self._locals - addresses
            self._tables["locals"].put_all({layout.local_key(each): layout.NUMBER.pack(1) for each in came})
            self._tables["locals"].remove_all([layout.local_key(each) for each in went])
            self._locals = addresses

    # -- what others did -------------------------------------------------------------------------------------------

    def wrong(self) -> list[str]:
        """Maps that are not as we wrote them; large ones are not looked at each time."""
        return [name for name, each in self._kept.items() if not each.is_right()]

    def look_anew(self) -> None:
        """Look at all of them the next time."""
        for each in self._tables.values():
            each.look_anew()

    def repair(self, *, tracing: bool) -> None:
        """Make every map be as we wrote it; what was remembered meanwhile counts no more."""
        for each in self._kept.values():
            each.repair()
        self._move_on(2)
        self.settle(tracing=tracing)

    # -- what the kernel counted -----------------------------------------------------------------------------------

    def rule_at(self, place: int) -> ProgramRule | None:
        """The rule whose action is at a place of the code."""
        programmed = self.programmed
        for direction, spans in zip(layout.DIRECTIONS, programmed.policies, strict=True):
            for id_, span in spans.items():
                if programmed.program is not None and span[0] <= place < sum(span):
                    rules: tuple[ProgramRule, ...] = getattr(programmed.program.policies[id_], direction)
                    written = zip(self.code.decisions(span), in_order(in_blocks(rules)), strict=True)
                    return next((rule for (at, _), rule in written if at == place), None)
        return None

    def rule_counts(self) -> dict[RuleRef, Counter]:
        """What rules and tiers' ends counted; a user's rule may be several in the kernel."""
        counted: dict[int, tuple[int, int]] = {}
        for spans in (*self.programmed.policies, self.programmed.walks):
            for span in spans.values():
                for reference, packets, size in self.code.counted(span):
                    before = counted.get(reference, (0, 0))
                    counted[reference] = before[0] + packets, before[1] + size
        found = {self._references.rule(number): Counter(*both) for number, both in counted.items()}
        return {rule: count for rule, count in found.items() if rule is not None}  # a walk's end is a guard

    def guard_counts(self) -> Iterator[tuple[RuleRef, int, int]]:
        """(guard, packets, bytes), in each direction."""
        for at, direction in enumerate(layout.DIRECTIONS):
            for number in layout.GUARDS:
                place = (at * layout.FIRST_REFERENCE + number) * layout.COUNT.size
                packets, size = layout.COUNT.unpack_from(self._guards.memory, place)
                yield layout.guard_reference(number, direction), packets, size
