"""A packet, as policy sees one: the question put to the oracle and to the dataplane alike."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from reference.endpoints import Family
from reference.errors import InvalidInputError

PROTOCOLS: dict[str, int] = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}
PROTOCOL_NAMES: dict[int, str] = {number: name for name, number in PROTOCOLS.items()}
PORTED: frozenset[int] = frozenset({6, 17, 132})  # protocols whose ports policy may name (2b.2)
_BY_LOWER_NAME = {name.lower(): number for name, number in PROTOCOLS.items()}


def protocol_number(protocol: int | str) -> int:
    """The number of a protocol given by number, digits or name in any case (RULE-2).

    Raises:
        InvalidInputError: it is neither a known name nor in 1..255.
    """
    if isinstance(protocol, str) and protocol.lower() in _BY_LOWER_NAME:
        return _BY_LOWER_NAME[protocol.lower()]
    try:
        number = int(protocol)
    except ValueError:
        number = 0
    if not 1 <= number <= 255:
        known = ", ".join(PROTOCOLS)
        raise InvalidInputError(f"protocol {protocol!r} is not known; write one of {known}, or a number 1-255")
    return number


def protocol_name(number: int) -> str:
    """The name of a protocol number, or its digits."""
    return PROTOCOL_NAMES.get(number, str(number))


class Packet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The first packet of a flow. Ports are 0 where the protocol has none; icmp_* only for ICMP and ICMPv6."""

    source: str
    destination: str
    protocol: int
    source_port: int = 40000
    destination_port: int = 0
    icmp_type: int | None = None
    icmp_code: int | None = None

    @property
    def family(self) -> Family:
        """4 or 6."""
        return 6 if ":" in self.destination else 4

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
        """Source and destination as address objects."""
        return ip_address(self.source), ip_address(self.destination)

    def __str__(self) -> str:
        source, destination = (f"[{a}]" if ":" in a else a for a in (self.source, self.destination))
        if self.protocol in PORTED:
            return (
                f"{protocol_name(self.protocol)} {source}:{self.source_port} -> {destination}:{self.destination_port}"
            )
        detail = f" type {self.icmp_type} code {self.icmp_code or 0}" if self.icmp_type is not None else ""
        return f"{protocol_name(self.protocol)} {source} -> {destination}{detail}"
