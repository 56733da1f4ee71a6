"""What the raw figures say: medians and quartiles of ratios that were taken in the same round."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from benchmarks.dataplane.record import Cell, Change, Record
from benchmarks.dataplane.shapes import Policies

DATAPLANES = ("nftables", "iptables", "iptables-legacy", "ebpf")  # in the order of tables
PATHS = {"near": "one node", "far": "two nodes"}


class Spread(NamedTuple):
    """A median, its quartiles, and of how many."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Collection[float]) -> Spread:
    """The median and the quartiles; of one value it is all three."""
    if len(values) < 2:
        (only,) = values
        return Spread(only, only, only, 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


class Figures:
    """A record, asked for what tables show."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._rates = record.rates()
        self._changes = {(one.dataplane, one.policies, one.what): one for one in record.changes}

    def rate(self, cell: Cell) -> Spread | None:
        """Operations a second of processor time; None if it was not measured."""
        rates = self._rates.get(cell)
        return spread([rate.busy for rate in rates.values()]) if rates else None

    def ratio(self, cell: Cell, base: Cell) -> Spread | None:
        """One against another of the same round; None if there is no round that has both."""
        mine, theirs = self._rates.get(cell, {}), self._rates.get(base, {})
        both = [mine[number].busy / theirs[number].busy for number in mine.keys() & theirs.keys()]
        return spread(both) if both else None

    def to_floor(self, cell: Cell) -> Spread | None:
        """Against the same pods without policy."""
        return self.ratio(cell, msgspec.structs.replace(cell, policies=cell.policies.floor))

    def to_nothing(self, cell: Cell) -> Spread | None:
        """Against no dataplane at all."""
        return self.ratio(cell, msgspec.structs.replace(cell, dataplane="", policies=Policies()))

    def to_itself(self, modes: Iterable[str]) -> Spread | None:
        """Two beds that are alike: what chance and method make of a ratio of 1."""
        found = []
        for mode in modes:
            for dataplane in self.dataplanes:
                for path in PATHS:
                    cell = Cell(dataplane, Policies(), mode, path)
                    one = self.ratio(msgspec.structs.replace(cell, again=True), cell)
                    found += [one.median] if one else []
        return spread(found) if found else None

    def rounds(self, mode: str) -> int:
        """In how many rounds a kind of traffic was measured."""
        return max((len(rates) for cell, rates in self._rates.items() if cell.mode == mode), default=0)

    def share(self) -> float:
        """Of the time that passed, how much both ends together had the processor: 1 on an idle machine."""
        shares = [rate.passed / rate.busy for rates in self._rates.values() for rate in rates.values() if rate.busy]
        return statistics.median(shares) if shares else 0.0

    def change(self, dataplane: str, policies: Policies, what: str) -> Change | None:
        """What a change took."""
        return self._changes.get((dataplane, policies, what))

    @property
    def dataplanes(self) -> list[str]:
        """Those that were measured."""
        there = {cell.dataplane for cell in self._rates} | {one.dataplane for one in self.record.changes}
        return [name for name in DATAPLANES if name in there]

    @property
    def sizes(self) -> Sequence[int]:
        """The numbers of rules."""
        return sorted({cell.policies.rules for cell in self._rates if cell.policies.shape == "ports"})

    @property
    def changed(self) -> list[Policies]:
        """The numbers of policies that changes were measured with."""
        return sorted({one.policies for one in self.record.changes}, key=lambda p: (p.members, p.rules))

    def guarded(self, mode: str, rules: int) -> Iterator[Policies]:
        """What was measured with so many rules."""
        found = {
            cell.policies
            for cell in self._rates
            if cell.mode == mode and cell.policies.rules == rules and cell.policies.shape != "none"
        }
        yield from sorted(found, key=lambda p: (p.members, p.shape))
