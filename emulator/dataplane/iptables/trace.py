"""Packet traces: every rule of the iptables dataplane that chosen packets meet, named.

A trace puts a rule with the TRACE target first in the raw table, reads what the kernel reports, and takes the rule out
again. The nft variant reports as nf_tables does, the legacy one through a netfilter log, group 0.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from emulator.dataplane.contract import RuleRef, TraceStep
from emulator.dataplane.iptables.commands import Commands
from emulator.dataplane.iptables.kernel import SavedRule
from emulator.dataplane.iptables.names import CHAIN_PREFIX
from emulator.nfnetlink import (
    AF_INET,
    AF_INET6,
    SUBSYS_LOG,
    SUBSYS_NFTABLES,
    Message,
    NetfilterSocket,
    attribute,
    attributes,
    string,
    u32,
)
from reference.endpoints import Family
from reference.errors import EnvironmentLacksError
from reference.packet import PORTED, Packet

_HOOKS = ("PREROUTING", "OUTPUT")
_TRACE_GROUP, _TRACE_MESSAGE, _GET_RULE = 9, SUBSYS_NFTABLES << 8 | 17, SUBSYS_NFTABLES << 8 | 7
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _POLICY = 1, 2, 3, 4, 5, 16
_OF_POLICY, _OF_RETURN = 1, 2
_VERDICTS = {0: "drop", 1: "accept", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
_LOG_PACKET, _LOG_CONFIG, _LOG_PREFIX = SUBSYS_LOG << 8, SUBSYS_LOG << 8 | 1, 10
_LOGGED = re.compile(r"TRACE: (?P<table>\w+):(?P<chain>\S+):(?P<kind>rule|return|policy):(?P<number>\d+)")
_TARGET = re.compile(r"-(?P<how>[jg]) (?P<target>\S+)")
_COMMENT = re.compile(r'-m comment --comment (?:"[^"]*"|\S+) ?')


class Rules(Protocol):
    """What knows the rules in the kernel: the dataplane."""

    def saved(self, family: Family) -> Iterator[tuple[SavedRule, int, RuleRef | None]]:
        """(rule, its number in the chain, what it stands for) of every rule of ours in the kernel."""
        ...


class _Met(msgspec.Struct, frozen=True):
    """One report of the kernel: the rule by its number in the chain, 0 for a chain's end."""

    table: str
    chain: str
    number: int
    verdict: str


class _Trace:
    """What both variants share: the TRACE rules and the join of reports with rules."""

    def __init__(self, node: str, rules: Rules, commands: Commands, packet: Packet) -> None:
        self.node = node
        self._rules, self._commands, self._family = rules, commands, packet.family
        self._line = f"{conditions(packet)} -j TRACE"
        self._met: list[_Met] = []
        self._listen()
        self._open = True
        commands.restore({self._family: ["*raw", *(f"-I {hook} 1 {self._line}" for hook in _HOOKS), "COMMIT"]})

    def _listen(self) -> None:
        raise NotImplementedError

    def _receive(self) -> Iterator[_Met]:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError

    def steps(self) -> list[TraceStep]:
        """Every rule of the dataplane met so far, in the order met."""
        self._met.extend(self._receive())
        if not self._met:
            return []
        saved = self._rules.saved(self._family)
        known = {(str(rule.table), rule.chain, number): (rule.text, ref) for rule, number, ref in saved}
        return [step for met in self._met if (step := self._step(met, known))]

    def _step(self, met: _Met, known: dict[tuple[str, str, int], tuple[str, RuleRef | None]]) -> TraceStep | None:
        text, ref = known.get((met.table, met.chain, met.number), (f"end of chain: {met.verdict}", None))
        words = _COMMENT.sub("", text)
        verdict = met.verdict or verdict_of(words)
        return TraceStep(node=self.node, chain=met.chain, rule=ref, text=words, verdict=verdict)

    def close(self) -> None:
        """End the trace: take its rules out. Ending twice is harmless."""
        if not self._open:
            return
        self._open = False
        self._commands.restore({self._family: ["*raw", *(f"-D {hook} {self._line}" for hook in _HOOKS), "COMMIT"]})
        self._stop()


