"""Look at the wire: capture every fabric link while probes are sent, and count what could be read there."""

from __future__ import annotations

from collections.abc import Sequence

from emulator.cluster import RunningCluster
from emulator.probe.types import Probe
from emulator.wire_report import WireReport

WIREGUARD_PORTS = (51820, 51821)  # WG-7


def watch(cluster: RunningCluster, probes: Sequence[Probe], seq: int) -> WireReport:
    """Send the probes while capturing every node's fabric link."""
    raise NotImplementedError
