"""What a campaign found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reference.packet import Packet
from reference.resources import AnyResource

ORACLE, PROGRAM, TEST_RUN = "oracle", "program", "ebpf test run"  # readings that need no network; others are dataplanes


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A cluster and a packet on which the oracle and another reader of the same resources differ."""

    resources: tuple[AnyResource, ...]
    packet: Packet
    allowed: bool  # what the oracle says
    other: str  # who differs: "program", "ebpf test run", or a dataplane whose kernel was sent the packet
    said: str  # and how: "allows it", "denies it", "drops it otherwise: spoofed (egress)"
    number: int  # of the cluster in the campaign: the same seed and number make it again
    scenario: str  # YAML that reproduces it


@dataclass(slots=True)
class Reading:
    """What one reader of the clusters was asked."""

    clusters: int = 0
    packets: int = 0
    silent: int = 0  # packets it gave no evidence about, either way
    seconds: float = 0.0  # it took to answer; of a live cluster, with bringing up what is asked about

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """How much was tried, and what came of it. A campaign ends with its first mismatch."""

    seed: int
    clusters: int
    allowed: int  # of the oracle's packets: all or nothing would be no test
    refused: int  # generated clusters that could not be built; they say so in `refusals`
    seconds: float
    readings: Mapping[str, Reading] = field(default_factory=dict)  # the oracle's, and every other one's by its name
    mismatches: tuple[Mismatch, ...] = ()
    refusals: tuple[str, ...] = ()  # the first few reasons

    @property
    def packets(self) -> int:
        """Packets the oracle was asked about."""
        return self.readings[ORACLE].packets if ORACLE in self.readings else 0

    @property
    def kernel_packets(self) -> int:
        """Packets sent for real, by every dataplane."""
        return sum(reading.packets for reading in self._live)

    @property
    def silent(self) -> int:
        """How many of these gave no evidence."""
        return sum(reading.silent for reading in self._live)

    @property
    def _live(self) -> list[Reading]:
        return [reading for name, reading in self.readings.items() if name not in (ORACLE, PROGRAM, TEST_RUN)]