class NftTrace(_Trace):
    """The nft variant: reports of nf_tables, which name rules by handle."""

    def _listen(self) -> None:
        self._socket = NetfilterSocket(lossy=True)
        self._socket.join(_TRACE_GROUP)
        self._asking = NetfilterSocket()

    def _stop(self) -> None:
        self._socket.close()
        self._asking.close()

    def _receive(self) -> Iterator[_Met]:
        reports = [attributes(body) for kind, body in self._socket.receive() if kind == _TRACE_MESSAGE]
        if not reports:
            return
        numbers = self._numbers()
        for parts in reports:
            chain = string(parts.get(_CHAIN, b""))
            if not chain.startswith(CHAIN_PREFIX):
                continue
            kind = struct.unpack("!I", parts[_TYPE])[0]
            handle = struct.unpack("!Q", parts[_HANDLE])[0] if _HANDLE in parts else 0
            table = string(parts.get(_TABLE, b""))
            verdict = "return" if kind == _OF_RETURN else _verdict(attributes(parts.get(_VERDICT, b"")))
            if kind != _OF_POLICY:
                yield _Met(table, chain, numbers.get((table, chain, handle), 0), verdict)

    def _numbers(self) -> dict[tuple[str, str, int], int]:
        """(table, chain, handle) of every rule of this family, and its number in the chain."""
        found: dict[tuple[str, str, int], int] = {}
        position: dict[tuple[str, str], int] = {}
        family = AF_INET if self._family == 4 else AF_INET6
        for body in self._asking.dump(Message(_GET_RULE, b"", family=family)):
            rule = attributes(body)
            table, chain = string(rule[1]), string(rule[2])
            at = position[table, chain] = position.get((table, chain), 0) + 1
            found[table, chain, struct.unpack("!Q", rule[3])[0]] = at
        return found


class LegacyTrace(_Trace):
    """The legacy variant: messages of a netfilter log, which name rules by their number in the chain."""

    def _listen(self) -> None:
        protocol = AF_INET if self._family == 4 else AF_INET6
        logger = Path(f"/proc/sys/net/netfilter/nf_log/{protocol}")
        try:
            logger.write_text("nfnetlink_log")
        except OSError as error:
            raise EnvironmentLacksError(
                f"iptables-legacy cannot trace here: {logger} refuses nfnetlink_log: {error.strerror}; "
                "use the nft variant"
            ) from error
        self._socket = NetfilterSocket(lossy=True)
        for command in (attribute(1, bytes([1])), attribute(2, struct.pack("!IBx", 0, 2)), u32(4, 0), u32(5, 1)):
            self._socket.request(Message(_LOG_CONFIG, command, family=0, resource=0))

    def _stop(self) -> None:
        self._socket.close()

    def _receive(self) -> Iterator[_Met]:
        for kind, body in self._socket.receive():
            if kind != _LOG_PACKET:
                continue
            report = _LOGGED.search(string(attributes(body).get(_LOG_PREFIX, b"")))
            if report and report["chain"].startswith(CHAIN_PREFIX):
                if report["kind"] == "rule":
                    yield _Met(report["table"], report["chain"], int(report["number"]), "")
                else:
                    yield _Met(report["table"], report["chain"], 0, "return")


def conditions(packet: Packet) -> str:
    """Packets like this one: its source port, and what is 0 in it, are left open."""
    found = f"-s {packet.source} -d {packet.destination} -p {packet.protocol}"
    if packet.protocol in PORTED and packet.destination_port:
        found += f" -m multiport --dports {packet.destination_port}"
    if packet.icmp_type is not None:
        module, option = ("icmp", "--icmp-type") if packet.family == 4 else ("icmp6", "--icmpv6-type")
        found += f" -m {module} {option} {packet.icmp_type}"
    return found


def verdict_of(text: str) -> str:
    """What a rule says becomes of a packet it matches."""
    found = _TARGET.search(text)
    if found is None:
        return "continue"
    target = found["target"]
    if target in ("ACCEPT", "DROP", "RETURN"):
        return target.lower()
    if target.startswith(CHAIN_PREFIX):
        return f"{'jump' if found['how'] == 'j' else 'goto'} {target}"
    return "continue"


def _verdict(parts: dict[int, bytes]) -> str:
    name = _VERDICTS.get(struct.unpack("!i", parts[1])[0], "continue") if 1 in parts else "continue"
    return f"{name} {string(parts[2])}" if 2 in parts else name
