"""Crafted packets, byte by byte, for programs that run with no network. Checksums are wrong: nobody looks."""

from __future__ import annotations

import struct

from emulator.dataplane.ebpf.layout import packed
from reference.packet import PORTED, Packet

FIN, SYN, RST, ACK = 1, 2, 4, 16
_TCP, _ICMP, _FRAGMENT, _ICMPV6 = 6, 1, 44, 58
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_NEITHER = 0x88B5
_PORTS = struct.Struct("!HH")
_TCP_REST = struct.Struct("!IIBBHHH")
_ECHO = struct.Struct("!BBHHH8x")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_IPV6_FRAGMENT = struct.Struct("!BBHI")


def frame(data: bytes) -> bytes:
    """An Ethernet frame around a packet."""
    return bytes(12) + _ETHERTYPES.get(data[0] >> 4, _NEITHER).to_bytes(2, "big") + data


def ip_packet(packet: Packet, flags: int = SYN, echo: int = 1) -> bytes:
    """A packet from its network header on. `flags` of TCP; `echo`: the identifier of ICMP."""
    return with_header(packet, transport(packet, flags, echo))


def transport(packet: Packet, flags: int = SYN, echo: int = 1) -> bytes:
    """What is behind the network header."""
    if packet.protocol in PORTED:
        ports = _PORTS.pack(packet.source_port, packet.destination_port)
        return ports + (_TCP_REST.pack(1, 0, 0x50, flags, 1000, 0, 0) if packet.protocol == _TCP else bytes(8))
    if packet.protocol in (_ICMP, _ICMPV6):
        return _ECHO.pack(packet.icmp_type or 0, packet.icmp_code or 0, 0, echo, 1)
    return bytes(16)


def with_header(
    packet: Packet,
    body: bytes,
    *,
    fragment: tuple[int, bool] | None = None,
    identification: int = 7,
    options: bytes = b"",
) -> bytes:
    """A network header before a body.

    `fragment`: the offset in units of 8 bytes, and whether more follow. `options`: an IPv6 extension header, its
    first byte its own number.
    """
    protocol = packet.protocol
    source, destination = packed(packet.source), packed(packet.destination)
    if packet.family == 4:
        offset, more = fragment or (0, False)
        length = _IPV4.size + len(body)
        place = more << 13 | offset
        return _IPV4.pack(0x45, 0, length, identification, place, 64, protocol, 0, source[:4], destination[:4]) + body
    if fragment is not None:
        offset, more = fragment
        body = _IPV6_FRAGMENT.pack(protocol, 0, offset << 3 | more, identification) + body
        protocol = _FRAGMENT
    if options:
        body = bytes([protocol]) + options[1:] + body
        protocol = options[0]
    return _IPV6.pack(6 << 28, len(body), protocol, 64, source, destination) + body
