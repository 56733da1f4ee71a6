"""What the kernel says about dropped packets, decoded."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.nflog import parse_packet
from reference.packet import Packet

A4, B4 = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
A6, B6 = b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2"
PORTS = struct.pack("!HH", 40000, 80)


def ipv4(protocol, transport, *, fragment=0, options=b""):
    """An IPv4 packet's first bytes."""
    first = 0x45 + len(options) // 4
    return struct.pack("!BBHHHBBH", first, 0, 0, 0, fragment, 64, protocol, 0) + A4 + B4 + options + transport


def ipv6(following, rest):
    """An IPv6 packet's first bytes."""
    return struct.pack("!IHBB", 6 << 28, len(rest), following, 64) + A6 + B6 + rest


def packet(protocol, family=4, **fields):
    """The packet wanted."""
    ends = ("10.0.0.1", "10.0.0.2") if family == 4 else ("fd00::1", "fd00::2")
    return Packet(source=ends[0], destination=ends[1], protocol=protocol, **{"source_port": 0, **fields})


TO_80 = {"source_port": 40000, "destination_port": 80}
HOP = bytes([6, 0]) + bytes(6)
CASES = [
    (ipv4(6, PORTS), packet(6, **TO_80)),
    (ipv4(17, PORTS, options=bytes(8)), packet(17, **TO_80)),
    (ipv4(132, PORTS), packet(132, **TO_80)),
    (ipv4(1, bytes([8, 3, 0, 0])), packet(1, icmp_type=8, icmp_code=3)),
    (ipv4(17, PORTS, fragment=100), packet(17)),
    (ipv4(47, PORTS), packet(47)),
    (ipv6(6, PORTS), packet(6, 6, **TO_80)),
    (ipv6(58, bytes([128, 0])), packet(58, 6, icmp_type=128, icmp_code=0)),
    (ipv6(0, HOP + PORTS), packet(6, 6, **TO_80)),
    (ipv6(44, bytes([17, 0, 0, 1]) + bytes(4) + PORTS), packet(17, 6, **TO_80)),
    (ipv6(44, bytes([17, 0, 0, 9]) + bytes(4) + PORTS), packet(17, 6)),
    (ipv4(6, b"")[:12], None),
    (b"", None),
    (b"\xff\xff", None),
]


@pytest.mark.parametrize(("data", "wanted"), CASES)
def test_packets_are_read(data, wanted):
    """Addresses, protocol, ports and ICMP type of both families; later fragments have no ports; rubbish is None."""
    assert parse_packet(data) == wanted


@given(data=st.binary(max_size=128))
@settings(deadline=None)
def test_rubbish_never_raises(data):
    """Whatever bytes arrive, the answer is a packet or None."""
    assert parse_packet(data) is None or isinstance(parse_packet(data), Packet)
