"""Crafted packets: what no honest socket sends. Spoofed sources, segments of no connection, fragments.

Packets are made with scapy, which is slow to import and so is imported only here and only when used. They are sent by
plain raw sockets, opened in the namespace they are sent from: scapy's own look at the routes of the wrong one.
"""

from __future__ import annotations

import functools
import logging
import socket
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from emulator.namespaces import NetworkNamespace, entered
from reference.errors import EnvironmentLacksError, InvalidInputError
from reference.packet import PROTOCOLS, Packet


@functools.cache
def scapy_layers() -> SimpleNamespace:
    """The layers of scapy that we use, imported without its remarks about this machine."""
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
        from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, fragment6
        from scapy.layers.l2 import ARP, Ether
        from scapy.packet import Raw
    return SimpleNamespace(
        ARP=ARP,
        Ether=Ether,
        ICMP=ICMP,
        ICMPv6EchoRequest=ICMPv6EchoRequest,
        IP=IP,
        IPv6=IPv6,
        IPv6ExtHdrFragment=IPv6ExtHdrFragment,
        Raw=Raw,
        TCP=TCP,
        UDP=UDP,
        fragment=fragment,
        fragment6=fragment6,
    )


def craft(packet: Packet, *, flags: str = "S", payload: bytes = b"", sequence: int = 1, acknowledged: int = 0) -> Any:  # noqa: ANN401 - scapy has no types
    """The IP packet of a flow, as scapy layers: any source, and for TCP any flags.

    `flags="A"` with numbers of its own is a segment from the middle of a connection that never was.

    Raises:
        InvalidInputError: no TCP, UDP or ICMP; those are the ones that can be crafted.
    """
    layers = scapy_layers()
    ports = {"sport": packet.source_port, "dport": packet.destination_port}
    six = packet.family == 6
    outer = (layers.IPv6 if six else layers.IP)(src=packet.source, dst=packet.destination)
    if packet.protocol == PROTOCOLS["TCP"]:
        inner = layers.TCP(**ports, flags=flags, seq=sequence, ack=acknowledged)
    elif packet.protocol == PROTOCOLS["UDP"]:
        inner = layers.UDP(**ports)
    elif packet.protocol == PROTOCOLS["ICMP"] and not six:
        inner = layers.ICMP(type=8 if packet.icmp_type is None else packet.icmp_type, code=packet.icmp_code or 0)
    elif packet.protocol == PROTOCOLS["ICMPv6"] and six and packet.icmp_type in {None, 128}:
        inner = layers.ICMPv6EchoRequest()
    else:
        raise InvalidInputError(f"{packet} cannot be crafted here; TCP, UDP and ICMP of the same family can")
    return outer / inner / layers.Raw(payload) if payload else outer / inner


def fragments(packet: Any, size: int = 64) -> list[Any]:  # noqa: ANN401
    """An IP packet cut into fragments with about `size` bytes of payload each."""
    layers = scapy_layers()
    if layers.IPv6 not in packet:
        return list(layers.fragment(packet, fragsize=size // 8 * 8))
    header = layers.IPv6ExtHdrFragment(id=0x6D75736C)
    whole = packet.copy()
    whole[layers.IPv6].remove_payload()
    whole = whole / header / packet[layers.IPv6].payload
    return list(layers.fragment6(layers.IPv6(bytes(whole)), size + 48))


def send(namespace: NetworkNamespace, packets: Sequence[Any], interface: str = "") -> None:
    """Send packets from a namespace, one after the other: scapy layers, or bytes.

    With an interface they are whole frames for that link; without, IP packets (both headers as given) for whatever
    route leads to their destination.

    Raises:
        EnvironmentLacksError: the kernel would not send them.
    """
    try:
        with entered(namespace):
            for packet in packets:
                _send(bytes(packet), interface)
    except OSError as error:
        raise EnvironmentLacksError(f"a crafted packet could not be sent: {error}") from error


def _send(data: bytes, interface: str) -> None:
    if interface:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
            link.bind((interface, 0))
            link.send(data)
    elif data[0] >> 4 == 6:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(data, (socket.inet_ntop(socket.AF_INET6, data[24:40]), 0))
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(data, (socket.inet_ntop(socket.AF_INET, data[16:20]), 0))
