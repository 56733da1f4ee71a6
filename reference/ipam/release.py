"""Taking addresses back: by address, by handle, and with their pool (IPAM-13, IPAM-15, IPAM-18)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reference import events as ev
from reference.errors import RefusedError
from reference.ipam.assign import ACTOR
from reference.ipam.blocks import Block
from reference.ipam.ranges import WIDTH, block_base, number_of, text
from reference.plan import Plan
from reference.state import Progress

_HOST_BITS = (6, *(bits for bits in range(13) if bits != 6))  # of block sizes 20..32 and 116..128; the default first


@dataclass(frozen=True, slots=True)
class Release:
    """An address to take back. What is not None must be as the block has it."""

    address: str
    handle: str | None = None
    sequence: int | None = None  # the block's sequence number when the address was assigned


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is: its block and its ordinal in it."""

    block: Block
    ordinal: int


def find(progress: Progress, address: str) -> Place | None:
    """The block that holds an address, whatever its size; None if there is none."""
    family, number = number_of(address)
    width = WIDTH[family]
    for host_bits in _HOST_BITS:
        block = progress.blocks.get(f"{text(family, number >> host_bits << host_bits)}/{width - host_bits}")
        if block is not None:
            return Place(block, number - block_base(block.cidr)[1])
    return None


def release_addresses(plan: Plan, releases: Iterable[Release]) -> tuple[str, ...]:
    """Release addresses, all or none; returns those that were not assigned, which is no error (IPAM-13).

    Raises:
        RefusedError: a handle or a sequence number is not the one given; then nothing is released.
    """
    missing: list[str] = []
    found: list[tuple[Release, Place]] = []
    for release in dict.fromkeys(releases):
        place = find(plan.progress, release.address)
        if place is None or place.ordinal not in place.block.allocations:
            missing.append(release.address)
            continue
        _check(release, place)
        found.append((release, place))
    for release, place in {release.address: (release, place) for release, place in found}.values():
        held = place.block.allocations[place.ordinal]
        plan.emit(ACTOR, ev.AddressReleased(release.address, place.block.cidr, place.ordinal, held.handle))
    return tuple(missing)


def release_handle(plan: Plan, handle: str) -> tuple[str, ...]:
    """Release every address of a handle, and return them (IPAM-13)."""
    addresses = plan.progress.handles.get(handle, ())
    release_addresses(plan, (Release(address, handle) for address in addresses))
    return addresses


def release_pool(plan: Plan, pool: str) -> None:
    """Take the pool's blocks from their owners: empty ones are gone, addresses in use stay (IPAM-15, IPAM-18)."""
    owned = sorted(b.cidr for b in plan.progress.blocks.values() if b.pool == pool and b.affinity is not None)
    for cidr in owned:
        plan.emit(ACTOR, ev.BlockAffinityReleased(cidr))


def _check(release: Release, place: Place) -> None:
    held = place.block.allocations[place.ordinal].handle
    if release.handle is not None and release.handle != held:
        raise RefusedError(
            f"address {release.address} belongs to handle {held}, not to {release.handle}; nothing was released"
        )
    sequence = place.block.ordinal_sequences.get(place.ordinal)
    if release.sequence is not None and release.sequence != sequence:
        raise RefusedError(
            f"address {release.address} was assigned again since (sequence {sequence}, not {release.sequence}); "
            "nothing was released"
        )
