"""The layouts of the maps, as policy.bpf.c declares them. Pure."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Sequence
from itertools import repeat
from typing import NamedTuple

from emulator.dataplane.contract import Guard, RuleRef
from reference.endpoints import Family
from reference.packet import PORTED, Packet
from reference.program.types import FlowDirection

DIRECTIONS: tuple[FlowDirection, FlowDirection] = ("ingress", "egress")  # by the kernel's number
FAMILIES: tuple[Family, Family] = (4, 6)
MARK_SEEN, MARK_GENERATION = 0x01000000, 0x02000000  # of a packet: judged at its source, by which generation
MARK_FORWARD = 0x04000000  # not for the host itself
MARK_UNTRACKED = 0x08000000  # no business of the kernel's own tracking
UNTRANSLATED = 0x80000000  # beside the interface of a pod: no packet to it is
FIRST_REFERENCE = 16  # below are guards
TRACES = 4
TC_ALLOWED, TC_DROPPED = -1, 2

INSTRUCTION = struct.Struct("=BBHI")
COUNT = struct.Struct("=QQ")
SETTINGS = struct.Struct("=7I")
IPIP_REFUSED = 0x10000
LISTS = struct.Struct("=8I")
LIST_NAMES = ("untracked", "early", "normal", "forward", "safe untracked", "safe early", "safe normal")
NUMBER = struct.Struct("=I")
NET = struct.Struct("=II")
_ENDPOINT_KEY = struct.Struct("=IHH")
_SOURCE_KEY = struct.Struct("=II16s")
_LOCAL_KEY = struct.Struct("=I16s")
_MEMBER_KEY = struct.Struct("=II16s")
_MEMBER_HEAD = struct.Struct("=II")
_POD = struct.Struct("=II")
_FLOW_KEY = struct.Struct("=16s16sIHHBBH")
_FLOW = struct.Struct("=QBBB13x")
_WORDS = struct.Struct("=4I")
_FILTER = struct.Struct("=16s16sHBBBBBx")
_EVENT = struct.Struct("=16s16sQIIHHHBBBBBBII4x")

GUARDS: dict[int, Guard] = {
    1: "spoofed",
    2: "invalid",
    3: "unknown interface",
    4: "to host",
    5: "no profile matched",
    8: "encapsulated",
}
NO_PROFILE = 5


class Event(NamedTuple):
    """What the kernel told of one packet."""

    packet: Packet
    interface: int
    direction: FlowDirection
    reference: int  # a rule's number, or a guard; 0 for an established flow
    kind: int
    verdict: int
    traces: int  # a bit for each trace that is interested
    place: int  # where in the code


DROPPED, LOGGED, MET = 0, 1, 2
CONTINUE, ACCEPT, DROP, PASSED = 0, 1, 2, 3


Ports = tuple[int, int]


class Flow(NamedTuple):
    """A key of `flows`, and whether the source is the lower end in it."""

    key: bytes
    from_low: bool


def packed(address: str) -> bytes:
    """An address as the maps hold it: 16 bytes, IPv4 in the first four."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address).ljust(16, b"\0")


def unpacked(data: bytes, family: int) -> str:
    """The address in a map's 16 bytes."""
    if family == 6:
        return socket.inet_ntop(socket.AF_INET6, data)
    return socket.inet_ntop(socket.AF_INET, data[:4])


def endpoint_key(interface: int, direction: FlowDirection, generation: int) -> bytes:
    """Which walk an interface's packets take."""
    return _ENDPOINT_KEY.pack(interface, DIRECTIONS.index(direction), generation)


def endpoint_of(key: bytes) -> tuple[int, FlowDirection, int]:
    """(interface, direction, generation) of such a key."""
    interface, direction, generation = _ENDPOINT_KEY.unpack(key)
    return interface, DIRECTIONS[direction], generation


def source_key(interface: int, address: str) -> bytes:
    """An address a workload may send from."""
    return _SOURCE_KEY.pack(interface, 6 if ":" in address else 4, packed(address))


def local_key(address: str) -> bytes:
    """An address of the host itself."""
    return _LOCAL_KEY.pack(6 if ":" in address else 4, packed(address))


def flow_key(interface: int, protocol: int, source: str, destination: str, ports: Ports, icmp: int = 0) -> Flow:
    """A connection at an interface; of an ICMP exchange both ports are its identifier, `icmp` is the request's type."""
    first, second = (packed(source), ports[0]), (packed(destination), ports[1])
    is_low = (_WORDS.unpack(first[0]), ports[0]) < (_WORDS.unpack(second[0]), ports[1])
    low, high = (first, second) if is_low else (second, first)
    kind = icmp << 8 | (not is_low) if icmp else 0
    family = 6 if ":" in source else 4
    key = _FLOW_KEY.pack(low[0], high[0], interface, low[1], high[1], protocol, family, kind)
    return Flow(key, is_low)


def flow(seen: int, *, from_low: bool, replied: bool) -> bytes:
    """What is known of a connection: when it was last seen, by the clock of the kernel, and who opened it."""
    return _FLOW.pack(seen, from_low, replied, 0)


