"""Traffic over every bed in every round, in an order that is new each time."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import msgspec

from benchmarks.dataplane import traffic
from benchmarks.dataplane.bed import NO_DATAPLANE, Bed
from benchmarks.dataplane.record import Cell, Record, Series
from benchmarks.dataplane.shapes import FRESH_PORTS, PORT, Policies, Shape, compiled
from reference.errors import MuslinError

T = TypeVar("T")
LARGE_SET = 100_000
CLIENTS = {"near": "client", "far": "distant"}
SHAPES: tuple[Shape, ...] = ("ports", "selectors", "crossed", "spread")
BULK = frozenset({"stream", "udp", "oneway"})
_LONGER = 2  # times; streams vary more than the rest
CONNECTIONS = frozenset({"first", "crr"})


class Plan(msgspec.Struct, frozen=True):
    """What to measure, and for how long."""

    dataplanes: tuple[str, ...]
    sizes: tuple[int, ...]
    modes: tuple[str, ...]
    milliseconds: int
    rounds: int
    minutes: float  # of rounds; the beds take their time before

    @property
    def middle(self) -> int:
        """The size that the targets speak of: 1,000 rules."""
        return self.sizes[len(self.sizes) // 2]

    def policies(self) -> list[Policies]:
        """Everything that guards a server, after the same pods without policy."""
        found = [Policies(shape, size) for shape in SHAPES for size in self.sizes]
        found += [Policies("ports", size, LARGE_SET) for size in self.sizes]
        return [*dict.fromkeys(one.floor for one in found), *found]

    def cells(self, dataplane: str, guarded: Policies, *, again: bool = False) -> Iterator[Cell]:
        """What is measured on one bed."""
        for mode in self.modes:
            if not self._is_told_by(mode, guarded):
                continue
            for path in CLIENTS:
                yield Cell(dataplane, guarded, mode, path, again=again)
            if guarded in (Policies(), Policies("ports", self.middle)) and not again:
                yield Cell(dataplane, guarded, mode, "near", family=6)

    def _is_told_by(self, mode: str, guarded: Policies) -> bool:
        """Not everything is measured with all policies: an established flow meets few of them."""
        if mode in CONNECTIONS:
            return True
        if guarded.shape == "crossed":
            return False
        if mode not in BULK:
            return True
        if guarded.shape == "ports":
            return guarded.members != LARGE_SET or guarded.rules == self.middle
        return guarded.floor == guarded or guarded.rules in (self.sizes[0], self.sizes[-1])


class Measurement:
    """The beds of a plan, and what they have shown so far."""

    def __init__(self, plan: Plan, record: Record, say: Callable[[str], None]) -> None:
        """Build the beds; one that cannot be built is a failure in the record."""
        self.plan = plan
        self.record = record
        self._say = say
        self._beds: dict[Cell, Bed] = {}
        self._series = {series.cell: series for series in record.series}
        self._build(NO_DATAPLANE, Policies())
        with ThreadPoolExecutor() as builders:  # the kernel's work and that of other programs goes on side by side
            for guarded in plan.policies():
                compiled(guarded)
                for again in (False, True) if guarded == Policies() else (False,):
                    list(builders.map(partial(self._build, guarded=guarded, again=again), plan.dataplanes))

    def _build(self, dataplane: str, guarded: Policies, *, again: bool = False) -> None:
        began = time.monotonic()
        try:
            bed = Bed(dataplane, guarded)
        except Exception as error:  # noqa: BLE001 - whatever broke, the others are still worth measuring
            self._fail(dataplane, guarded, error)
            return
        self._say(f"{dataplane or 'no dataplane'}: {guarded}: {time.monotonic() - began:.1f} s")
        self._beds.update((cell, bed) for cell in self.plan.cells(dataplane, guarded, again=again))

    def run(self, save: Callable[[], None]) -> None:
        """Rounds until there are enough of them, or the time is over."""
        end = time.monotonic() + self.plan.minutes * 60
        while self.record.rounds < self.plan.rounds and time.monotonic() < end:
            self._round(self.record.rounds)
            self.record.rounds += 1
            self.record.series = list(self._series.values())
            save()
            self._say(f"round {self.record.rounds}, {max(0, end - time.monotonic()) / 60:.1f} minutes left")

    def _round(self, number: int) -> None:
        """Every cell once; those that are compared come close together."""
        groups: defaultdict[tuple[str, str, int], list[Cell]] = defaultdict(list)
        for cell in self._beds:
            groups[cell.mode, cell.path, cell.family].append(cell)
        for group in _shuffled(groups.values()):
            for cell in _shuffled(group):
                try:
                    rate = self._traffic(cell, number)
                except MuslinError as error:
                    self._fail(cell.dataplane, cell.policies, error)
                else:
                    self._series.setdefault(cell, Series(cell)).rates[number] = rate

    def _traffic(self, cell: Cell, number: int) -> traffic.Rate:
        bed, client = self._beds[cell], CLIENTS[cell.path]
        port = PORT
        if cell.mode == "first":
            windows = len(FRESH_PORTS) // traffic.PORTS_A_RUN
            port = FRESH_PORTS[number % windows * traffic.PORTS_A_RUN]
        done = traffic.run(
            cell.mode, bed.pod(client), bed.pod("server"), bed.address("server", cell.family), port,
            self.plan.milliseconds * (_LONGER if cell.mode == "stream" else 1),
        )  # fmt: skip
        return done.rate

    def _fail(self, dataplane: str, guarded: Policies, error: Exception) -> None:
        failure = self.record.fail(dataplane, guarded, error)
        self._say(f"FAILED {dataplane}: {guarded}: {failure.reason}")


def _shuffled(things: Iterable[T]) -> list[T]:
    found = list(things)
    random.shuffle(found)
    return found
