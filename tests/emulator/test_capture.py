"""Captures and crafted packets, on the links of a sandbox of their own."""

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emulator.namespaces import NetworkNamespace, create, entered
from emulator.probe.capture import Capture, Frame, contains, count
from emulator.probe.packets import craft, fragments, send
from reference.errors import EnvironmentLacksError, InvalidInputError
from reference.packet import Packet

ROOT = Path(__file__).parents[2]
SANDBOX = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
SPOOFED = Packet(source="203.0.113.9", destination="10.0.0.2", protocol=6, source_port=1234, destination_port=80)
SPOOFED6 = Packet(source="2001:db8::9", destination="fd00::2", protocol=17, source_port=1234, destination_port=53)


def in_sandbox(name: str) -> None:
    """Run a function of this file in a sandbox of its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, *SANDBOX, sys.executable, __file__, name]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def pair() -> tuple[NetworkNamespace, NetworkNamespace]:
    """Two namespaces on one wire: eth0 of each, 10.0.0.1 and fd00::1, 10.0.0.2 and fd00::2."""
    spaces = create(), create()
    names = [f"/proc/{os.getpid()}/fd/{space.fd}" for space in spaces]
    command = f"ip link add eth0 netns {names[0]} type veth peer name eth0 netns {names[1]}"
    subprocess.run(command.split(), check=True)
    for number, space in enumerate(spaces, 1):
        with entered(space):
            Path("/proc/sys/net/ipv6/conf/eth0/accept_dad").write_text("0")  # neighbours are asked for at once
            lines = ["link set lo up", "link set eth0 up", f"addr add 10.0.0.{number}/24 dev eth0"]
            lines += [f"addr add fd00::{number}/64 dev eth0 nodad"]
            subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    return spaces


def every_packet_after_start_is_seen() -> None:
    """A packet sent right after `start` is in the capture, both where it leaves and where it arrives."""
    one, two = pair()
    for number in range(20):
        captures = [Capture(space, "eth0").start() for space in (one, two)]
        mark = b"number %d" % number
        send(one, [craft(SPOOFED, payload=mark)])
        for capture in captures:
            assert count(capture.stop(), lambda data, mark=mark: mark in data) == 1
            assert capture.lost == 0


def bounds_hold() -> None:
    """A capture ends at its number of frames, or at its time, without being stopped."""
    one, two = pair()
    with Capture(two, "eth0", limit=5) as few:
        send(one, [craft(SPOOFED)] * 20)
        time.sleep(0.2)
    assert len(few.frames) == 5
    with Capture(two, "eth0", seconds=0.1) as short:
        time.sleep(0.3)
        send(one, [craft(SPOOFED)])
        time.sleep(0.1)
    assert count(short.frames, contains("203.0.113.9")) == 0


def loopback_shows_each_frame_once() -> None:
    """On loopback, where each frame is seen leaving and arriving, it counts once."""
    one, _ = pair()
    with Capture(one, "lo") as capture, entered(one):
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello there", ("127.0.0.1", 9))
    assert count(capture.frames, lambda data: data.endswith(b"hello there") and data[23] == 17) == 1


def decoded_frames_are_what_was_sent() -> None:
    """Scapy reads in the capture the spoofed source, the ports and the flags that were crafted."""
    one, two = pair()
    middle = craft(SPOOFED, flags="PA", payload=b"GET /", sequence=77, acknowledged=99)
    before = time.time()
    with Capture(two, "eth0") as capture:
        send(one, [middle, craft(SPOOFED6, payload=b"x")])
        time.sleep(0.1)
    found = [p for p in capture.decode() if p.haslayer("TCP") or p.haslayer("UDP")]
    segment = next(p for p in found if p.haslayer("TCP"))
    datagram = next(p for p in found if p.haslayer("UDP") and p["UDP"].dport == 53)
    assert (segment["IP"].src, segment["TCP"].sport, segment["TCP"].flags) == ("203.0.113.9", 1234, "PA")
    assert (segment["TCP"].seq, segment["TCP"].ack, bytes(segment["TCP"].payload)) == (77, 99, b"GET /")
    assert (datagram["IPv6"].src, datagram["UDP"].sport) == ("2001:db8::9", 1234)
    assert all(before - 1 < frame.time < time.time() + 1 for frame in capture.frames)


def fragments_arrive_as_one() -> None:
    """The fragments of a datagram cross the wire in pieces, and a socket gets the whole."""
    one, two = pair()
    cases = [
        ("10.0.0.1", "10.0.0.2", socket.AF_INET, 17),
        ("fd00::1", "fd00::2", socket.AF_INET6, 17),
    ]
    for source, destination, family, protocol in cases:
        packet = Packet(source=source, destination=destination, protocol=protocol, source_port=7, destination_port=9999)
        with entered(two):
            receiver = socket.socket(family, socket.SOCK_DGRAM)
            receiver.bind((destination, 9999))
            receiver.settimeout(2)
        pieces = fragments(craft(packet, payload=b"0123456789" * 30), 64)
        assert len(pieces) >= 4
        with Capture(two, "eth0") as capture, receiver:
            send(one, pieces)
            assert receiver.recv(1000) == b"0123456789" * 30
        assert count(capture.frames, contains(source)) >= len(pieces)


def a_whole_frame_goes_out_as_it_is() -> None:
    """With an interface, the link-layer header is the sender's own."""
    one, two = pair()
    frame = bytes.fromhex("ffffffffffff0badc0ffee0088b5") + b"whatever" + bytes(40)
    with Capture(two, "eth0") as capture:
        send(one, [frame], "eth0")
        time.sleep(0.05)
    assert count(capture.frames, lambda data: data == frame) == 1


