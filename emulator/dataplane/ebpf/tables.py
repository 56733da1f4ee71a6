"""The kernel's maps as one node's tables: two generations side by side, one of which decides.

`bring` makes the idle generation be a program, writing only what differs from what that generation last was; `flip`
makes it decide. Until then nothing that decides has changed, so an apply that fails half way has done nothing.
Everything the two generations have in common is there once: code that did not change, and members of sets with a bit
for each generation they belong to.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.encode import Code, Numbering, policy_code, walk_code
from emulator.dataplane.ebpf.generations import Attached, Block, FullError, Generation, Numbers, PolicyKey
from emulator.dataplane.ebpf.hosts import SAFE_PREFIX, asks_for_origins, guarded, lists, safe_code, safe_ports
from emulator.dataplane.ebpf.libbpf import BpfError, Object
from emulator.dataplane.ebpf.pool import Pool
from reference.program.nets import widest
from reference.program.types import FlowDirection, IPSet, NodeProgram, PolicyProgram, Walk

LONG_WALK = 32  # steps; what becomes of a packet after so many is remembered, after fewer it is found as quickly anew
REST = 0.002  # seconds a generation that was just left is not written to: packets it judged may be under way
_NO_ROOM = frozenset({errno.E2BIG, errno.ENOSPC})
BOTH = 3  # the bits of both generations


class Tables:
    """The tables of one loaded object."""

    def __init__(self, loaded: Object, references: Numbers, epoch: int = 1) -> None:
        """Empty tables. `epoch`: the one in which the first program is to decide."""
        self.maps = loaded.maps
        self.epoch = (epoch - 1) % (1 << 32)  # moves with every flip; its low bit is the generation that decides
        self.long_walk = LONG_WALK
        self.operations = self.bytes = 0
        self._references = references
        self._generations = (Generation(), Generation())
        self._pool = Pool(self.maps["code"].entries)
        self._code = self.maps["code"].memory()
        self._counts = self.maps["counts"].memory()
        self._guards = self.maps["guards"].memory()
        self._starts = memoryview(self.maps["policies"].memory()).cast("Q")
        self._wide = memoryview(self.maps["wide"].memory()).cast("Q")
        self._policies = Numbers(0, self.maps["policies"].entries // 2)
        self._sets = Numbers(0, self.maps["wide"].entries // 2)
        self._literal_users: dict[tuple[str, ...], int] = {}
        self._nets_in: dict[int, list[int]] = {}  # by set number: how many nets each generation has
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

    def bring(self, program: NodeProgram, interfaces: Mapping[str, int], tunnels: frozenset[int] = frozenset()) -> None:
        """Make the idle generation be `program`.

        `interfaces` are the indices of all there are, `tunnels` those without a link header.

        Raises:
            FullError: a map is too small; these tables are spoilt for another `bring`.
            BpfError: the kernel refused.
            EnvironmentLacksError: something cannot be expressed.
        """
        time.sleep(max(0.0, self._left_at + REST - time.monotonic()))
        idle = self._generations[1 - self.current]
        self._bring_sets(idle, program)
        self._bring_policies(idle, program)
        self._bring_walks(idle, program)
        self._bring_endpoints(idle, program, interfaces)
        self._bring_hosts(idle, program, interfaces, tunnels)
        idle.program = program

    def flip(self, *, tracing: bool) -> None:
        """Let the idle generation decide: one write. A system call comes before it, so that all else is seen first."""
        self.epoch = (self.epoch + 1) % (1 << 32)
        self._left_at = time.monotonic()
        self.settle(tracing=tracing)
        self.operations += 1

    def settle(self, *, tracing: bool) -> None:
        """Write which generation decides, whether packets are traced, and who accepts packets to the host (HEP-12)."""
        accepting = asking = 0
        for number, generation in enumerate(self._generations):
            if generation.program is not None:
                accepting |= (generation.program.to_host == "accept") << number
                asking |= asks_for_origins(generation.program) << number
        words = self.epoch, tracing, accepting, asking, self.long_walk
        self.maps["settings"].put(bytes(4), layout.SETTINGS.pack(*words))

    def know_host(self, addresses: frozenset[str]) -> None:
        """The addresses of the host itself (HEP-12): of both generations."""
        if addresses != self._locals:
            self._put_all(
                "locals", {layout.local_key(each): layout.NUMBER.pack(1) for each in addresses - self._locals}
            )
            self.maps["locals"].remove_all([layout.local_key(each) for each in self._locals - addresses])
            self._locals = addresses

    # -- policies and walks ----------------------------------------------------------------------------------------

    def _bring_policies(self, idle: Generation, program: NodeProgram) -> None:
        before = idle.program.policies if idle.program else None
        if before is program.policies:
            return
        for id_ in before or ():
            if id_ not in program.policies:
                self._drop_policy(idle, id_)
        other = self._generations[self.current].policies
        for id_, policy in program.policies.items():
            if before is not None and before.get(id_) is policy:
                continue
            for direction in layout.DIRECTIONS:
                key = (id_, direction)
                mine = idle.policies.get(key)
                if mine is not None and mine.part == policy:
                    continue
                block = self._share(other.get(key), policy) or self._new_policy(policy, direction)
                self._use(block)
                if mine is not None:
                    self._release(mine)
                idle.policies[key] = block
                self._point(key, block.start)

    def _drop_policy(self, idle: Generation, id_: str) -> None:
        for direction in layout.DIRECTIONS:
            self._release(idle.policies.pop((id_, direction)))

    def _new_policy(self, policy: PolicyProgram, direction: FlowDirection) -> Block:
        literals: list[tuple[str, ...]] = []
        code = policy_code(policy, direction, self._numbering(self._literals_into(literals)))
        return self._place(policy, code, tuple(literals))

    def _literals_into(self, found: list[tuple[str, ...]]) -> Callable[[tuple[str, ...]], int]:
        def number(members: tuple[str, ...]) -> int:
            found.append(members)
            return self._sets.of(members)

        return number

    def _point(self, key: PolicyKey, start: int) -> None:
        self._starts[self._policies.of(key) * 2 + 1 - self.current] = start
        self._did(8)

    def _bring_walks(self, idle: Generation, program: NodeProgram) -> None:
        if idle.program and idle.program.walks is program.walks:
            return
        for id_ in [id_ for id_ in idle.walks if id_ not in program.walks]:
            self._release(idle.walks.pop(id_))
        other = self._generations[self.current].walks
        for id_, walk in program.walks.items():
            old = idle.walks.get(id_)
            if old is not None and old.part == walk:
                continue
            block = self._share(other.get(id_), walk)
            if block is None:
                block = self._place(walk, walk_code(walk, self._numbering(self._sets.of)), ())
            self._use(block)
            if old is not None:
                self._release(old)
            idle.walks[id_] = block

    @staticmethod
    def _share(block: Block | None, part: PolicyProgram | Walk) -> Block | None:
        return block if block is not None and block.part == part else None

    def _numbering(self, nets: Callable[[tuple[str, ...]], int]) -> Numbering:
        return Numbering(
            set=self._sets.of,
            nets=nets,
            policy=lambda id_, direction: self._policies.of((id_, direction)),
            reference=self._references.of,
        )

    def _place(self, part: PolicyProgram | Walk, code: Code, literals: tuple[tuple[str, ...], ...]) -> Block:
        length = len(code.instructions)
        start = self._pool.take(length)
        if start is None:
            raise FullError
        size = layout.INSTRUCTION.size
        self._code[start * size : (start + length) * size] = b"".join(code.instructions)
        for action in code.actions:
            at = (start + action.offset) * layout.COUNT.size
            self._counts[at : at + layout.COUNT.size] = bytes(layout.COUNT.size)
        for members in literals:
            self._take_literal(members)
        self._did(length * size)
        return Block(part, start, length, code.actions, literals)

    def _use(self, block: Block) -> None:
        block.users |= 1 << (1 - self.current)

    def _release(self, block: Block) -> None:
        """The idle generation uses it no more; when neither does, its place is free."""
        block.users &= ~(1 << (1 - self.current))
        if not block.users:
            self._pool.give_back(block.start, block.length)
            for members in block.literals:
                self._drop_literal(members)

    # -- sets ------------------------------------------------------------------------------------------------------

    def _bring_sets(self, idle: Generation, program: NodeProgram) -> None:
        if idle.program and idle.program.sets is program.sets and len(idle.sets) == len(program.sets):
            return
        other = self._generations[self.current].sets
        for id_ in [id_ for id_ in idle.sets if id_ not in program.sets]:
            old = idle.sets.pop(id_)
            self._change(old, frozenset(), old.members, other.get(id_))
        for id_, wanted in program.sets.items():
            before = idle.sets.get(id_)
            if before is wanted:
                continue
            idle.sets[id_] = wanted
            if before is None and id_ not in other:
                self._introduce(wanted)
                other[id_] = wanted
                continue
            had: frozenset[str] = before.members if before else frozenset()
            added = wanted.members - had
            only_grew = len(had) + len(added) == len(wanted.members)
            gone: frozenset[str] = frozenset() if only_grew else had - wanted.members
            self._change(wanted, added, gone, other.get(id_))

    def _introduce(self, ipset: IPSet) -> None:
        """A set that no generation has: both get it at once, for nothing that decides asks for it yet."""
        number = layout.set_number(self._sets.of(ipset.id[:-1]), ipset.family)
        self._write(number, dict.fromkeys(ipset.members, BOTH), [])
        if ipset.kind == "nets":
            count = sum(map(_is_net, ipset.members))
            self._nets_in[number] = [count, count]
            self._say_wide(number)

    def _change(self, ipset: IPSet, added: frozenset[str], gone: frozenset[str], other: IPSet | None) -> None:
        """Members come to and leave the idle generation; the deciding one keeps its own."""
        mine, theirs = 1 << (1 - self.current), 1 << self.current
        elsewhere: frozenset[str] = other.members if other else frozenset()
        number = layout.set_number(self._sets.of(ipset.id[:-1]), ipset.family)
        puts = {member: mine | (theirs if member in elsewhere else 0) for member in added}
        puts |= {member: theirs for member in gone if member in elsewhere}
        self._write(number, puts, [member for member in gone if member not in elsewhere])
        if ipset.kind == "nets":
            counts = self._nets_in.setdefault(number, [0, 0])
            counts[1 - self.current] += sum(map(_is_net, added)) - sum(map(_is_net, gone))
            self._say_wide(number)

    def _say_wide(self, number: int) -> None:
        counts = self._nets_in[number]
        self._wide[number] = (counts[0] > 0) | (counts[1] > 0) << 1

    def _write(self, number: int, puts: Mapping[str, int], gone: list[str]) -> None:
        hosts: dict[bytes, bytes] = {}
        nets: dict[bytes, bytes] = {}
        for member, generations in puts.items():
            place = layout.member_key(number, member)
            if place.prefix < 0:
                hosts[place.key] = layout.NUMBER.pack(generations)
            else:
                nets[place.key] = layout.NET.pack(generations, 32 + place.prefix)
        self._put_all("members", hosts)
        self._put_all("nets", nets)
        places = [layout.member_key(number, member) for member in gone]
        self.maps["members"].remove_all([place.key for place in places if place.prefix < 0])
        self.maps["nets"].remove_all([place.key for place in places if place.prefix >= 0])
        self._did(24 * len(gone), len(gone))

    def _put_all(self, name: str, entries: Mapping[bytes, bytes]) -> None:
        try:
            self.maps[name].put_all(entries)
        except BpfError as error:
            if error.code in _NO_ROOM:
                raise FullError from error
            raise
        self._did(sum(map(len, entries.values())) + len(entries) * self.maps[name].key_size, len(entries))

    def _take_literal(self, members: tuple[str, ...]) -> None:
        """A list of nets in a rule is a set that never changes, of both generations."""
        users = self._literal_users.get(members, 0)
        self._literal_users[members] = users + 1
        if users == 0:
            for number, merged in self._literal(members):
                self._write(number, dict.fromkeys(merged, BOTH), [])
                self._wide[number] = BOTH if any(map(_is_net, merged)) else 0

    def _drop_literal(self, members: tuple[str, ...]) -> None:
        self._literal_users[members] -= 1
        if not self._literal_users[members]:
            del self._literal_users[members]
            for number, merged in self._literal(members):
                self._write(number, {}, list(merged))

    def _literal(self, members: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
        base = self._sets.of(members)
        for family in layout.FAMILIES:
            if merged := widest(members, family):
                yield layout.set_number(base, family), merged

    # -- endpoints -------------------------------------------------------------------------------------------------

    def _bring_endpoints(self, idle: Generation, program: NodeProgram, interfaces: Mapping[str, int]) -> None:
        wanted = {
            name: Attached(
                interfaces[name],
                (idle.walks[endpoint.ingress].start, idle.walks[endpoint.egress].start),
                endpoint.addresses,
            )
            for name, endpoint in program.endpoints.items()
            if name in interfaces
        }
        if wanted == idle.endpoints:
            return
        generation = 1 - self.current
        starts: dict[bytes, bytes] = {}
        for name, attached in wanted.items():
            if idle.endpoints.get(name) != attached:
                for direction, start in zip(layout.DIRECTIONS, attached.starts, strict=True):
                    key = layout.endpoint_key(attached.interface, direction, generation)
                    starts[key] = layout.NUMBER.pack(start)
        kept = {attached.interface for attached in wanted.values()}
        gone = {attached.interface for attached in idle.endpoints.values()} - kept
        self._put_all("endpoints", starts)
        self.maps["endpoints"].remove_all(
            [layout.endpoint_key(index, direction, generation) for index in gone for direction in layout.DIRECTIONS]
        )
        self._did(8 * len(gone), len(gone))
        self._bring_sources(idle, frozenset((a.interface, text) for a in wanted.values() for text in a.addresses))
        idle.endpoints = wanted

    def _bring_sources(self, idle: Generation, wanted: frozenset[tuple[int, str]]) -> None:
        mine, theirs = 1 << (1 - self.current), 1 << self.current
        other = self._generations[self.current].sources
        puts = {each: mine | (theirs if each in other else 0) for each in wanted - idle.sources}
        gone = idle.sources - wanted
        puts |= {each: theirs for each in gone if each in other}
        self._put_all("sources", {layout.source_key(*each): layout.NUMBER.pack(bits) for each, bits in puts.items()})
        self.maps["sources"].remove_all([layout.source_key(*each) for each in gone if each not in other])
        idle.sources = wanted

    def _bring_hosts(
        self, idle: Generation, program: NodeProgram, interfaces: Mapping[str, int], tunnels: frozenset[int]
    ) -> None:
        """The lists of host endpoints, for every interface they guard."""
        if program.host_endpoints or idle.safes:
            self._bring_safes(idle, program)
        generation = 1 - self.current
        wanted = {
            layout.endpoint_key(index, direction, generation): layout.LISTS.pack(
                *(idle.walks[id_].start + 1 if id_ else 0 for id_ in found.walks),
                *(idle.safes[id_].start + 1 if id_ else 0 for id_ in found.safes),
                index in tunnels,
            )
            for name, index in guarded(program, interfaces).items()
            for direction in layout.DIRECTIONS
            if (found := lists(program, name, direction))
        }
        if wanted != idle.hosts:
            self._put_all("hosts", {key: value for key, value in wanted.items() if idle.hosts.get(key) != value})
            self.maps["hosts"].remove_all([key for key in idle.hosts if key not in wanted])
            idle.hosts = wanted

    def _bring_safes(self, idle: Generation, program: NodeProgram) -> None:
        wanted = {ports.id.removeprefix(SAFE_PREFIX): ports for ports in safe_ports(program)}
        for id_ in [id_ for id_, block in idle.safes.items() if wanted.get(id_) != block.part]:
            self._release(idle.safes.pop(id_))
        other = self._generations[self.current].safes
        for id_, ports in wanted.items():
            if id_ not in idle.safes:
                block = self._share(other.get(id_), ports)
                if block is None:
                    literals: list[tuple[str, ...]] = []
                    code = safe_code(ports, self._numbering(self._literals_into(literals)))
                    block = self._place(ports, code, tuple(literals))
                self._use(block)
                idle.safes[id_] = block

    def _did(self, size: int, operations: int = 1) -> None:
        self.operations += operations
        self.bytes += size

    # -- what the kernel counted, and holds ------------------------------------------------------------------------

    def blocks(self) -> Iterator[Block]:
        """The code of the generation that decides."""
        yield from self.programmed.policies.values()
        yield from self.programmed.walks.values()

    def count(self, place: int) -> tuple[int, int]:
        """(packets, bytes) an instruction has decided on."""
        packets, size = layout.COUNT.unpack_from(self._counts, place * layout.COUNT.size)
        return packets, size

    def guard_counts(self) -> Iterator[tuple[RuleRef, int, int]]:
        """(guard, packets, bytes), in each direction."""
        for at, direction in enumerate(layout.DIRECTIONS):
            for number in layout.GUARDS:
                place = (at * layout.FIRST_REFERENCE + number) * layout.COUNT.size
                packets, size = layout.COUNT.unpack_from(self._guards, place)
                yield layout.guard_reference(number, direction), packets, size

    def instruction(self, place: int) -> bytes:
        """One instruction, as the kernel has it."""
        size = layout.INSTRUCTION.size
        return self._code[place * size : (place + 1) * size]

    def policy_start(self, number: int) -> int:
        """Where the code of a policy begins, as the kernel has it."""
        return self._starts[number * 2 + self.current]

    def is_literal(self, number: int) -> bool:
        """Report whether a set is a list of nets that a rule names: it says its members in its name."""
        return isinstance(self._sets.name(number // 2), tuple)

    def set_name(self, number: int) -> str:
        """The id of the set that has a number."""
        base = self._sets.name(number // 2)
        if isinstance(base, tuple):
            return ",".join(base)
        return f"{base}{6 if number & 1 else 4}"

    def policy_name(self, number: int) -> str:
        """The policy and direction that have a number."""
        name = self._policies.name(number)
        return " ".join(name) if isinstance(name, tuple) else str(name)


def _is_net(member: str) -> bool:
    return not member.endswith("/128" if ":" in member else "/32")
