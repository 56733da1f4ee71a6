"""Transport payloads of crafted probes, for the protocols that have no socket API here: ICMP, SCTP, and any other.

Pure bytes in, bytes out. The IP header is the kernel's work. `ident` finds, in a packet sent, the bytes that tell one
probe from another; `answer_ident` finds the same bytes in the answer to it.
"""

from __future__ import annotations

import struct

from emulator.probe.attempt import ECHO_REPLY, ICMP_PROTOCOLS
from reference.packet import PROTOCOLS, Packet

SCTP = PROTOCOLS["SCTP"]
UDP = PROTOCOLS["UDP"]
ICMPV6 = PROTOCOLS["ICMPv6"]
_INIT, _INIT_ACK = 1, 2  # SCTP chunk types (RFC 9260, 3.3)
_CASTAGNOLI = 0x82F63B78  # CRC-32C, reflected


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def internet_checksum(data: bytes) -> int:
    """The ones' complement checksum of ICMP (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _sctp(source_port: int, destination_port: int, tag: int, chunk: bytes) -> bytes:
    head = struct.pack("!HHI", source_port, destination_port, tag)
    checksum = struct.pack("<I", crc32c(head + b"\0\0\0\0" + chunk))
    return head + checksum + chunk


def sctp_init(source_port: int, destination_port: int) -> bytes:
    """An SCTP packet that asks for an association."""
    tag = source_port << 16 | 1  # any number but 0; this one is different for each probe
    return _sctp(source_port, destination_port, 0, struct.pack("!BBHIIHHI", _INIT, 0, 20, tag, 65535, 1, 1, tag))


def sctp_answer(packet: bytes) -> bytes | None:
    """The INIT ACK to an SCTP packet with an INIT in it; None if it is none."""
    if len(packet) < 20 or packet[12] != _INIT:
        return None
    source_port, destination_port = struct.unpack_from("!HH", packet)
    their_tag = int.from_bytes(packet[16:20], "big")
    cookie = struct.pack("!HHI", 7, 8, their_tag)  # a State Cookie is mandatory (RFC 9260, 3.3.3)
    chunk = struct.pack("!BBHIIHHI", _INIT_ACK, 0, 20 + len(cookie), their_tag ^ 0x5A5A, 65535, 1, 1, 1) + cookie
    return _sctp(destination_port, source_port, their_tag, chunk)


def icmp(protocol: int, kind: int, code: int, ident: int) -> bytes:
    """An ICMP or ICMPv6 message; the kernel fills in ICMPv6's checksum."""
    body = struct.pack("!BBHHH", kind, code, 0, ident, 1) + b"muslin probe"
    checksum = 0 if protocol == ICMPV6 else internet_checksum(body)
    return body[:2] + struct.pack("!H", checksum) + body[4:]


def payload(packet: Packet, number: int) -> bytes:
    """What follows the IP header of a crafted probe. `number` (16 bits) tells it from the others of its source."""
    if packet.protocol in ICMP_PROTOCOLS:
        return icmp(packet.protocol, packet.icmp_type or 0, packet.icmp_code or 0, number)
    if packet.protocol == SCTP:
        return sctp_init(number, packet.destination_port)
    return struct.pack("!H", number) + b"muslin probe"


def ident(protocol: int, packet: bytes) -> int | None:
    """The number of a crafted (or UDP) probe, read from its bytes after the IP header; None if it is too short."""
    offset = 4 if protocol in ICMP_PROTOCOLS else 0
    return int.from_bytes(packet[offset : offset + 2], "big") if len(packet) >= offset + 2 else None


def answer_ident(protocol: int, packet: bytes) -> int | None:
    """The number of the probe that a packet answers; None if it is no answer to one."""
    if protocol in ICMP_PROTOCOLS:
        is_answer = len(packet) >= 8 and packet[0] == ECHO_REPLY[protocol]
        return int.from_bytes(packet[4:6], "big") if is_answer else None
    if protocol == SCTP and len(packet) >= 13 and packet[12] != _INIT:
        return int.from_bytes(packet[2:4], "big")
    return None


def without_ip_header(family: int, packet: bytes) -> bytes:
    """What a raw socket received, without the IPv4 header (an IPv6 raw socket gives none)."""
    return packet if family == 6 else packet[(packet[0] & 0x0F) * 4 :]
