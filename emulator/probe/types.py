"""Probes and their outcomes: the questions put to the real network, and what it answered."""

from __future__ import annotations

from typing import Literal

import msgspec

from emulator.dataplane.contract import Drop
from reference.endpoints import Family
from reference.packet import Packet

Result = Literal["allowed", "denied", "unreachable", "unknown"]
GLYPHS: dict[Result, str] = {"allowed": ".", "denied": "X", "unreachable": "!", "unknown": "?"}


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A question: may `source` open a flow to `destination`?

    `source` and `destination` are "namespace/pod", or the name of a node or host; a destination may be an address.
    """

    source: str
    destination: str
    protocol: str = "TCP"  # TCP, UDP, SCTP, ICMP (of the family's own kind)
    port: int = 80
    family: Family | None = None  # None: IPv4 if both ends have it


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the network did with a probe. Only positive evidence counts: an answer, or the kernel's word of a drop.

    allowed: the destination answered. denied: a node's kernel reported dropping this very packet.
    unreachable: an error came back (no route). unknown: no evidence either way before the deadline.
    """

    probe: Probe
    packet: Packet
    seq: int  # the sequence number every node had enforced when the probe was sent
    result: Result
    evidence: str  # "connected", "dropped on node-1: deny by rule 1 of …", "EHOSTUNREACH", "no evidence in 3 s"
    milliseconds: float
    drop: Drop | None = None
    answer_dropped: bool = False  # it was not the packet that was dropped, but the answer to it

    @property
    def allowed(self) -> bool:
        """Report whether the flow got through."""
        return self.result == "allowed"

    def bears_out(self, *, allowed: bool, answer_implied: bool) -> bool:
        """Report whether the network did what an oracle says of the packet; the answer counts where it is implied."""
        arrived = self.allowed or (self.answer_dropped and not answer_implied)
        return self.result in ("allowed", "denied") and arrived == allowed
