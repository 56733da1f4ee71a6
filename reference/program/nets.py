"""CIDRs as canonical text and as numbers, and what is left of several when contained ones go (NS-1)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

from reference.endpoints import Family

WIDTH: dict[Family, int] = {4: 32, 6: 128}


class Net(NamedTuple):
    """A CIDR as numbers."""

    family: Family
    prefix: int
    number: int  # the network address
    text: str  # canonical

    @property
    def is_host(self) -> bool:
        """Report whether it is a single address."""
        return self.prefix == WIDTH[self.family]


@lru_cache(maxsize=262144)
def net(text: str) -> Net:
    """A CIDR or bare address, masked to its network."""
    network = ip_network(text, strict=False)
    family: Family = 4 if network.version == 4 else 6
    return Net(family, network.prefixlen, int(network.network_address), str(network))


class Cover:
    """CIDRs of one family, asked whether they contain another."""

    def __init__(self, family: Family, nets: Iterable[Net]) -> None:
        self._width = WIDTH[family]
        self._by_prefix: dict[int, set[int]] = {}
        for each in nets:
            self._by_prefix.setdefault(each.prefix, set()).add(each.number)

    def contains(self, other: Net) -> bool:
        """Report whether a strictly wider CIDR contains it."""
        return any(
            prefix < other.prefix and other.number >> (self._width - prefix) << (self._width - prefix) in numbers
            for prefix, numbers in self._by_prefix.items()
        )

    def holds(self, address: int) -> bool:
        """Report whether any CIDR contains an address."""
        return any(
            address >> (self._width - prefix) << (self._width - prefix) in numbers
            for prefix, numbers in self._by_prefix.items()
        )


def widest(texts: Iterable[str], family: Family) -> tuple[str, ...]:
    """The canonical CIDRs of a family, contained ones and repetitions removed, in the order given."""
    nets = [each for text in texts if (each := net(text)).family == family]
    cover = Cover(family, nets)
    return tuple(dict.fromkeys(each.text for each in nets if not cover.contains(each)))
