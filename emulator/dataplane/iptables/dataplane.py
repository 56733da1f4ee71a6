"""The iptables dataplane: keeps what the kernel holds, sends what differs, reads back and counts."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import NamedTuple

import msgspec

from emulator.dataplane import contract
from emulator.dataplane.collector import collector_paused
from emulator.dataplane.contract import Applied, Counter, RuleRef
from emulator.dataplane.dormancy import told
from emulator.dataplane.iptables.base import dispatch_chains, static_chains
from emulator.dataplane.iptables.commands import FAMILIES, FEW, NOT_BEGUN, Commands, Variant
from emulator.dataplane.iptables.drift import said
from emulator.dataplane.iptables.kernel import SavedRule, parse, saved_chains, saved_rules
from emulator.dataplane.iptables.matching import refuse_unsayable
from emulator.dataplane.iptables.names import CHAIN_PREFIX, OWN_SET, log_prefix
from emulator.dataplane.iptables.parts import TABLES, Chain, Table, chain_key
from emulator.dataplane.iptables.plan import Plan, plan
from emulator.dataplane.iptables.restorer import CommandError
from emulator.dataplane.iptables.running import Running
from emulator.dataplane.iptables.trace import LegacyTrace, NftTrace
from emulator.dataplane.iptables.wanted import Programmed, differences
from emulator.dataplane.iptables.watch import Watch
from emulator.dataplane.tokens import Tokens
from emulator.dataplane.unions import Unions
from emulator.nflog import DENY_GROUP, LOG_GROUP, DropListener
from reference.endpoints import Family
from reference.errors import EnvironmentLacksError
from reference.packet import Packet
from reference.program.types import Encapsulation, NodeProgram

PIECE = 200  # chains
_LONG = 200  # lines
_READINGS = 2  # of a kernel that changes between reading and writing
_OUR_COMMENT = re.compile(r'-m comment --comment (?:"cali:\S+ ?([^"]*)"|cali:\S+) ?')
_TAG = re.compile(r"(--match-set cali[46])[0-9]")


class Planned(NamedTuple):
    """What turns the kernel into a program, in both families."""

    program: NodeProgram
    plans: Mapping[Family, Plan]
    since: Hashable  # what the watch saw when it was made

    def lines(self) -> list[str]:
        """A line for each step, in order, as the programs are given them."""
        return [line for family, made in self.plans.items() for line in made.told(family)]


class IptablesDataplane:
    """Makes the kernel of the network namespace it was made in be a program, by one variant of iptables."""

    deny_group = DENY_GROUP  # NFLOG groups of this dataplane's drops and of its Log rules
    log_group = LOG_GROUP

    def __init__(self, variant: Variant = "nft") -> None:
        """Find the programs. Nothing is sent before the first `apply`.

        Raises:
            EnvironmentLacksError: iptables or ipset is not installed.
        """
        self.name = "iptables" if variant == "nft" else f"iptables-{variant}"
        self._variant: Variant = variant
        self._commands = Commands(variant)
        self._piece = PIECE if variant == "nft" else 0  # every transaction of the legacy variant costs a whole table
        self._programmed: dict[Family, Programmed] = {}
        self._unions = Unions()
        self._watch = Watch(self._commands.sets, legacy=variant == "legacy")
        self._undisturbed: Hashable = None  # what the watch saw when all was as programmed
        self._conflict = ""  # with the other variant, as last told
        self._tokens = Tokens(log_prefix)
        for family in FAMILIES:
            self._remember((*static_chains(family, "drop", Encapsulation()), *dispatch_chains(())))

    @collector_paused()
    def plan(self, program: NodeProgram) -> Planned:
        """What differs between the kernel and `program`; a kernel nobody here has programmed yet is read.

        Raises:
            EnvironmentLacksError: iptables cannot express something, or does not show what there is.
        """
        try:
            since = self._watch.state()
            have = self._programmed or self._read()
        except CommandError as error:
            raise _refused(program, error) from error
        extended = self._unions.extend(program)
        between = differences(have[4].program, extended)
        plans = {family: plan(have[family], extended, family, self._piece, between) for family in FAMILIES}
        return Planned(program, plans, since)

    @collector_paused()
    def apply(self, wanted: NodeProgram | contract.Plan) -> Applied:
        """Make the kernel be a program, sending only what differs (DP-1, invariant 28).

        The first apply, and one that finds the kernel changed by others, reads back what is there and converges.

        Raises:
            EnvironmentLacksError: the kernel or iptables cannot express something.
        """
        if isinstance(wanted, NodeProgram):
            return self._apply(wanted)
        if isinstance(wanted, Planned) and wanted.since == self._watch.state():
            with suppress(CommandError):
                self._programmed, self._undisturbed = {}, None
                self._carry_out(wanted.plans)
                self._watch.wake()
                return self._done(wanted.plans)
        self.forget()  # somebody was at it meanwhile
        return self._apply(wanted.program)

    def _apply(self, program: NodeProgram) -> Applied:
        extended = self._unions.extend(program)
        if self._programmed:
            try:
                return self._send(extended, self._programmed)
            except CommandError:
                self._programmed = {}
        self._commands.prepare()
        for _ in range(_READINGS):
            try:
                applied = self._send(extended, self._read())
            except CommandError as error:  # a restore program of an agent that died may have been at it still
                refused = error
            else:
                self._watch.wake()
                return applied
        raise _refused(program, refused) from refused

    def forget(self) -> None:
        """Forget what was programmed: the next apply reads the kernel."""
        self._programmed = {}

    def drift(self) -> str:
        """What in the kernel is not as programmed, in a line; "" if nothing is.

        Costs the save commands only when somebody, we included, changed something since the last time. That the other
        variant of iptables holds rules too is told once (IPT-7).
        """
        if not self._programmed:
            return ""
        words = []
        state = self._watch.state()
        if state != self._undisturbed:
            listed = self._listed()
            found = {family: parse(family, listed[family], listed[0]) for family in FAMILIES}
            words = [said(found[family], self._programmed[family].kernel) for family in FAMILIES]
            words += map(told, self._watch.asleep())
            self._undisturbed = None if any(words) else state
        if (conflict := self._watch.conflict()) != self._conflict:
            self._conflict = conflict
            words.append(conflict)
        return "; ".join(filter(None, words))

    def _listed(self) -> dict[int, str]:
        """What the save commands print of each family, and under 0 all sets; nobody is asked where nothing is."""
        names = self._commands.sets.names()
        listed: dict[int, str] = {0: self._commands.save_sets() if any(map(OWN_SET.match, names)) else ""}
        for family in FAMILIES:
            listed[family] = self._commands.save(family) if self._watch.may_hold_rules(family) else ""
        return listed

    def _read(self) -> dict[Family, Programmed]:
        """What the kernel holds, as far as it is ours, with no notion of why."""
        listed = self._listed()
        return {family: Programmed(kernel=parse(family, listed[family], listed[0])) for family in FAMILIES}

    def _send(self, program: NodeProgram, have: Mapping[Family, Programmed]) -> Applied:
        """Plan both families and carry the plans out.

        What may be refused is, before anything is sent. For a kernel that was read, sets, and the rules of a long plan,
        are on their way while the other family is planned; small changes go together.
        """
        anew = not self._programmed
        if anew:
            refuse_unsayable(program)
        between = differences(have[4].program, program)
        plans: dict[Family, Plan] = {}
        left: dict[Family, Plan] = {}
        filling: dict[Family, Running] = {}
        with ExitStack() as under_way:
            for family in FAMILIES:
                made = plans[family] = left[family] = plan(have[family], program, family, self._piece, between)
                if anew and family == FAMILIES[0] and len(made.sets_before) <= FEW and len(made.rules) > _LONG:
                    left[family] = self._begin(family, made, under_way)
                elif anew and len(made.sets_before) > FEW:
                    filling[family] = under_way.enter_context(self._commands.fill(made.sets_before))
            self._programmed, self._undisturbed = {}, None  # unknown while commands are under way
            self._carry_out(left, filling)
        return self._done(plans)

    def _begin(self, family: Family, made: Plan, under_way: ExitStack) -> Plan:
        """Let a family's restore program begin, as soon as the sets are there; what is left of the plan."""
        self._remember(made.rewritten)
        self._commands.restore_sets(made.sets_before)
        begin = under_way.enter_context(self._commands.restoring())
        begin(family, made.rules)
        return msgspec.structs.replace(made, sets_before=(), rules=(), rewritten=())

    def _done(self, plans: Mapping[Family, Plan]) -> Applied:
        """The kernel is as planned."""
        self._programmed = {family: made.result for family, made in plans.items()}
        lines = [line for made in plans.values() for line in made.lines]
        return Applied(len(lines), sum(map(len, lines)) + len(lines))

    def _carry_out(self, plans: Mapping[Family, Plan], filling: Mapping[Family, Running] = NOT_BEGUN) -> None:
        """Take the steps of plans together; of some families the sets are on their way."""
        for made in plans.values():
            self._remember(made.rewritten)
        before = [line for family, made in plans.items() if family not in filling for line in made.sets_before]
        after = [line for made in plans.values() for line in made.sets_after]
        rules = {family: made.rules for family, made in plans.items() if made.rules}
        if before and rules:
            self._commands.restore_sets(before)
            before = []
        self._commands.restore(rules, filling)
        if before or after:
            self._commands.restore_sets([*before, *after])
        if destroyed := [name for made in plans.values() for name in made.destroyed]:
            self._commands.destroy_sets(destroyed)

    def _remember(self, chains: Iterable[Chain]) -> None:
        for chain in chains:
            self._tokens.remember([rule.ref for rule in chain.rules])

    def drops(self, node: str) -> DropListener:
        """Listen to this dataplane's NFLOG group."""
        return DropListener(node, self, self.deny_group)

    def rule_of(self, prefix: str) -> RuleRef | None:
        """The rule a dropped or logged packet's prefix stands for; None if it is not ours."""
        return self._tokens.rule(prefix)

    def chain_rules(self, family: Family, key: str) -> tuple[RuleRef | None, ...]:
        """What each rule of a chain stands for, in order; empty for a chain that is not ours."""
        found = self._programmed[family].chain(key) if family in self._programmed else None
        return tuple(rule.ref for rule in found.rules) if found else ()

    def saved(self, family: Family) -> Iterator[tuple[SavedRule, int, RuleRef | None]]:
        """(rule, its number in the chain from 1, what it stands for) of every rule of ours in the kernel."""
        position: dict[str, int] = {}
        for rule in saved_rules(self._commands.save(family, counters=True)):
            if rule.chain.startswith(CHAIN_PREFIX):
                key = chain_key(rule.table, rule.chain)
                at = position[key] = position.get(key, 0) + 1
                refs = self.chain_rules(family, key)
                yield rule, at, refs[at - 1] if at <= len(refs) else None

    def counters(self) -> Mapping[RuleRef, Counter]:
        """Packets and bytes each rule matched since it was programmed; kernel rules of one user's rule are summed."""
        found: dict[RuleRef, Counter] = {}
        for family in FAMILIES:
            for rule, _, ref in self.saved(family):
                if ref is not None:
                    known = found.get(ref, Counter(0, 0))
                    found[ref] = Counter(known.packets + rule.packets, known.bytes + rule.bytes)
        return found

    def read_back(self) -> Mapping[str, object]:
        """Our chains and sets as the save commands list them, without counts, hashes and turns."""
        found: dict[str, object] = {}
        sets = self._commands.save_sets()
        for family in FAMILIES:
            saved = self._commands.save(family)
            kernel = parse(family, saved, sets)
            chains: dict[str, list[str]] = {name: [] for name in kernel.chains}
            hooks: dict[str, list[str]] = {}
            for rule in saved_rules(saved):
                if (key := chain_key(rule.table, rule.chain)) in chains:
                    chains[key].append(_TAG.sub(r"\g<1>0", _OUR_COMMENT.sub("", rule.text)))
                elif rule.hash:
                    hooks.setdefault(f"{rule.table} {rule.chain}", []).append(_OUR_COMMENT.sub("", rule.text))
            if chains or hooks or kernel.sets or kernel.strays:
                found[f"ipv{family}"] = {
                    "chains": dict(sorted(chains.items())),
                    "hooks": dict(sorted(hooks.items())),
                    "sets": {name: [some.type, sorted(some.members)] for name, some in sorted(kernel.sets.items())},
                    "left over": sorted(kernel.strays),
                }
        return found

    def trace(self, node: str, packet: Packet) -> LegacyTrace | NftTrace:
        """Begin to trace packets like `packet`, whatever their source port."""
        made = LegacyTrace if self._variant == "legacy" else NftTrace
        return made(node, self, self._commands, packet)

    def clean(self) -> None:
        """Remove our chains, the jumps to them and our sets, and nothing else.

        The jumps first: a packet among the rules would otherwise go on with them and find chains empty. Sets that the
        other variant's rules read are left to it.
        """
        for remove in (_without_hooks, _without_chains):
            lines = {family: remove(family, self._commands.save(family)) for family in FAMILIES}
            self._commands.restore({family: some for family, some in lines.items() if some})
        self._commands.destroy_unread(OWN_SET)
        self._programmed = {}

    def close(self) -> None:
        """End the restore programs; what is programmed stays."""
        self._commands.close()
        self._watch.close()


