"""What could be read on the wire while probes were sent."""

from __future__ import annotations

import msgspec

from emulator.probe.types import Outcome


class WireReport(msgspec.Struct, frozen=True, kw_only=True):
    """What crossed the fabric while the probes ran."""

    outcomes: tuple[Outcome, ...]
    frames: int  # all frames captured
    clear: int  # frames in which the addresses of a probe could be read
    encrypted: int  # WireGuard frames between nodes
