"""Look at the wire: capture every node's fabric link while probes are sent, and count what could be read there."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_address

from emulator.cluster import RunningCluster
from emulator.probe.capture import Capture
from emulator.probe.types import Probe
from emulator.wire_report import WireReport
from encryption.peers import DEVICES
from topologies.fabric import FABRIC_INTERFACE

_IPV4, _IPV6, _UDP = 0x0800, 0x86DD, 17
_ETHERNET = 14  # bytes of the header before the IP header
WIREGUARD_PORTS = frozenset(spec.port for spec in DEVICES.values())


def watch(cluster: RunningCluster, probes: Sequence[Probe], seq: int) -> WireReport:
    """Send the probes while capturing every node's fabric link; a frame that crosses two of them counts twice."""
    cluster.wait(seq)
    with ExitStack() as stack:
        captures = [stack.enter_context(Capture(cluster.machines[name], FABRIC_INTERFACE)) for name in cluster.agents]
        outcomes = cluster.probe_many(probes, seq)
        frames = [frame.data for capture in captures for frame in capture.stop()]
    secret = {ip_address(a).packed for o in outcomes for a in (o.packet.source, o.packet.destination)}
    return WireReport(
        outcomes=tuple(outcomes),
        frames=len(frames),
        clear=sum(not secret.isdisjoint(_addresses(frame)) for frame in frames),
        encrypted=sum(_is_wireguard(frame) for frame in frames),
    )


def _addresses(frame: bytes) -> tuple[bytes, ...]:
    """Source and destination of an IP frame, as they can be read on the wire."""
    kind = int.from_bytes(frame[12:14])
    if kind == _IPV4:
        return frame[26:30], frame[30:34]
    return (frame[22:38], frame[38:54]) if kind == _IPV6 else ()


def _is_wireguard(frame: bytes) -> bool:
    kind = int.from_bytes(frame[12:14])
    if kind == _IPV4:
        protocol, header = frame[_ETHERNET + 9], (frame[_ETHERNET] & 15) * 4
    elif kind == _IPV6:
        protocol, header = frame[_ETHERNET + 6], 40
    else:
        return False
    start = _ETHERNET + header
    if protocol != _UDP or len(frame) < start + 4:
        return False
    return not WIREGUARD_PORTS.isdisjoint(struct.unpack_from("!HH", frame, start))