def errors_are_ours() -> None:
    """A link that is not there, and a packet with no route, are our errors and not the kernel's."""
    one, _ = pair()
    with pytest.raises(EnvironmentLacksError, match="nowhere cannot be captured"):
        Capture(one, "nowhere").start()
    with pytest.raises(EnvironmentLacksError, match="could not be sent"):
        send(one, [craft(Packet(source="10.0.0.1", destination="192.0.2.1", protocol=17))])


CASES = [
    every_packet_after_start_is_seen,
    bounds_hold,
    loopback_shows_each_frame_once,
    decoded_frames_are_what_was_sent,
    fragments_arrive_as_one,
    a_whole_frame_goes_out_as_it_is,
    errors_are_ours,
]


@pytest.mark.live
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_live(case):
    """What the named function says holds in a sandbox of its own."""
    in_sandbox(case.__name__)


def test_what_cannot_be_crafted_is_refused():
    """A protocol this cannot craft is an input error that names the packet."""
    with pytest.raises(InvalidInputError, match=r"SCTP 10\.0\.0\.1"):
        craft(Packet(source="10.0.0.1", destination="10.0.0.2", protocol=132))


@pytest.mark.parametrize(("address", "there"), [("10.1.2.3", 1), ("10.1.2.4", 0), ("fd00::1", 1), ("fd00::2", 0)])
def test_an_address_is_found_anywhere_in_a_frame(address, there):
    """`contains` finds an address at any place of a frame, and no other address."""
    needles = socket.inet_pton(socket.AF_INET, "10.1.2.3") + b"--" + socket.inet_pton(socket.AF_INET6, "fd00::1")

    assert there == count([Frame(0.0, b"header" + needles), Frame(0.0, b"")], contains(address))


def test_a_written_capture_is_a_pcap_file(tmp_path):
    """Another reader finds the frames and their times in the file that was written."""
    from scapy.utils import rdpcap

    capture = Capture(NetworkNamespace(-1), "eth0")
    capture._frames = [Frame(1000.25, bytes(14) + b"one"), Frame(1001.5, bytes(14) + b"two!")]
    capture.write(tmp_path / "x.pcap")
    read = rdpcap(str(tmp_path / "x.pcap"))

    assert [(float(p.time), bytes(p)) for p in read] == [(f.time, f.data) for f in capture.frames]
    assert struct.unpack_from("=I", (tmp_path / "x.pcap").read_bytes(), 20) == (1,)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
