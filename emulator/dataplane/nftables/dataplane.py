"""The nftables dataplane: keeps what the kernel holds, sends what differs, reads back and counts.

The table is written by raw netlink transactions and not through libnftables: that library first reads every set and
chain of the kernel, which makes one change among a thousand policies cost as much as a thousand (docs/performance).
For people everything shows in `nft list table inet muslin`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from emulator.dataplane.collector import collector_paused
from emulator.dataplane.contract import Applied, Counter, Plan, RuleRef
from emulator.dataplane.nftables import kernel
from emulator.dataplane.nftables.base import FROM_DISPATCH, INPUT, dispatch_from, input_chain, static_chains
from emulator.dataplane.nftables.chains import DENY_GROUP, LOG_GROUP
from emulator.dataplane.nftables.names import log_prefix
from emulator.dataplane.nftables.operations import (
    DELETE_TABLE,
    GET_GENERATION,
    NEW_TABLE,
    AddRules,
    FlushChain,
    Operation,
    RemoveChain,
    ResetTable,
    describe,
    message,
    messages,
    told,
)
from emulator.dataplane.nftables.parts import Chain
from emulator.dataplane.nftables.phases import phases
from emulator.dataplane.nftables.plan import EMPTY, Programmed, plan
from emulator.dataplane.nftables.turns import turned_among
from emulator.dataplane.tokens import Tokens
from emulator.dataplane.unions import Unions
from emulator.nflog import DropListener
from emulator.nfnetlink import NLM_F_CREATE, Message, NetfilterSocket, NetlinkError, attributes
from emulator.nftrace import PacketTrace
from reference.errors import EnvironmentLacksError
from reference.packet import Packet
from reference.program.types import NodeProgram


class Planned(msgspec.Struct, frozen=True):
    """Operations, and what they lead to from a kernel as it was."""

    program: NodeProgram
    operations: Sequence[Operation]
    result: Programmed
    since: Programmed  # what was known to be in the kernel; nothing where it was read
    generation: int  # of the kernel's rules then
    is_first: bool = False  # the kernel has no table of ours

    def lines(self) -> list[str]:
        """A line for each operation, in order."""
        return [told(operation) for operation in self.operations]


class NftablesDataplane:
    """Makes the kernel of the network namespace it was made in be a program."""

    name = "nftables"
    deny_group = DENY_GROUP  # NFLOG groups of this dataplane's drops and of its Log rules
    log_group = LOG_GROUP

    def __init__(self) -> None:
        """Open the socket. Nothing is sent before the first `apply`."""
        self._socket = NetfilterSocket()
        self._programmed: Programmed = EMPTY
        self._unions = Unions()
        self._generation = 0  # of the kernel's rules, if nobody but us changed any
        self._static = {chain.name: chain for chain in static_chains()}
        self._tokens = Tokens(log_prefix)
        self._remember(self._static.values())

    @collector_paused()
    def plan(self, program: NodeProgram) -> Planned:
        """What differs between the kernel and `program`; a kernel nobody here has programmed yet is read."""
        known, extended = self._programmed, self._unions.extend(program)
        if known.program is not None:
            made = plan(known, extended)
            return Planned(program, made.operations, made.result, known, self._generation)
        made = plan(EMPTY, extended)
        generation = self._kernel_generation()
        table = kernel.read(self._socket)
        if table is None:
            return Planned(program, made.operations, made.result, EMPTY, generation, is_first=True)
        self._remember(made.result.chains.values())
        self._remember(made.result.groups.values())
        turned = (name for name in turned_among(table.sets) if made.result.content(name))
        result = msgspec.structs.replace(made.result, turned=frozenset(turned).difference(made.result.crowds))
        return Planned(program, kernel.reconcile(table, kernel.wanted_of(result)), result, EMPTY, generation)

    @collector_paused()
    def apply(self, wanted: NodeProgram | Plan) -> Applied:
        """Make the kernel be a program, sending only what differs (DP-1, invariant 28).

        The change is one atomic transaction; what is new is made in one before and what goes is removed in one after
        (see `phases`). An apply that does not know what the kernel holds reads it back first.

        Raises:
            EnvironmentLacksError: the kernel cannot express something; what decides was not changed.
        """
        if isinstance(wanted, NodeProgram):
            planned = self.plan(wanted)
        elif isinstance(wanted, Planned) and wanted.generation == self._kernel_generation():
            planned = wanted
        else:  # somebody was at it meanwhile
            self.forget()
            planned = self.plan(wanted.program)
        if planned.since.program is not None:
            try:
                return self._carry_out(planned)
            except NetlinkError:  # others changed the table
                planned = self.plan(planned.program)
        try:
            return self._carry_out(planned)
        except NetlinkError as error:
            raise EnvironmentLacksError(
                f"node {planned.program.node}: {error}; nothing was changed. "
                "Run `muslin doctor` to see what this kernel's nf_tables can do"
            ) from error

    def _carry_out(self, planned: Planned) -> Applied:
        self.forget()  # unknown while transactions are under way
        self._generation = planned.generation
        operations = planned.operations
        if planned.is_first:  # an empty table before the rest, which is made in phases: other rules may decide already
            self._send([ResetTable()])
            operations = [operation for operation in operations if not isinstance(operation, ResetTable)]
        applied = self._send(operations)
        self._programmed = planned.result
        return applied

    def forget(self) -> None:
        """Forget what was programmed: the next apply compares with the kernel itself."""
        self._programmed = EMPTY

    def drift(self) -> str:
        """What of the kernel's table is not as programmed, in a line; "" if nothing is.

        Asks for the kernel's generation number only, as long as every change since the last look was our own.
        """
        generation = self._kernel_generation()
        if self._programmed.program is None or generation == self._generation:
            return ""
        found = kernel.said(kernel.reconcile(kernel.read(self._socket), kernel.wanted_of(self._programmed)))
        if not found:
            self._generation = generation  # somebody changed another table
        return found

    def _kernel_generation(self) -> int:
        return int.from_bytes(attributes(self._socket.ask(message(GET_GENERATION)))[1], "big")

    def _send(self, operations: Sequence[Operation]) -> Applied:
        size = 0
        for phase in phases(operations):
            sent: list[Message] = []
            about: list[Operation] = []
            for operation in phase:
                if isinstance(operation, AddRules):
                    self._remember((operation.chain,))
                before = len(sent)
                sent.extend(messages(operation))
                about.extend([operation] * (len(sent) - before))
            size += self._transact(sent, about)
            self._generation = _after(self._generation)
        return Applied(len(operations), size)

    def _transact(self, sent: list[Message], about: list[Operation]) -> int:
        try:
            return self._socket.transact(sent)
        except NetlinkError as error:
            raise NetlinkError(error.code, error.index, len(sent), describe(about[error.index])) from error

    def _remember(self, chains: Iterable[Chain]) -> None:
        for chain in chains:
            self._tokens.remember([rule.ref for rule in chain.rules])

    def drops(self, node: str) -> DropListener:
        """Listen to this dataplane's NFLOG group."""
        return DropListener(node, self, self.deny_group)

    def rule_of(self, prefix: str) -> RuleRef | None:
        """The rule a dropped or logged packet's prefix stands for; None if it is not ours."""
        return self._tokens.rule(prefix)

    def chain_rules(self, chain: str) -> tuple[RuleRef | None, ...]:
        """What each rule of a chain stands for, in order; empty for a chain that is not ours."""
        program = self._programmed.program
        if chain == INPUT and program is not None:
            return tuple(rule.ref for rule in input_chain(program.to_host).rules)
        if chain == FROM_DISPATCH and program is not None:
            return tuple(rule.ref for rule in dispatch_from(program.encapsulation).rules)
        found = self._static.get(chain) or self._programmed.chain(chain)
        return tuple(rule.ref for rule in self._programmed.as_sent(found).rules) if found else ()

    def read_back(self) -> Mapping[str, object]:
        """Chains, sets with their members, and rules by their comments and a hash; equal for equal programs."""
        return kernel.listed(kernel.read(self._socket))

    def trace(self, node: str, packet: Packet) -> PacketTrace:
        """Begin to trace packets like `packet`, whatever their source port."""
        return PacketTrace(node, self, packet)

    def counters(self) -> Mapping[RuleRef, Counter]:
        """Packets and bytes each rule matched since it was programmed; kernel rules of one user's rule are summed."""
        found: dict[RuleRef, Counter] = {}
        programmed = self._programmed
        for chain in {**self._static, **programmed.chains, **programmed.groups}:
            refs = self.chain_rules(chain)
            if not any(refs):
                continue
            for ref, rule in zip(refs, kernel.rules_of(self._socket, chain), strict=False):
                if ref is not None:
                    packets, size = kernel.count_of(rule)
                    known = found.get(ref, Counter(0, 0))
                    found[ref] = Counter(known.packets + packets, known.bytes + size)
        return found

    def clean(self) -> None:
        """Remove the table, and nothing else.

        First what leads into it: a packet among the rules would otherwise go on with them and find the sets empty.
        """
        hooked = kernel.base_chains(self._socket)
        operations: list[Operation] = [step for name in hooked for step in (FlushChain(name), RemoveChain(name))]
        if operations:
            self._socket.transact([sent for operation in operations for sent in messages(operation)])
        self._socket.transact([message(NEW_TABLE, flags=NLM_F_CREATE), message(DELETE_TABLE)])
        self.forget()

    def close(self) -> None:
        """Close the socket; what is programmed stays."""
        self._socket.close()


def _after(generation: int) -> int:
    """The kernel's number after one more transaction; it leaves nought out."""
    return (generation + 1) & 0xFFFFFFFF or 1
