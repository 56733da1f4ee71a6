"""The bytes of crafted probes, and of the answers to them."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.probe import crafted
from reference.packet import Packet

PORTS = st.integers(1, 65535)


def test_crc32c_of_the_standard_check_string():
    """The checksum is CRC-32C: its published check value for "123456789" is e3069283."""
    assert crafted.crc32c(b"123456789") == 0xE3069283


@settings(deadline=None)
@given(st.binary(max_size=65))
def test_a_message_with_its_checksum_sums_to_zero(data):
    """Over a message that carries its own internet checksum, the checksum is 0 (RFC 1071)."""
    data += b"\0" * (len(data) % 2)

    assert crafted.internet_checksum(data + crafted.internet_checksum(data).to_bytes(2, "big")) == 0


def test_scapy_reads_the_init_as_we_mean_it():
    """Another implementation finds the ports, the chunk and the right checksum in our INIT and INIT ACK."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.sctp import SCTP, SCTPChunkInit, SCTPChunkInitAck

    init = crafted.sctp_init(40000, 9999)
    answer = crafted.sctp_answer(init)
    assert answer is not None
    asked, answered = SCTP(init), SCTP(answer)

    assert (asked.sport, asked.dport, asked.tag) == (40000, 9999, 0)
    assert SCTPChunkInit in asked
    assert (answered.sport, answered.dport) == (9999, 40000)
    assert answered.tag == asked[SCTPChunkInit].init_tag
    assert SCTPChunkInitAck in answered
    for packet, original in ((asked, init), (answered, answer)):
        packet.chksum = None
        assert bytes(packet) == original


@settings(deadline=None)
@given(PORTS, PORTS)
def test_the_number_of_a_probe_survives_the_round_trip(number, port):
    """The number put into a probe is read from the probe itself and from the answer to it, for every protocol."""
    init = crafted.payload(
        Packet(source="10.0.0.1", destination="10.0.0.2", protocol=132, destination_port=port), number
    )
    echo = crafted.payload(Packet(source="10.0.0.1", destination="10.0.0.2", protocol=1, icmp_type=8), number)
    reply = b"\0" + echo[1:]
    answer = crafted.sctp_answer(init)
    assert answer is not None

    assert [crafted.ident(132, init), crafted.ident(1, echo)] == [number, number]
    assert [crafted.answer_ident(132, answer), crafted.answer_ident(1, reply)] == [number, number]


@pytest.mark.parametrize(("protocol", "packet"), [(1, b""), (1, b"\0\0\0"), (132, b"\0"), (47, b""), (58, b"\x81")])
def test_stumps_are_nobodys(protocol, packet):
    """A packet too short to carry a number belongs to no probe."""
    assert crafted.ident(protocol, packet) is None
    assert crafted.answer_ident(protocol, packet) is None


def test_a_question_is_not_its_own_answer():
    """A pod that probes itself sees its own echo request and INIT come by; neither counts as the answer."""
    echo = crafted.icmp(1, 8, 0, 77)
    init = crafted.sctp_init(77, 80)

    assert crafted.answer_ident(1, echo) is None
    assert crafted.answer_ident(132, init) is None
    assert crafted.sctp_answer(crafted.sctp_init(77, 80)[:15]) is None
