"""Arithmetic of pools and blocks: which blocks a pool has, where a host begins to look, which address an ordinal is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from reference.endpoints import Family
from reference.resources.calico import IPPool

WIDTH: dict[Family, int] = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class Range:
    """A pool as numbers."""

    family: Family
    base: int  # the first address
    prefix: int  # the pool's prefix length
    block_prefix: int  # its blocks' prefix length

    @property
    def blocks(self) -> int:
        """How many blocks the pool has (IPAM-24)."""
        return 1 << (self.block_prefix - self.prefix)

    def block(self, index: int) -> str:
        """The CIDR of the block at an index."""
        return (
            f"{text(self.family, self.base + (index << (WIDTH[self.family] - self.block_prefix)))}/{self.block_prefix}"
        )

    def block_of(self, address: int) -> str:
        """The CIDR of the block that holds an address of the pool."""
        return self.block((address - self.base) >> (WIDTH[self.family] - self.block_prefix))

    def holds(self, family: Family, address: int) -> bool:
        """Report whether an address is in the pool."""
        return family == self.family and (address - self.base) >> (WIDTH[family] - self.prefix) == 0

    def walk(self, start: int) -> Iterator[str]:
        """Every block once: from `start` to the end, then from the beginning (IPAM-6)."""
        count = self.blocks
        index = start
        while True:
            yield self.block(index)
            index = (index + 1) % count
            if index == start:
                return


def range_of(pool: IPPool) -> Range:
    """A pool's range; the pool is defaulted, so its block size is set."""
    return _range(pool.spec.cidr, pool.spec.block_size)


@lru_cache(maxsize=4096)
def _range(cidr: str, block_size: int | None) -> Range:
    network = ip_network(cidr)
    size = block_size if block_size is not None else (26 if network.version == 4 else 122)
    return Range(network.version, int(network.network_address), network.prefixlen, size)


def text(family: Family, address: int) -> str:
    """An address as text."""
    return str(IPv4Address(address) if family == 4 else IPv6Address(address))


@lru_cache(maxsize=65536)
def block_base(cidr: str) -> tuple[Family, int, int]:
    """A block's family, first address and prefix length."""
    network = ip_network(cidr)
    return network.version, int(network.network_address), network.prefixlen


def address_of(cidr: str, ordinal: int) -> str:
    """The address of an ordinal of a block: base + ordinal (IPAM-1)."""
    family, base, _ = block_base(cidr)
    return text(family, base + ordinal)


def number_of(address: str) -> tuple[Family, int]:
    """An address's family and number."""
    parsed = ip_address(address)
    return parsed.version, int(parsed)


def listing_name(cidr: str) -> str:
    """The name of a block's object, by which blocks are listed (IPAM-5, IPAM-23)."""
    return cidr.replace(".", "-").replace(":", "-").replace("/", "-")


def fnv1_32(data: bytes) -> int:
    """The FNV-1 hash of 32 bits."""
    result = 0x811C9DC5
    for byte in data:
        result = (result * 0x01000193 & 0xFFFFFFFF) ^ byte
    return result


def start_index(span: Range, host: str, now: float) -> int:
    """Where a host begins to look for a free block (IPAM-6).

    Calico seeds Go's math/rand with FNV-1 32 of the host name and draws an index. Which index that is decides nothing
    but the spread of hosts over the pool, so here the draw is the SHA-256 of the same seed, modulo the blocks. Blocks
    of one address are seeded by the time instead, so that a host does not always try the same few.
    """
    single = span.block_prefix == WIDTH[span.family]
    seed = int(now * 1e9) if single else fnv1_32(host.encode())
    return int.from_bytes(hashlib.sha256(seed.to_bytes(16, "big", signed=True)).digest(), "big") % span.blocks
