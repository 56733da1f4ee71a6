"""Packet traces: every rule of the nftables dataplane that chosen packets meet, named.

A trace adds a table of its own that marks the chosen packets, reads what the kernel reports of them, and removes the
table. It lives in the network namespace of the thread that starts it; the dataplane's table is not touched.
"""

from __future__ import annotations

import re
import struct
from types import TracebackType
from typing import Protocol

import msgspec

from emulator.dataplane.contract import RuleRef, TraceStep
from emulator.dataplane.libnftables import Libnftables
from emulator.dataplane.nftables import expressions as e
from emulator.dataplane.nftables.names import TABLE
from emulator.dataplane.nftables.operations import (
    DELETE_TABLE,
    GET_RULE,
    NEW_TABLE,
    chain_message,
    message,
    rule_message,
)
from emulator.dataplane.nftables.parts import Chain, Hook, Rule, address_bytes
from emulator.nfnetlink import NLM_F_CREATE, SUBSYS_NFTABLES, Message, NetfilterSocket, attributes, string
from reference.packet import PORTED, Packet

TRACE_TABLE = "muslin_trace"
_BEFORE_ALL = -350
_PREROUTING, _OUTPUT = 0, 3
_GROUP = 9
_TRACE = SUBSYS_NFTABLES << 8 | 17
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID, _POLICY = 1, 2, 3, 4, 5, 6, 16
_OF_POLICY, _OF_RETURN = 1, 2
_VERDICTS = {0: "drop", 1: "accept", -1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}
_LISTED = re.compile(r"^\t\t(?P<text>.*) # handle (?P<handle>\d+)$")
_LISTED_CHAIN = re.compile(r"^\tchain (?P<chain>\S+) \{")


class Rules(Protocol):
    """What knows the rules of a chain: the nftables dataplane."""

    def chain_rules(self, chain: str) -> tuple[RuleRef | None, ...]:
        """What each rule of a chain stands for, in order."""
        ...


class RawStep(msgspec.Struct, frozen=True, kw_only=True):
    """One report of the kernel about a traced packet, not yet joined with the rules."""

    packet: int  # the kernel's id of the packet in this hook
    chain: str
    handle: int  # 0 for the end of a base chain
    verdict: str


class PacketTrace:
    """A running trace; use it as a context manager. `steps` may be asked any number of times."""

    def __init__(self, node: str, rules: Rules, packet: Packet) -> None:
        """Begin to trace packets like `packet` (its source port, and what is 0 in it, are left open)."""
        self.node = node
        self._rules = rules
        self._socket = NetfilterSocket(lossy=True)
        self._socket.join(_GROUP)
        self._commands = NetfilterSocket()
        self._steps: list[RawStep] = []
        self._commands.transact(_trace_table(packet))

    def __enter__(self) -> PacketTrace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor, for selectors: readable when a packet has met a rule."""
        return self._socket.fileno()

    def close(self) -> None:
        """End the trace: remove its table. Ending twice is harmless."""
        if self._commands.fileno() >= 0:
            self._commands.transact([_in_trace_table(NEW_TABLE, NLM_F_CREATE), _in_trace_table(DELETE_TABLE)])
            self._commands.close()
            self._socket.close()

    def steps(self) -> list[TraceStep]:
        """Every rule of the dataplane met so far, in the order met."""
        for kind, body in self._socket.receive():
            if kind == _TRACE and (step := parse_step(body)):
                self._steps.append(step)
        if not self._steps:
            return []
        refs, texts = self._refs_by_handle(), _texts_by_handle()
        return [
            TraceStep(
                node=self.node,
                chain=step.chain,
                rule=refs.get((step.chain, step.handle)),
                text=texts.get((step.chain, step.handle), f"policy {step.verdict}"),
                verdict=step.verdict,
            )
            for step in self._steps
        ]

    def _refs_by_handle(self) -> dict[tuple[str, int], RuleRef]:
        """What each rule in the kernel stands for: its place in the chain says it."""
        found: dict[tuple[str, int], RuleRef] = {}
        position: dict[str, int] = {}
        for body in self._commands.dump(message(GET_RULE)):
            rule = attributes(body)
            if string(rule[1]) != TABLE:
                continue
            chain = string(rule[2])
            at, refs = position.get(chain, 0), self._rules.chain_rules(chain)
            position[chain] = at + 1
            if at < len(refs) and (ref := refs[at]) is not None:
                found[chain, struct.unpack("!Q", rule[3])[0]] = ref
        return found


def parse_step(body: bytes) -> RawStep | None:
    """One trace report; None when it is about another table."""
    parts = attributes(body)
    if string(parts.get(_TABLE, b"")) != TABLE:
        return None
    kind = struct.unpack("!I", parts[_TYPE])[0]
    handle = struct.unpack("!Q", parts[_HANDLE])[0] if _HANDLE in parts else 0
    if kind == _OF_POLICY:
        verdict = _VERDICTS.get(struct.unpack("!i", parts[_POLICY])[0], "accept") if _POLICY in parts else "accept"
    else:
        verdict = _verdict(attributes(parts.get(_VERDICT, b"")))
    return RawStep(
        packet=struct.unpack("!I", parts[_ID])[0],
        chain=string(parts[_CHAIN]),
        handle=handle,
        verdict="return" if kind == _OF_RETURN else verdict,
    )


def _verdict(parts: dict[int, bytes]) -> str:
    name = _VERDICTS.get(struct.unpack("!i", parts[1])[0], "continue") if 1 in parts else "continue"
    return f"{name} {string(parts[2])}" if 2 in parts else name


def _texts_by_handle() -> dict[tuple[str, int], str]:
    """The rules as the nft program prints them."""
    with Libnftables(handles=True, terse=True) as nft:
        listing = nft.run(f"list table inet {TABLE}")
    found: dict[tuple[str, int], str] = {}
    chain = ""
    for line in listing.splitlines():
        if heading := _LISTED_CHAIN.match(line):
            chain = heading["chain"]
        elif rule := _LISTED.match(line):
            found[chain, int(rule["handle"])] = rule["text"]
    return found


def _in_trace_table(kind: int, flags: int = 0) -> Message:
    return message(kind, flags=flags, table=TRACE_TABLE)


def _trace_table(packet: Packet) -> list[Message]:
    """The table that marks packets like this one, wherever they enter: from an interface or from the node itself."""
    rule = Rule(_conditions(packet) + e.trace(), f"trace {packet}"[:120])
    made = [_in_trace_table(NEW_TABLE, NLM_F_CREATE), _in_trace_table(DELETE_TABLE)]
    made.append(_in_trace_table(NEW_TABLE, NLM_F_CREATE))
    for name, hook in (("prerouting", _PREROUTING), ("output", _OUTPUT)):
        chain = Chain(name=name, hook=Hook("filter", hook, _BEFORE_ALL))
        made.append(chain_message(chain, table=TRACE_TABLE))
        made.append(rule_message(name, rule, table=TRACE_TABLE))
    return made


def _conditions(packet: Packet) -> bytes:
    family = packet.family
    found = e.family_is(family) + e.protocol_is(packet.protocol)
    for address, source in ((packet.source, True), (packet.destination, False)):
        data = address_bytes(address)
        found += e.address_in_prefix(family, source, data, len(data) * 8, True)
    if packet.protocol in PORTED and packet.destination_port:
        found += e.port_in_range(False, packet.destination_port, packet.destination_port, True)
    if packet.icmp_type is not None:
        found += e.icmp_is(packet.icmp_type, None)
    return found
