"""From what one family's kernel holds to what it must hold: the steps of an apply. Pure.

A table is replaced at once by one restore, a set's member is added or removed at once, and nothing else is atomic. So
that no packet meets a mixture of two programs (DP-1):

- a set that rules read changes in place only if it is the only thing that changes; otherwise a second set is filled
  beside it, under its other name, and the rules that read it go over to that one together with all other rules;
- a union, which decides nothing by itself, gains members before everything else and loses them after;
- addresses a pod loses are taken from the anti-spoofing set before the rules change, those it gains are added after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from immutables import Map

from emulator.dataplane.iptables.base import HOOKS, nat_sources_set, pools_set, sources_set
from emulator.dataplane.iptables.changes import Changes, edits
from emulator.dataplane.iptables.kernel import Kernel, KernelSet, hook_rule, kernel_member, written
from emulator.dataplane.iptables.names import TAGS, is_union_name, tagged
from emulator.dataplane.iptables.parts import TABLES, Chain, Content, SetType, Table, split_key
from emulator.dataplane.iptables.wanted import Differences, Programmed, differences, drafted
from emulator.dataplane.references import member_changes
from reference.endpoints import Family
from reference.program.types import NodeProgram

MAX_MEMBERS = 1 << 20
_MANY = 4096  # members, for which the kernel's first table of 1024 places is too small
_FAMILY_NAMES: dict[Family, str] = {4: "inet", 6: "inet6"}


class Plan(msgspec.Struct, frozen=True):
    """The steps of an apply in order, each as the lines of one command, and what they lead to."""

    sets_before: tuple[str, ...]  # ipset restore
    rules: tuple[str, ...]  # iptables-restore --noflush
    sets_after: tuple[str, ...]  # ipset restore
    destroyed: tuple[str, ...]  # sets to destroy once the tables have let go of them
    result: Programmed
    rewritten: tuple[Chain, ...]  # the chains whose rules were sent

    @property
    def operations(self) -> int:
        """How many lines it sends."""
        return len(self.lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.sets_before, *self.rules, *self.sets_after, *self.destroyed)

    def told(self, family: Family) -> Iterator[str]:
        """All of them, each with the program it is for."""
        for tool, lines in (
            ("ipset", self.sets_before),
            ("iptables" if family == 4 else "ip6tables", self.rules),
            ("ipset", (*self.sets_after, *(f"destroy {name}" for name in self.destroyed))),
        ):
            yield from (f"{tool}: {line}" for line in lines)


def plan(
    before: Programmed, program: NodeProgram, family: Family, piece: int = 0, between: Differences | None = None
) -> Plan:
    """What turns `before` into `program`; nothing if it is there already (invariant 28).

    `before` without a program is a kernel read back: everything in it is compared. `piece` is how many chains one
    transaction makes or removes where none of them decides anything; 0 for as many as there are. `between` is what
    differs between the two programs, if somebody has looked already.
    """
    if before.program is program:
        return Plan((), (), (), (), before, ())
    draft = drafted(before, program, family, between or differences(before.program, program))
    after = draft.finish(before, program)
    read = before.program is None
    chains = dict.fromkeys([*draft.touched_chains, *(before.kernel.chains if read else ())])
    sets = dict.fromkeys([*draft.touched_sets, *(before.kernel.sets if read else ())])
    return _Steps(before, after, family, piece).plan(chains, sets)


class _Steps:
    """The commands that lead from one `Programmed` to another."""

    def __init__(self, before: Programmed, after: Programmed, family: Family, piece: int) -> None:
        self._before, self._after, self._family, self._piece = before, after, family, piece
        self._kernel_sets, self._kernel_chains = before.kernel.sets, before.kernel.chains
        self._unseen = {nat_sources_set(family).name, pools_set(family).name}  # change no verdict
        self._sets_before: list[str] = []
        self._sets_after: list[str] = []
        self._sets_last: list[str] = []
        self._destroyed: list[str] = list(before.kernel.strays)
        self._rewritten: list[Chain] = []

    def plan(self, chains: Mapping[str, None], sets: Mapping[str, None]) -> Plan:
        """Every step, given the chains and sets that may differ."""
        tags = self._tags()
        differ = [name for name in chains if self._differs(name, tags)]
        hooks = self._hooks() if self._before.program is None else {}
        flipped = self._change_sets(sets, alone=not differ and not hooks)
        if flipped:
            tags = self._tags()
            differ = list(dict.fromkeys([*differ, *self._readers(flipped)]))
        changes = self._changes(differ, hooks, tags)
        kernel = Kernel(chains=self._kernel_chains, sets=self._kernel_sets)
        return Plan(
            sets_before=tuple(self._sets_before),
            rules=tuple(line for table in TABLES for line in changes[table].lines(table, self._piece)),
            sets_after=(*self._sets_after, *self._sets_last),
            destroyed=tuple(self._destroyed),
            result=msgspec.structs.replace(self._after, kernel=kernel),
            rewritten=tuple(self._rewritten),
        )

    def _tags(self) -> Map[str, str]:
        """The digits of the sets under their second names."""
        return Map({name: kernel_set.tag for name, kernel_set in self._kernel_sets.items() if kernel_set.tag != "0"})

    def _differs(self, name: str, tags: Map[str, str]) -> bool:
        have, want = self._kernel_chains.get(name), self._after.chain(name)
        if have is None or want is None:
            return not (have is None and want is None)
        return have != tuple([found for found, _ in written(want, tags)])

    def _readers(self, flipped: set[str]) -> Iterator[str]:
        for chain in (*self._after.chains.values(), *self._after.groups.values()):
            if any(spec.name in flipped for spec, _ in chain.lookups):
                yield chain.key

    def _hooks(self) -> dict[tuple[Table, str], list[str]]:
        """Our jump first in each of the kernel's chains, once; everybody else's rules as they are (IPT-7)."""
        found: dict[tuple[Table, str], list[str]] = {}
        for table, base, target in HOOKS:
            have = self._before.kernel.hooks.get((table, base), ())
            wanted, line = hook_rule(table, base, target)
            if have[:1] == (wanted,) and not any(have[1:]):
                continue
            places = [at for at, found_hash in enumerate(have, 1) if found_hash]
            found[table, base] = [
                f"-I {base} 1 {line}",
                *(f"-D {base} {at + 1}" for at in reversed(places)),
            ]
        return found

    def _change_sets(self, names: Iterable[str], *, alone: bool) -> set[str]:
        """Create, fill, change and retire sets; the names of those that now go by their other name."""
        changed = []
        for name in names:
            have, want = self._kernel_sets.get(name), self._after.content(name)
            if want is None:
                if have is not None:
                    self._destroyed.append(tagged(name, have.tag))
                    self._kernel_sets = self._kernel_sets.delete(name)
            elif have is None:
                self._create(name, want, "0")
            elif name == sources_set(self._family).name:
                self._change_sources(have, want)
            elif is_union_name(name):
                self._change_union(have, want)
            elif name in self._unseen or not self._before.sides(name):
                self._in_place(self._sets_after if name in self._unseen else self._sets_before, have, want)
            elif (have.type, have.members) != (want[0].type, want[1]):
                changed.append((name, have, want))
        if alone and len(changed) == 1 and changed[0][1].type == changed[0][2][0].type:
            self._change_alone(*changed[0][1:])
            return set()
        for name, have, want in changed:
            self._destroyed.append(tagged(name, have.tag))
            self._create(name, want, self._free_tag(name))
        return {name for name, _, _ in changed}

    def _free_tag(self, name: str) -> str:
        """A name that no set has, not even one that rules read which an apply left behind that ended half-way."""
        return next((tag for tag in TAGS if tagged(name, tag) not in self._destroyed), TAGS[0])

    def _create(self, name: str, want: Content, tag: str) -> None:
        spec, members = want
        self._make(self._sets_before, tagged(name, tag), spec.type, members)
        self._kernel_sets = self._kernel_sets.set(name, KernelSet(tag, spec.type, members))

    def _make(self, lines: list[str], name: str, kind: SetType, members: frozenset[str]) -> None:
        if name in self._destroyed:  # left behind by an apply that ended half-way
            self._destroyed.remove(name)
            lines.append(f"destroy {name}")
        size = f" hashsize {_hash_size(len(members))}" if len(members) > _MANY else ""
        lines.append(f"create {name} {kind} family {_FAMILY_NAMES[self._family]}{size} maxelem {MAX_MEMBERS}")
        lines.extend([f"add {name} {member}" for member in _kernel_members(kind, sorted(members))])

    def _change_sources(self, have: KernelSet, want: Content) -> None:
        gone, come = member_changes(have.members, want[1])
        self._remove(self._sets_before, have, want, gone)
        self._add(self._sets_after, have, want, come)

    def _change_union(self, have: KernelSet, want: Content) -> None:
        gone, come = member_changes(have.members, want[1])
        self._add(self._sets_before, have, want, come)
        self._remove(self._sets_last, have, want, gone)

    def _in_place(self, lines: list[str], have: KernelSet, want: Content) -> None:
        gone, come = member_changes(have.members, want[1])
        self._remove(lines, have, want, gone)
        self._add(lines, have, want, come)

    def _change_alone(self, have: KernelSet, want: Content) -> None:
        """Member by member where a packet is asked about one of them only; else all at once, by a swap (IPT-6)."""
        spec, members = want
        gone, come = member_changes(have.members, members)
        if len(gone) + len(come) == 1 or len(self._before.sides(spec.name)) == 1:
            self._remove(self._sets_after, have, want, gone)
            self._add(self._sets_after, have, want, come)
            return
        now, temporary = tagged(spec.name, have.tag), tagged(spec.name, "t")
        self._make(self._sets_after, temporary, have.type, members)
        self._sets_after += [f"swap {temporary} {now}", f"destroy {temporary}"]
        self._holds(have, want)

    def _add(self, lines: list[str], have: KernelSet, want: Content, come: Iterable[str]) -> None:
        name = tagged(want[0].name, have.tag)
        lines.extend(f"add {name} {kernel_member(have.type, member)}" for member in sorted(come))
        self._holds(have, want)

    def _remove(self, lines: list[str], have: KernelSet, want: Content, gone: Iterable[str]) -> None:
        name = tagged(want[0].name, have.tag)
        lines.extend(f"del {name} {kernel_member(have.type, member)}" for member in sorted(gone))
        self._holds(have, want)

    def _holds(self, have: KernelSet, want: Content) -> None:
        """Note that the set of the kernel has, or will have, the members wanted."""
        self._kernel_sets = self._kernel_sets.set(want[0].name, KernelSet(have.tag, have.type, want[1]))

    def _changes(
        self, differ: Iterable[str], hooks: Mapping[tuple[Table, str], list[str]], tags: Map[str, str]
    ) -> Mapping[Table, Changes]:
        """What each table needs: new chains, changed rules, our jumps, and what goes."""
        changes: dict[Table, Changes] = {table: Changes() for table in TABLES}
        kernel_chains = self._kernel_chains.mutate()
        for key in differ:
            have, want = kernel_chains.get(key), self._after.chain(key)
            if want is None:
                if have is not None:
                    table, name = split_key(key)
                    changes[table].gone.append(name)
                    del kernel_chains[key]
                continue
            lines = written(want, tags)
            if have is None:
                changes[want.table].made[want.name] = [f"-A {want.name} {line}" for _, line in lines]
            else:
                changes[want.table].changed.extend(edits(want.name, have, lines))
            kernel_chains[key] = tuple([found for found, _ in lines])
            self._rewritten.append(want)
        self._kernel_chains = kernel_chains.finish()
        for (table, _), lines_of_hook in hooks.items():
            changes[table].changed.extend(lines_of_hook)
        return changes


def _hash_size(members: int) -> int:
    """Places for so many: a set that begins with fewer is moved to twice as many again and again while it is filled."""
    return 1 << (members // 2).bit_length()


def _kernel_members(kind: SetType, members: Sequence[str]) -> Iterable[str]:
    """Members as ipset reads them; most it reads as they are."""
    return [kernel_member(kind, member) for member in members] if kind == "hash:ip,port" else members
