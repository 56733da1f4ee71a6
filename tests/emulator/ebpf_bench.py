"""The eBPF programs on a bench: loaded and filled like a node's, and run on crafted frames, with no network at all.

Every node has tables of its own; all share the interfaces of the calling thread's network namespace, of which nothing
but their indices matters.
"""

import os
import re
import socket
import struct
import subprocess

from emulator.dataplane.ebpf import layout
from emulator.dataplane.ebpf.build import compiled
from emulator.dataplane.ebpf.generations import Numbers
from emulator.dataplane.ebpf.libbpf import Object, Ring, TestRun
from emulator.dataplane.ebpf.tables import Tables
from reference.errors import EnvironmentLacksError
from reference.packet import PORTED

DEVICES = 16
HOST_INTERFACES = ("eth0", "lo", "wireguard.cali", "wg-v6.cali")
MANY = {"flows": 256, "fragments": 64, "code": 1 << 14, "counts": 1 << 14, "policies": 1 << 16, "wide": 1 << 18}
FIN, SYN, RST, ACK = 1, 2, 4, 16


def lacking():
    """What this machine or user lacks to load eBPF programs; "" if nothing."""
    if os.geteuid() != 0:
        return "only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)"
    try:
        compiled()
    except EnvironmentLacksError as error:
        return str(error)
    return ""


LACKING = lacking()


def make_devices():
    """Interfaces to run programs on; their indices."""
    lines = "\n".join(f"link add d{number} type bridge" for number in range(DEVICES))
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True, capture_output=True)
    return [index for index, name in socket.if_nameindex() if name.startswith("d")]


class Bench:
    """One node."""

    def __init__(self, devices, sizes=None):
        self.references = Numbers(layout.FIRST_REFERENCE, 1 << 32)
        self.object = Object(compiled(), sizes or MANY)
        self.tables = Tables(self.object, self.references)
        self.programs = {
            "egress": TestRun(self.object.programs["from_workload"]),
            "ingress": TestRun(self.object.programs["to_workload"]),
            "host ingress": TestRun(self.object.programs["from_host_interface"]),
            "host egress": TestRun(self.object.programs["to_host_interface"]),
        }
        self.ring = Ring(self.object.maps["drops"])
        self.devices = devices
        self.interfaces = {}
        self.mark = 0
        self.begun = self.flipped = 0  # updates

    def apply(self, program, host=()):
        """Bring a program, flip; what was sent."""
        self.interfaces = dict(zip((*HOST_INTERFACES, *sorted(program.endpoints)), self.devices, strict=False))
        self.tables.operations = self.tables.bytes = 0
        self.tables.know_host(frozenset(host))
        self.begun += 1
        self.tables.bring(program, self.interfaces)
        self.tables.flip(tracing=False)
        self.flipped += 1
        return self.tables.operations, self.tables.bytes

    def run(self, direction, interface, data, came_by=1, mark=0):
        """Say "allowed", or what was told of the drop; `came_by` 0 is the host itself."""
        family = data[0] >> 4
        kind = 0x0800 if family == 4 else 0x86DD if family == 6 else 0x88B5
        frame = bytes(12) + struct.pack("!H", kind) + data
        result, self.mark, _ = self.programs[direction](frame, self.interfaces[interface], came_by=came_by, mark=mark)
        told = [layout.event(sample) for sample in self.ring.drain()]
        drops = [event for event in told if event.kind == layout.DROPPED]
        if result == layout.TC_ALLOWED:
            assert not drops
            return "allowed"
        assert result == layout.TC_DROPPED
        return self.words(drops[0]) if drops else "silent"

    def words(self, event):
        """What did it."""
        if event.reference in layout.GUARDS:
            return str(layout.guard_reference(event.reference, event.direction))
        return str(self.references.name(event.reference))

    def forget_flows(self):
        """As if nothing had ever passed."""
        for name in ("flows", "fragments"):
            table = self.object.maps[name]
            table.remove_all([key for key, _ in table.items()])

    def close(self):
        """Let go of the maps."""
        self.ring.close()
        self.object.close()


def ip_packet(packet, flags=SYN, echo=1):
    """The bytes of a packet from its network header on. Checksums are wrong: nobody looks."""
    return with_header(packet, transport(packet, flags, echo))


def transport(packet, flags=SYN, echo=1):
    """The bytes behind the network header."""
    ports = struct.pack("!HH", packet.source_port, packet.destination_port)
    if packet.protocol == 6:
        return ports + struct.pack("!IIBBHHH", 1, 0, 0x50, flags, 1000, 0, 0)
    if packet.protocol in PORTED:
        return ports + bytes(8)
    if packet.protocol in (1, 58):
        return struct.pack("!BBHHH", packet.icmp_type or 0, packet.icmp_code or 0, 0, echo, 1) + bytes(8)
    return bytes(16)


def with_header(packet, body, *, fragment=None, identification=7, options=b""):
    """A network header before a body. `fragment`: (offset in units of 8, whether more follow)."""
    offset, more = fragment or (0, False)
    if packet.family == 4:
        head = struct.pack(
            "!BBHHHBBH", 0x45, 0, 20 + len(body), identification, more << 13 | offset, 64, packet.protocol, 0
        )
        return head + socket.inet_aton(packet.source) + socket.inet_aton(packet.destination) + body
    protocol = packet.protocol
    if fragment is not None:
        body = struct.pack("!BBHI", protocol, 0, offset << 3 | more, identification) + body
        protocol = 44
    if options:
        body = bytes([protocol]) + options[1:] + body
        protocol = options[0]
    head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64)
    addresses = (socket.inet_pton(socket.AF_INET6, text) for text in (packet.source, packet.destination))
    return head + b"".join(addresses) + body


def same_words(where):
    """The second reading's reason, in the words of the kernel's report."""
    where = re.sub(r"\((\w+) of [^,)]+", r"(\1", where)
    where = re.sub(r"rule -1 of \S+", "end of tier", where)
    return where.replace(", tier __PROFILE__)", ")") if where.startswith("no profile") else where
