"""One outstanding probe: which packets belong to it, what evidence came in, and what that evidence amounts to.

Pure bookkeeping. It opens no socket and reads no clock; `emulator.probe.sockets` feeds it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from emulator.dataplane.contract import Drop
from emulator.probe.types import Outcome, Probe, Result
from reference.packet import PORTED, PROTOCOLS, Packet

ICMP_PROTOCOLS = frozenset({PROTOCOLS["ICMP"], PROTOCOLS["ICMPv6"]})
ECHO_REQUEST = {PROTOCOLS["ICMP"]: 8, PROTOCOLS["ICMPv6"]: 128}
ECHO_REPLY = {PROTOCOLS["ICMP"]: 0, PROTOCOLS["ICMPv6"]: 129}

# Protocol, source, destination, then the two ports; or the ICMP type and code; or nothing.
FlowKey = tuple[int, str, str, int, int]


def flow_key(packet: Packet) -> FlowKey:
    """The 5-tuple of a packet; ICMP's has the type and code in the place of ports."""
    first, second = 0, 0
    if packet.protocol in PORTED:
        first, second = packet.source_port, packet.destination_port
    elif packet.protocol in ICMP_PROTOCOLS:
        first, second = packet.icmp_type or 0, packet.icmp_code or 0
    return packet.protocol, packet.source, packet.destination, first, second


def reply_key(packet: Packet) -> FlowKey | None:
    """The 5-tuple of the answer to a packet; None when the protocol gives none."""
    if packet.protocol in PORTED:
        return packet.protocol, packet.destination, packet.source, packet.destination_port, packet.source_port
    if packet.protocol in ICMP_PROTOCOLS and packet.icmp_type == ECHO_REQUEST[packet.protocol]:
        return packet.protocol, packet.destination, packet.source, ECHO_REPLY[packet.protocol], 0
    return None


class Attempt:
    """A probe under way. Evidence only accumulates; `outcome` weighs all of it at the end."""

    __slots__ = (
        "alias",
        "answer",
        "arrived",
        "drop",
        "error",
        "failure",
        "index",
        "packet",
        "probe",
        "reply_dropped",
        "sent_at",
        "settled_at",
        "times_sent",
    )

    def __init__(self, index: int, probe: Probe, packet: Packet, alias: str = "") -> None:
        self.index = index
        self.probe = probe
        self.packet = packet  # with the real source port once it is known
        self.alias = alias  # the source address it may have on the fabric (NAT-1), "" if it is never translated
        self.sent_at = 0.0
        self.settled_at: float | None = None
        self.times_sent = 1
        self.answer = ""  # the destination answered: how
        self.error = ""  # a router or the own kernel said it cannot be reached: how
        self.failure = ""  # it could not even be sent: why
        self.arrived = False  # seen at the destination, though no answer has come back
        self.drop: Drop | None = None
        self.reply_dropped = False

    def dropped(self, drop: Drop, *, reply: bool) -> None:
        """Take the kernel's word that this packet, or the answer to it, was dropped. The first word counts.

        What is dropped as invalid when an answer has come is neither: it is the rest of a connection that both ends
        have torn down already.
        """
        if self.drop is None and not (self.answer and drop.rule.guard == "invalid"):
            self.drop, self.reply_dropped = drop, reply

    @property
    def settled(self) -> bool:
        """Report whether there is any evidence yet."""
        return bool(self.answer or self.error or self.failure or self.drop)

    def weigh(self, deadline: float) -> tuple[Result, str]:
        """The result and the evidence for it, in words.

        An answer and a drop of the same packet contradict each other: a rule that says it drops and does not, or the
        reverse. That is never taken for either.
        """
        if self.drop is not None:
            what = "the answer was dropped" if self.reply_dropped else "dropped"
            dropped = f"{what} on {self.drop.node}: {self.drop.rule}"
            heard = self.answer or self.error
            return ("unknown", f"contradiction: {dropped}, and yet: {heard}") if heard else ("denied", dropped)
        if self.answer:
            return "allowed", self.answer + (f" (sent {self.times_sent} times)" if self.times_sent > 1 else "")
        if self.error:
            return "unreachable", self.error
        if self.failure:
            return "unknown", self.failure
        but = "it arrived, but " if self.arrived else ""
        return "unknown", f"{but}no evidence in {deadline:g} s"

    def outcome(self, seq: int, now: float, deadline: float) -> Outcome:
        """What the probe found, as of `now`."""
        result, evidence = self.weigh(deadline)
        took = (now if self.settled_at is None else self.settled_at) - self.sent_at
        return Outcome(
            probe=self.probe,
            packet=self.packet,
            seq=seq,
            result=result,
            evidence=evidence,
            milliseconds=round(took * 1000, 3),
            drop=self.drop,
            answer_dropped=self.reply_dropped,
        )


