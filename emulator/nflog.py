"""NFLOG: the kernel's word that it dropped a packet, and which rule did it.

A listener belongs to the network namespace of the thread that makes it. What it reads are the first bytes of packets,
decoded into the packet a policy would have seen.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import Protocol

from emulator.dataplane.contract import Drop, RuleRef
from emulator.nfnetlink import (
    AF_INET,
    AF_INET6,
    SUBSYS_LOG,
    Message,
    NetfilterSocket,
    NetlinkError,
    attribute,
    attributes,
    string,
    u32,
)
from reference.packet import PORTED, Packet

DENY_GROUP, LOG_GROUP = 1, 2
COPY_RANGE = 128
_PACKET, _CONFIG = SUBSYS_LOG << 8, SUBSYS_LOG << 8 | 1
_BIND, _UNBIND, _PF_BIND, _COPY_PACKET = 1, 2, 3, 2
_IPV6_EXTENSIONS = frozenset({0, 43, 60})  # hop-by-hop, routing, destination options: the length is in byte 1
_IPV6_FRAGMENT = 44
_ICMP = frozenset({1, 58})
_IN_INTERFACE, _OUT_INTERFACE, _PAYLOAD, _PREFIX = 4, 5, 9, 10
WORKLOAD_PREFIX = "cali"
_SIOCGIFNAME = 0x8910


class Decoder(Protocol):
    """What knows the rules behind prefixes: a dataplane."""

    def rule_of(self, prefix: str) -> RuleRef | None:
        """The rule a prefix stands for; None if it is not this dataplane's."""
        ...


class DropListener:
    """Listens to one NFLOG group of a node."""

    def __init__(self, node: str, decoder: Decoder, group: int = DENY_GROUP) -> None:
        """Bind the group in the calling thread's network namespace.

        Raises:
            NetlinkError: another process listens to the group here, or the kernel has no NFLOG.
        """
        self.node = node
        self._decoder = decoder
        self._group = group
        self._socket = NetfilterSocket(lossy=True)
        self._interfaces: dict[int, str] = {}
        self._names = socket.socket(
            AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        )  # answers names of *this* namespace
        for family in (AF_INET, AF_INET6):
            self._configure(0, attribute(1, bytes([_PF_BIND])), family, optional=True)
        self._configure(group, attribute(1, bytes([_BIND])))
        self._configure(group, attribute(2, struct.pack("!IBx", COPY_RANGE, _COPY_PACKET)))
        self._configure(group, u32(4, 0))  # flush timeout: none
        self._configure(group, u32(5, 1))  # queue threshold: each packet at once

    def fileno(self) -> int:
        """The descriptor, for selectors: readable when a drop has been reported."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening; the next listener may come at once, also while a child process holds the descriptor."""
        if self._socket.fileno() >= 0:
            self._socket.tell(Message(_CONFIG, attribute(1, bytes([_UNBIND])), family=0, resource=self._group))
        self._socket.close()
        self._names.close()

    def drain(self) -> list[Drop]:
        """Every drop reported since the last call, oldest first; waits for none."""
        drops = []
        for kind, body in self._socket.receive():
            if kind == _PACKET and (drop := self._decode(body)):
                drops.append(drop)
        return drops

    def _decode(self, body: bytes) -> Drop | None:
        parts = attributes(body)
        rule = self._decoder.rule_of(string(parts.get(_PREFIX, b"")))
        packet = parse_packet(parts.get(_PAYLOAD, b""))
        if rule is None or packet is None:
            return None
        return Drop(node=self.node, rule=rule, packet=packet, interface=self._interface(rule, parts))

    def _interface(self, rule: RuleRef, parts: dict[int, bytes]) -> str:
        """The workload interface concerned: the one the packet came from on egress, goes to on ingress."""
        order = (_OUT_INTERFACE, _IN_INTERFACE) if rule.direction == "ingress" else (_IN_INTERFACE, _OUT_INTERFACE)
        for kind in order:
            if kind in parts:
                name = self._name_of(struct.unpack("!I", parts[kind])[0])
                if name.startswith(WORKLOAD_PREFIX):
                    return name
        return ""

    def _name_of(self, index: int) -> str:
        """The name of an interface; kept, for indexes are not used again soon."""
        if index not in self._interfaces:
            self._interfaces[index] = interface_name(self._names, index)
        return self._interfaces[index]

    def _configure(self, group: int, command: bytes, family: int = 0, *, optional: bool = False) -> None:
        try:
            self._socket.request(Message(_CONFIG, command, family=family, resource=group))
        except NetlinkError:
            if not optional:
                raise


def interface_name(anywhere: socket.socket, index: int) -> str:
    """The name of an interface in the network namespace a socket was made in; empty if it is gone."""
    request = struct.pack("=16sI12x", b"", index)
    try:
        answer = fcntl.ioctl(anywhere.fileno(), _SIOCGIFNAME, request)
    except OSError:
        return ""
    return string(answer[:16].split(b"\0")[0])


def parse_packet(data: bytes) -> Packet | None:
    """The packet whose first bytes these are; None if they are not an IP packet or are cut too short."""
    try:
        if data[0] >> 4 == 4:
            return _parse_ipv4(data)
        if data[0] >> 4 == 6:
            return _parse_ipv6(data)
    except (IndexError, struct.error, ValueError):
        return None
    return None


def _parse_ipv4(data: bytes) -> Packet:
    later_fragment = struct.unpack_from("!H", data, 6)[0] & 0x1FFF
    transport = b"" if later_fragment else data[(data[0] & 15) * 4 :]
    source, destination = (socket.inet_ntop(socket.AF_INET, data[at : at + 4]) for at in (12, 16))
    return _packet(source, destination, data[9], transport)


def _parse_ipv6(data: bytes) -> Packet:
    source, destination = (socket.inet_ntop(socket.AF_INET6, data[at : at + 16]) for at in (8, 24))
    protocol, offset, later_fragment = data[6], 40, False
    while protocol in _IPV6_EXTENSIONS or protocol == _IPV6_FRAGMENT:
        length = 8 if protocol == _IPV6_FRAGMENT else (data[offset + 1] + 1) * 8
        if protocol == _IPV6_FRAGMENT:
            later_fragment = bool(struct.unpack_from("!H", data, offset + 2)[0] >> 3)
        protocol, offset = data[offset], offset + length
    return _packet(source, destination, protocol, b"" if later_fragment else data[offset:])


def _packet(source: str, destination: str, protocol: int, transport: bytes) -> Packet:
    if protocol in PORTED and len(transport) >= 4:
        ports = struct.unpack_from("!HH", transport)
        return Packet(
            source=source,
            destination=destination,
            protocol=protocol,
            source_port=ports[0],
            destination_port=ports[1],
        )
    icmp_type, code = (transport[0], transport[1]) if protocol in _ICMP and len(transport) >= 2 else (None, None)
    return Packet(
        source=source, destination=destination, protocol=protocol, source_port=0, icmp_type=icmp_type, icmp_code=code
    )
