"""The nftables dataplane: keeps what the kernel holds, sends what differs, reads back and counts.

The table is written by raw netlink transactions and not through libnftables: that library first reads every set and
chain of the kernel, which makes one change among a thousand policies cost as much as a thousand (docs/performance).
For people everything shows in `nft list table inet muslin`; read_back uses that very listing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from emulator.dataplane.contract import Applied, Counter, RuleRef
from emulator.dataplane.libnftables import Libnftables
from emulator.dataplane.nftables import expressions
from emulator.dataplane.nftables.base import INPUT, input_chain, static_chains
from emulator.dataplane.nftables.chains import DENY_GROUP, LOG_GROUP
from emulator.dataplane.nftables.names import TABLE, log_prefix
from emulator.dataplane.nftables.normalise import normalise
from emulator.dataplane.nftables.operations import (
    DELETE_TABLE,
    GET_RULE,
    NEW_TABLE,
    AddRules,
    Operation,
    describe,
    message,
    messages,
)
from emulator.dataplane.nftables.parts import Chain
from emulator.dataplane.nftables.plan import EMPTY, Programmed, plan
from emulator.nflog import DropListener
from emulator.nfnetlink import NLM_F_CREATE, Message, NetfilterSocket, NetlinkError, attributes, each_attribute, string
from emulator.nftrace import PacketTrace
from reference.errors import EnvironmentLacksError
from reference.packet import Packet
from reference.program.types import NodeProgram


class NftablesDataplane:
    """Makes the kernel of the network namespace it was made in be a program."""

    name = "nftables"
    deny_group = DENY_GROUP  # NFLOG groups of this dataplane's drops and of its Log rules
    log_group = LOG_GROUP

    def __init__(self) -> None:
        """Open the socket. Nothing is sent before the first `apply`."""
        self._socket = NetfilterSocket()
        self._programmed: Programmed = EMPTY
        self._static = {chain.name: chain for chain in static_chains()}
        self._refs: dict[str, RuleRef] = {}
        self._remember(self._static.values())

    def apply(self, program: NodeProgram) -> Applied:
        """Make the kernel be `program` in one atomic transaction, sending only what differs (DP-1, invariant 28).

        The first apply, and one that finds the table changed by others, replaces the whole table at once.

        Raises:
            EnvironmentLacksError: the kernel cannot express something; nothing was changed.
        """
        if self._programmed.program is not None:
            try:
                return self._send(program)
            except NetlinkError:
                self._programmed = EMPTY
        try:
            return self._send(program)
        except NetlinkError as error:
            raise EnvironmentLacksError(
                f"node {program.node}: {error}; nothing was changed. "
                "Run `muslin doctor` to see what this kernel's nf_tables can do"
            ) from error

    def _send(self, program: NodeProgram) -> Applied:
        wanted = plan(self._programmed, program)
        sent: list[Message] = []
        about: list[Operation] = []
        for operation in wanted.operations:
            if isinstance(operation, AddRules):
                self._remember((operation.chain,))
            before = len(sent)
            sent.extend(messages(operation))
            about.extend([operation] * (len(sent) - before))
        size = self._transact(sent, about) if sent else 0
        self._programmed = wanted.result
        return Applied(len(wanted.operations), size)

    def _transact(self, sent: list[Message], about: list[Operation]) -> int:
        try:
            return self._socket.transact(sent)
        except NetlinkError as error:
            raise NetlinkError(error.code, error.index, len(sent), describe(about[error.index])) from error

    def _remember(self, chains: Iterable[Chain]) -> None:
        """Tokens are kept when rules go: a drop may be reported after the rule that caused it was replaced."""
        for chain in chains:
            for rule in chain.rules:
                if rule.ref is not None:
                    self._refs[log_prefix(rule.ref)] = rule.ref

    def drops(self, node: str) -> DropListener:
        """Listen to this dataplane's NFLOG group."""
        return DropListener(node, self, self.deny_group)

    def rule_of(self, prefix: str) -> RuleRef | None:
        """The rule a dropped or logged packet's prefix stands for; None if it is not ours."""
        return self._refs.get(prefix)

    def chain_rules(self, chain: str) -> tuple[RuleRef | None, ...]:
        """What each rule of a chain stands for, in order; empty for a chain that is not ours."""
        program = self._programmed.program
        if chain == INPUT and program is not None:
            return tuple(rule.ref for rule in input_chain(program.to_host).rules)
        found = self._static.get(chain) or self._programmed.chain(chain)
        return tuple(rule.ref for rule in found.rules) if found else ()

    def read_back(self) -> Mapping[str, object]:
        """The table as the nft program lists it, without handles and counts; equal for equal programs."""
        with Libnftables(json=True) as nft:
            return normalise(nft.run(f"list table inet {TABLE}"))

    def trace(self, node: str, packet: Packet) -> PacketTrace:
        """Begin to trace packets like `packet`, whatever their source port."""
        return PacketTrace(node, self, packet)

    def counters(self) -> Mapping[RuleRef, Counter]:
        """Packets and bytes each rule matched since it was programmed; kernel rules of one user's rule are summed."""
        found: dict[RuleRef, Counter] = {}
        position: dict[str, int] = {}
        for chain, encoded in self._kernel_rules():
            refs, at = self.chain_rules(chain), position.get(chain, 0)
            position[chain] = at + 1
            ref = refs[at] if at < len(refs) else None
            if ref is not None:
                packets, size = count_of(encoded)
                known = found.get(ref, Counter(0, 0))
                found[ref] = Counter(known.packets + packets, known.bytes + size)
        return found

    def _kernel_rules(self) -> Iterator[tuple[str, bytes]]:
        """(chain, expressions) of every rule in the kernel's table, in order within a chain."""
        for body in self._socket.dump(message(GET_RULE)):
            rule = attributes(body)
            if string(rule[1]) == TABLE:
                yield string(rule[2]), rule.get(4, b"")

    def clean(self) -> None:
        """Remove the table, and nothing else."""
        self._socket.transact([message(NEW_TABLE, flags=NLM_F_CREATE), message(DELETE_TABLE)])
        self._programmed = EMPTY

    def close(self) -> None:
        """Close the socket; what is programmed stays."""
        self._socket.close()


def count_of(encoded: bytes) -> tuple[int, int]:
    """(packets, bytes) of the counter among a rule's expressions; noughts if it has none."""
    for _, element in each_attribute(encoded):
        expression = attributes(element)
        if string(expression[1]) == expressions.COUNTER:
            inside = attributes(expression[2])
            return struct.unpack("!Q", inside[2])[0], struct.unpack("!Q", inside[1])[0]
    return 0, 0