class Outstanding:
    """The probes under way, indexed by the packets that belong to them."""

    def __init__(self) -> None:
        self._attempts: dict[int, Attempt] = {}  # in the order they were sent
        self._flows: dict[FlowKey, list[Attempt]] = {}
        self._replies: dict[FlowKey, list[Attempt]] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self._attempts.values())

    def add(self, attempt: Attempt) -> None:
        """Count a probe as under way."""
        self._attempts[attempt.index] = attempt
        for table, key in self._entries(attempt):
            table.setdefault(key, []).append(attempt)

    def remove(self, attempt: Attempt) -> None:
        """Forget a probe."""
        del self._attempts[attempt.index]
        for table, key in self._entries(attempt):
            table[key].remove(attempt)
            if not table[key]:
                del table[key]

    def _entries(self, attempt: Attempt) -> Iterator[tuple[dict[FlowKey, list[Attempt]], FlowKey]]:
        """Where a probe is filed: under its packet and the answer to it, as sent and as translated."""
        packets = [attempt.packet]
        if attempt.alias:
            packets.append(msgspec.structs.replace(attempt.packet, source=attempt.alias))
        for packet in packets:
            yield self._flows, flow_key(packet)
            if (key := reply_key(packet)) is not None:
                yield self._replies, key

    def dropped(self, drop: Drop) -> Attempt | None:
        """Give a drop to the probe it belongs to, if it is one of ours.

        Two ICMP probes of one pair have the same key, and so may a pod and the node that lends it its address. A drop
        goes to the one without evidence, the node's own first: it may have been stopped before its packet left the
        node, while one of the pod's that bears the node's address is past all that, and then both fare alike.
        """
        key = flow_key(drop.packet)
        for table, own_key, reply in ((self._flows, flow_key, False), (self._replies, reply_key, True)):
            candidates = table.get(key)
            if candidates:
                owners_first = sorted(candidates, key=lambda a: (a.drop is not None, own_key(a.packet) != key))
                if not reply and _is_the_owner_s(drop):
                    _put_right(drop, candidates)
                owners_first[0].dropped(drop, reply=reply or _is_refusal(owners_first[0], drop))
                return owners_first[0]
        return None


def _is_the_owner_s(drop: Drop) -> bool:
    """Report whether a packet was stopped before it left its machine, when no pod's bears that address yet (NAT-1)."""
    return drop.rule.direction == "egress" and drop.packet.protocol in ICMP_PROTOCOLS


def _put_right(drop: Drop, candidates: list[Attempt]) -> None:
    """Of a packet that never left nothing else can have been dropped: what the owner has been given is the other's."""
    key = flow_key(drop.packet)
    owner = next((one for one in candidates if flow_key(one.packet) == key), None)
    other = next((one for one in candidates if flow_key(one.packet) != key and one.drop is None), None)
    if owner is None or other is None or owner.drop is None:
        return
    if owner.reply_dropped or not _is_the_owner_s(owner.drop):
        other.drop, other.reply_dropped = owner.drop, owner.reply_dropped
        owner.drop, owner.reply_dropped = drop, False


def _is_refusal(attempt: Attempt, drop: Drop) -> bool:
    """Report whether a drop is of the node's own word to an answer that it took for its own.

    A pod's packet bears the node's address only once every list of the way out is behind it (NAT-1). What the node
    sends under that address is a reset: the answer came untracked, and never found its way back to the pod (HEP-4).
    An echo request is none; it may be the node's own, which has the same key.
    """
    borrowed = drop.packet.source == attempt.alias != attempt.packet.source
    return borrowed and drop.rule.direction == "egress" and drop.packet.protocol not in ICMP_PROTOCOLS


def template(packet: Packet) -> Packet:
    """The packet of a probe before its source port is known: no ports where there are none; ICMP echo by default."""
    if packet.protocol in PORTED:
        return packet
    if packet.protocol in ICMP_PROTOCOLS:
        kind = ECHO_REQUEST[packet.protocol] if packet.icmp_type is None else packet.icmp_type
        return msgspec.structs.replace(
            packet, source_port=0, destination_port=0, icmp_type=kind, icmp_code=packet.icmp_code or 0
        )
    return msgspec.structs.replace(packet, source_port=0, destination_port=0)