class Seen(NamedTuple):
    """A connection that the programs know: from its opener's side."""

    protocol: int
    source: str
    destination: str
    ports: Ports
    is_answered: bool
    is_closing: bool


def seen(key: bytes, value: bytes) -> Seen:
    """An entry of `flows`."""
    low, high, _, low_port, high_port, protocol, family, _ = _FLOW_KEY.unpack(key)
    _, from_low, replied, closing = _FLOW.unpack(value)
    ends = (unpacked(low, family), low_port), (unpacked(high, family), high_port)
    (source, first), (destination, second) = ends if from_low else ends[::-1]
    return Seen(protocol, source, destination, (first, second), bool(replied), bool(closing))


def pod(interfaces: Sequence[int]) -> bytes:
    """The interface of a pod's address in each generation, 0 where it is none's."""
    return _POD.pack(*interfaces)


def source_text(key: bytes) -> tuple[int, str]:
    """(interface, address) of a key of `sources`."""
    interface, family, address = _SOURCE_KEY.unpack(key)
    return interface, unpacked(address, family)


def set_number(base: int, family: Family) -> int:
    """A set of one family: the code names the base, the packet gives the family."""
    return base * 2 + (family == 6)


class Keys(NamedTuple):
    """Where members of a set go: keys of `members`, and keys of `nets` with their prefix lengths."""

    hosts: list[bytes]
    nets: dict[bytes, int]


def member_keys(number: int, members: Collection[str]) -> Keys:
    """The places of CIDRs ("10.0.0.0/8"), or of "address,protocol,port", all canonical and of the set's family."""
    family, host = (socket.AF_INET6, "/128\n") if number & 1 else (socket.AF_INET, "/32\n")
    # There may be very many, and most are single addresses: text is taken apart as a whole.
    texts = "\n".join([*members, ""]).replace(host, "\n").splitlines()
    others = [text for text in texts if "/" in text or "," in text]
    hosts = [text for text in texts if "/" not in text and "," not in text] if others else texts
    keys = Keys(_host_keys(number, hosts, family), {})
    for text in others:
        address, slash, prefix = text.partition("/")
        if slash:
            keys.nets[_MEMBER_KEY.pack(32 + int(prefix), number, packed(address))] = int(prefix)
        else:
            address, protocol, port = text.split(",")
            keys.hosts.append(_MEMBER_KEY.pack(number, int(protocol) << 16 | int(port), packed(address)))
    return keys


def _host_keys(number: int, addresses: Sequence[str], family: int) -> list[bytes]:
    """The same for single addresses, of which there may be many: what they have in common joins them."""
    size = 16 if family == socket.AF_INET6 else 4
    head, rest = _MEMBER_HEAD.pack(number, 0), bytes(16 - size)
    joined = head + (rest + head).join(map(socket.inet_pton, repeat(family), addresses)) + rest
    return [joined[at : at + _MEMBER_KEY.size] for at in range(0, len(addresses) * _MEMBER_KEY.size, _MEMBER_KEY.size)]


def member_text(key: bytes) -> tuple[int, str]:
    """(set number, member) of a key of `members`."""
    number, port, address = _MEMBER_KEY.unpack(key)
    family = 6 if number & 1 else 4
    text = unpacked(address, family)
    return number, f"{text},{port >> 16},{port & 0xFFFF}" if port else f"{text}/{128 if family == 6 else 32}"


def net_text(key: bytes) -> tuple[int, str]:
    """(set number, CIDR) of a key of `nets`."""
    length, number, address = _MEMBER_KEY.unpack(key)
    return number, f"{unpacked(address, 6 if number & 1 else 4)}/{length - 32}"


def filter_for(packet: Packet) -> bytes:
    """Packets like this one, whatever their source port."""
    port = packet.destination_port if packet.protocol in PORTED else 0
    return _FILTER.pack(
        packed(packet.source),
        packed(packet.destination),
        port,
        packet.family,
        packet.protocol,
        packet.icmp_type or 0,
        packet.icmp_type is not None,
        1,
    )


NO_FILTER = bytes(_FILTER.size)


def event(data: bytes) -> Event:
    """One sample of a ring buffer."""
    (source, destination, _time, interface, reference, source_port, destination_port, direction) = _EVENT.unpack(data)[
        :8
    ]
    family, protocol, icmp_type, icmp_code, kind, verdict, traces, place = _EVENT.unpack(data)[8:]
    is_icmp = protocol in (1, 58)
    packet = Packet(
        source=unpacked(source, family),
        destination=unpacked(destination, family),
        protocol=protocol,
        source_port=source_port,
        destination_port=destination_port,
        icmp_type=icmp_type if is_icmp else None,
        icmp_code=icmp_code if is_icmp else None,
    )
    return Event(packet, interface, DIRECTIONS[direction], reference, kind, verdict, traces, place)


def guard_reference(number: int, direction: FlowDirection) -> RuleRef:
    """What a guard's number stands for."""
    tier = "__PROFILE__" if number == NO_PROFILE else ""
    return RuleRef(tier=tier, direction=direction, guard=GUARDS[number])
