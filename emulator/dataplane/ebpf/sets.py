"""Sets of addresses and named ports in the kernel's maps: each member once, with a bit for each generation it is in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.generations import Generation, Numbers
from emulator.dataplane.ebpf.kept import Changes, KeptNumbers, KeptTable
from emulator.dataplane.references import NOTHING, member_changes
from reference.program.nets import widest
from reference.program.types import IPSet, NodeProgram

BOTH = 3  # the bits of both generations
AT_ONCE = 1 << 14  # members; of a larger set that is new


class Sets:
    """The sets that policies name, and the lists of nets in rules."""

    def __init__(self, members: KeptTable, nets: KeptTable, wide: KeptNumbers, most: int) -> None:
        self._members = members
        self._nets = nets
        self._wide = wide  # by set number: the generations in which it has nets
        self.numbers = Numbers(most)  # of sets, and of lists of nets
        self._literal_users: dict[tuple[str, ...], int] = {}
        self._nets_in: dict[int, list[int]] = {}  # by set number: how many nets each generation has
        self._members_next, self._nets_next = Changes(members), Changes(nets)  # what `flush` writes
        self._wide_next: dict[int, int] = {}

    def bring(self, idle: Generation, other: Generation, program: NodeProgram, at: int) -> None:
        """Make the sets of the idle generation, the one with number `at`, be a program's; the other one decides.

        It is not written before `flush`, with the lists of nets in rules.
        """
        if idle.program and idle.program.sets is program.sets and len(idle.sets) == len(program.sets):
            return
        for id_ in [id_ for id_ in idle.sets if id_ not in program.sets]:
            old = idle.sets.pop(id_)
            self._change(old, frozenset(), old.members, other.sets.get(id_), at)
        for id_, wanted in program.sets.items():
            before = idle.sets.get(id_)
            if before is wanted:
                continue
            idle.sets[id_] = wanted
            if before is None and id_ not in other.sets:
                self._introduce(wanted)
                other.sets[id_] = wanted
                continue
            gone, come = member_changes(before.members if before else NOTHING, wanted.members)
            self._change(wanted, come, gone, other.sets.get(id_), at)

    def _introduce(self, ipset: IPSet) -> None:
        """A set that no generation has: both get it at once, for nothing that decides asks for it yet."""
        number = layout.set_number(self.numbers.of(ipset.id[:-1]), ipset.family)
        nets, members = 0, ipset.members
        if len(members) > AT_ONCE:  # while some are written, the next ones are taken apart
            rest = iter(members)
            while some := tuple(islice(rest, AT_ONCE)):
                keys = layout.member_keys(number, some)
                self._members.put_meanwhile(dict.fromkeys(keys.hosts, layout.NUMBER.pack(BOTH)))
                self._put_nets(keys.nets, BOTH)
                nets += len(keys.nets)
        else:
            nets = self._put(number, members, BOTH)
        if nets:  # a number that is new, or whose set went, has none
            self._say_wide(number, [nets, nets])

    def _change(self, ipset: IPSet, added: frozenset[str], gone: frozenset[str], other: IPSet | None, at: int) -> None:
        """Members come to and leave the idle generation; the deciding one keeps its own."""
        mine, theirs = 1 << at, 1 << (1 - at)
        elsewhere: frozenset[str] = other.members if other else frozenset()
        number = layout.set_number(self.numbers.of(ipset.id[:-1]), ipset.family)
        more = self._put(number, added & elsewhere, BOTH) + self._put(number, added - elsewhere, mine)
        less = self._put(number, gone & elsewhere, theirs) + self._put(number, gone - elsewhere, 0)
        if ipset.kind == "nets":
            counts = self._nets_in.get(number, [0, 0])
            counts[at] += more - less
            self._say_wide(number, counts)

    def _say_wide(self, number: int, counts: list[int]) -> None:
        self._nets_in[number] = counts
        self._wide_next[number] = (counts[0] > 0) | (counts[1] > 0) << 1

    def _put(self, number: int, members: Collection[str], generations: int) -> int:
        """Let members be in these generations, with the next `flush`; how many of them are wider than one address."""
        if not members:
            return 0
        keys = layout.member_keys(number, members)
        if generations:
            self._members_next.put(dict.fromkeys(keys.hosts, layout.NUMBER.pack(generations)))
            if keys.nets:
                self._put_nets(keys.nets, generations)
        else:
            self._members_next.remove(keys.hosts)
            self._nets_next.remove(keys.nets)
        return len(keys.nets)

    def _put_nets(self, nets: Mapping[bytes, int], generations: int) -> None:
        self._nets_next.put({key: layout.NET.pack(generations, 32 + prefix) for key, prefix in nets.items()})

    def settle(self) -> None:
        """Wait for the members of large sets, which are written from the beginning.

        Raises:
            FullError: there is no room.
        """
        self._members.settle()

    def flush(self) -> None:
        """Write what is to be written.

        Raises:
            FullError: there is no room.
        """
        self.numbers.check()
        self._members_next.flush()
        self._nets_next.flush()
        self._wide.put_all(self._wide_next)
        self._wide_next.clear()

    # -- lists of nets in rules ------------------------------------------------------------------------------------

    def take_literal(self, nets: tuple[str, ...]) -> None:
        """A list of nets in a rule is a set that never changes, of both generations."""
        users = self._literal_users.get(nets, 0)
        self._literal_users[nets] = users + 1
        if users == 0:
            for number, merged in self._literal(nets):
                self._wide_next[number] = BOTH if self._put(number, merged, BOTH) else 0

    def drop_literal(self, nets: tuple[str, ...]) -> None:
        """A rule that named it is gone."""
        self._literal_users[nets] -= 1
        if not self._literal_users[nets]:
            del self._literal_users[nets]
            for number, merged in self._literal(nets):
                self._put(number, merged, 0)

    def _literal(self, nets: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
        base = self.numbers.of(nets)
        for family in layout.FAMILIES:
            if merged := widest(nets, family):
                yield layout.set_number(base, family), merged

    # -- what the kernel holds -------------------------------------------------------------------------------------

    def name(self, number: int) -> str:
        """The id of the set that has a number."""
        base = self.numbers.name(number // 2)
        if isinstance(base, tuple):
            return ",".join(base)
        return f"{base}{6 if number & 1 else 4}"

    def listed(self, generation: int) -> dict[str, list[str]]:
        """The members of each set that has any; lists that rules name are said there."""
        found: dict[str, list[str]] = {}
        for table, text in ((self._members.table, layout.member_text), (self._nets.table, layout.net_text)):
            for key, value in table.items():
                number, member = text(key)
                if layout.NUMBER.unpack_from(value)[0] >> generation & 1 and not self._is_literal(number):
                    found.setdefault(self.name(number), []).append(member)
        return {name: sorted(members) for name, members in found.items()}

    def _is_literal(self, number: int) -> bool:
        """Report whether a set is a list of nets that a rule names: it says its members in its name."""
        return isinstance(self.numbers.name(number // 2), tuple)