def _refused(program: NodeProgram, error: CommandError) -> EnvironmentLacksError:
    return EnvironmentLacksError(f"node {program.node}: {error}. Run `muslin doctor` to see what this kernel can do")


def _without_hooks(family: Family, saved: str) -> list[str]:
    """Lines that remove the jumps to our chains."""
    kernel = parse(family, saved, "")
    removed: dict[Table, list[str]] = {table: [] for table in TABLES}
    for (table, base), hashes in kernel.hooks.items():
        removed[table] += [f"-D {base} {at}" for at, found in reversed(list(enumerate(hashes, 1))) if found]
    return _by_table(removed)


def _without_chains(_: Family, saved: str) -> list[str]:
    """Lines that remove our chains, to which nothing leads any more."""
    ours = [(table, chain) for table, chain in saved_chains(saved) if chain.startswith(CHAIN_PREFIX)]
    removed: dict[Table, list[str]] = {table: [] for table in TABLES}
    for verb in ("-F", "-X"):
        for table, chain in ours:
            removed[table].append(f"{verb} {chain}")
    return _by_table(removed)


def _by_table(body: Mapping[Table, list[str]]) -> list[str]:
    return [line for table, lines in body.items() if lines for line in (f"*{table}", *lines, "COMMIT")]


class LegacyIptablesDataplane(IptablesDataplane):
    """The legacy variant: tables of x_tables instead of nf_tables."""

    def __init__(self) -> None:
        """Find the programs. Nothing is sent before the first `apply`.

        Raises:
            EnvironmentLacksError: iptables or ipset is not installed.
        """
        super().__init__("legacy")
