"""What a campaign found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reference.packet import Packet
from reference.resources import AnyResource


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A cluster and a packet on which the oracle and another reader of the same resources differ."""

    resources: tuple[AnyResource, ...]
    packet: Packet
    allowed: bool  # what the oracle says; `other` says the opposite
    other: Literal["program", "kernel"]
    number: int  # of the cluster in the campaign: the same seed and number make it again
    scenario: str  # YAML that reproduces it


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """How much was tried, and what came of it. A campaign ends with its first mismatch."""

    seed: int
    clusters: int
    packets: int  # asked of oracle and program
    allowed: int  # of these, how many the oracle allows: all or nothing would be no test
    kernel_packets: int  # also sent for real
    silent: int  # of these, how many gave no evidence either way
    refused: int  # generated clusters that could not be built; they say so in `refusals`
    seconds: float
    mismatches: tuple[Mismatch, ...] = ()
    refusals: tuple[str, ...] = ()  # the first few reasons
