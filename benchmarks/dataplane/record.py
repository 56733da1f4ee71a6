"""What was measured, as it is kept: raw figures by round, from which tables and plots are made."""

from __future__ import annotations

import os
import platform
from hashlib import sha256
from pathlib import Path

import msgspec

from benchmarks.dataplane.shapes import Policies
from benchmarks.dataplane.traffic import Rate
from reference.errors import InvalidInputError, MuslinError


class Cell(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is measured once in every round. `again`: another bed like it, to see what chance does."""

    dataplane: str  # "" for none at all
    policies: Policies
    mode: str
    path: str  # "near": between two pods of one node; "far": between two nodes
    family: int = 4
    again: bool = False


class Series(msgspec.Struct):
    """The rates of a cell, by round."""

    cell: Cell
    rates: dict[int, Rate] = {}


class Change(msgspec.Struct):
    """What a dataplane's change took, in seconds, each time it was done; `what` of `changes.py`."""

    dataplane: str
    policies: Policies
    what: str
    seconds: list[float] = []
    floors: dict[str, list[float]] = {}  # the bare kernel work beside it, round by round


class Failure(msgspec.Struct, frozen=True):
    """What could not be measured."""

    dataplane: str
    policies: Policies
    reason: str


class Record(msgspec.Struct):
    """A run, or several that went on where the one before ended."""

    machine: str = ""
    code: str = ""  # of the dataplanes and of this: figures of different code are not put together
    milliseconds: int = 0
    rounds: int = 0
    series: list[Series] = []
    changes: list[Change] = []
    failures: list[Failure] = []

    def fail(self, dataplane: str, policies: Policies, error: Exception) -> Failure:
        """Note what could not be measured, once, and return the note."""
        words = str(error).partition("\n")[0][:300]
        failure = Failure(
            dataplane, policies, words if isinstance(error, MuslinError) else f"{type(error).__name__}: {words}"
        )
        if failure not in self.failures:
            self.failures.append(failure)
        return failure

    def rates(self) -> dict[Cell, dict[int, Rate]]:
        """Rates by cell."""
        return {series.cell: series.rates for series in self.series}


def begin(path: Path, milliseconds: int) -> Record:
    """A record to go on with, or a new one.

    Raises:
        InvalidInputError: what is there was measured with other code, or differently.
    """
    new = Record(machine=this_machine(), code=_this_code(), milliseconds=milliseconds)
    if not path.exists():
        return new
    old = load(path)
    if (old.code, old.milliseconds) != (new.code, new.milliseconds):
        raise InvalidInputError(f"{path} was measured with other code, or runs of other length; name another file")
    return old


def _this_code() -> str:
    """A digest of what decides about packets, and of what measures it."""
    root = Path(__file__).parents[2]
    digest = sha256()
    for folder in ("emulator/dataplane", "reference/program", "benchmarks/dataplane"):
        for file in sorted((root / folder).rglob("*.[pch]*")):
            if file.suffix in (".py", ".c", ".h"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def this_machine() -> str:
    """What it was measured on, in a line."""
    return (
        f"Python {platform.python_version()}, Linux {platform.release()}, {platform.machine()}, "
        f"{os.cpu_count()} processors"
    )


def load(path: Path) -> Record:
    """Read a record.

    Raises:
        InvalidInputError: there is none, or it is not one.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidInputError(f"{path} holds no measurements of dataplanes: {error}") from error


def save(record: Record, path: Path) -> None:
    """Write a record, as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(msgspec.json.encode(record) + b"\n")
    unfinished.replace(path)
