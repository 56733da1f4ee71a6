"""The question the walk answers: a packet, with both ends looked up once."""

from __future__ import annotations

from typing import Literal

import msgspec

from reference.endpoints import Family
from reference.packet import Packet
from reference.policy.peers import Party, Peers

End = Literal["source", "destination"]


class Question(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A packet as rules look at it. An ICMP packet without a code has code 0."""

    family: Family
    protocol: int
    source: Party
    destination: Party
    source_port: int
    destination_port: int
    icmp_type: int | None
    icmp_code: int


def ask(peers: Peers, packet: Packet) -> Question:
    """The question a packet puts."""
    return Question(
        packet.family,
        packet.protocol,
        peers.at(packet.source),
        peers.at(packet.destination),
        packet.source_port,
        packet.destination_port,
        packet.icmp_type,
        packet.icmp_code or 0,
    )
