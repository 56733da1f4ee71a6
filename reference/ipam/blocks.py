"""The data of IPAM: blocks of addresses with an affinity (IPAM-1)."""

from __future__ import annotations

import msgspec


class Allocation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Who holds an ordinal: a handle (IPAM-3) and what is known of it."""

    handle: str
    attributes: dict[str, str] = {}


class Block(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An aligned CIDR of its pool's block size. Ordinal i is base + i; all 2^n are used."""

    cidr: str
    pool: str
    affinity: str | None  # "host:<node>", or None once released
    claimed_at: float  # seconds since the epoch, from the event
    allocations: dict[int, Allocation] = {}  # by ordinal
    unallocated: tuple[int, ...] = ()  # FIFO: taken from the head, freed to the tail (IPAM-9)
    sequence: int = 0  # grows with every change of the block
    ordinal_sequences: dict[int, int] = {}  # block sequence at each ordinal's last assignment (IPAM-13)
