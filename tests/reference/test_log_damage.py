"""Damage to a log is reported by `open` or `verify`, unless every event is provably intact."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from reference import commands
from reference.endpoints import Host
from reference.errors import InvalidInputError, LogCorruptError, MuslinError
from reference.events import Draft, NodeFailed, NodeRecovered, Record
from reference.log import EventLog
from reference.resources import Pod
from reference.resources.defaults import defaulted
from reference.resources.metadata import Metadata

Original = tuple[Path, list[Record]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A log of a few hundred events, with two snapshots in the middle and events after them."""
    path = tmp_path_factory.mktemp("original") / "log.db"
    hosts = [Host(name=f"node-{n}", addresses=(f"172.30.1.{10 + n}",), subnet="lan", is_node=True) for n in (1, 2)]
    with EventLog.create(path) as log:
        log.append(commands.bootstrap("test", "single", "nftables", hosts, now=1.0).drafts, 1.0)
        for turn in range(6):
            pods = [defaulted(Pod(metadata=Metadata(name=f"p{turn}-{n}", namespace="shop"))) for n in range(8)]
            log.append(commands.apply(log.state(), pods, now=2.0).drafts, 2.0 + turn)
            if turn in (2, 4):
                log.snapshot()
        for turn in range(60):
            kind = NodeRecovered if turn % 2 else NodeFailed
            log.append([Draft("user", kind("node-1"))], 20.0 + turn)
        records = list(log.records())
    assert 250 < len(records) < 500
    return path, records


def fault_of(path: Path) -> str | None:
    """What `open` or `verify` says of a log, and None if both are content."""
    fault = None
    try:
        with EventLog.open(path, readonly=True) as log:
            log.verify()
    except MuslinError as error:
        fault = str(error)
    assert fault is None or (path.name in fault and "\n" not in fault)
    return fault


def survives(path: Path, records: list[Record]) -> bool:
    """Report whether every event is still as it was."""
    with EventLog.open(path, readonly=True) as log:
        return list(log.records()) == records


def damaged(original: Original, folder: Path, change: Callable[[bytearray], None]) -> Path:
    """A copy of the original with changed bytes."""
    path = folder / "log.db"
    data = bytearray(original[0].read_bytes())
    change(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("part", range(40))
def test_truncated_file_is_reported(original: Original, tmp_path: Path, part: int) -> None:
    """A log cut off anywhere, at a page's end or within, is reported."""
    size = original[0].stat().st_size
    cut = size * part // 40 if part % 2 else size * part // 40 // 4096 * 4096
    path = damaged(original, tmp_path, lambda data: data.__delitem__(slice(cut, None)))
    assert fault_of(path)


@pytest.mark.parametrize("seed", range(120))
def test_flipped_byte_is_reported_or_harmless(original: Original, tmp_path: Path, seed: int) -> None:
    """A byte changed anywhere is reported, or lies where no event is: then every event reads as before."""
    chance = random.Random(seed)

    def flip(data: bytearray) -> None:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)

    path = damaged(original, tmp_path, flip)
    assert fault_of(path) or survives(path, original[1])


@pytest.mark.parametrize("part", range(30))
def test_byte_flipped_in_an_event_is_reported(original: Original, tmp_path: Path, part: int) -> None:
    """A byte changed in an event's payload is always reported, with the event's number."""
    record = original[1][len(original[1]) * part // 30]
    connection = sqlite3.connect(original[0])
    (payload,) = connection.execute("SELECT CAST(payload AS BLOB) FROM events WHERE seq = ?", [record.seq]).fetchone()
    connection.close()

    def flip(data: bytearray) -> None:
        start = data.index(payload)
        data[start + len(payload) * part // 31] ^= 1

    fault = fault_of(damaged(original, tmp_path, flip))
    assert fault
    assert "event" in fault


@pytest.mark.parametrize("page", range(16))
def test_zeroed_page_is_reported_or_harmless(original: Original, tmp_path: Path, page: int) -> None:
    """A page of zeros is reported, or held no event."""
    pages = original[0].stat().st_size // 4096
    place = (pages * page // 16) * 4096
    path = damaged(original, tmp_path, lambda data: data.__setitem__(slice(place, place + 4096), bytes(4096)))
    assert fault_of(path) or survives(path, original[1])


LAST = "(SELECT max(seq) FROM events)"
STATEMENTS = {
    "the first row is gone": ("DELETE FROM events WHERE seq = 1", "event 1 is missing"),
    "a middle row is gone": ("DELETE FROM events WHERE seq = 100", "event 100 is missing"),
    "the last row is gone": (f"DELETE FROM events WHERE seq = {LAST}", "is missing: the log was written up to"),
    "the last ten rows are gone": (
        f"DELETE FROM events WHERE seq > {LAST} - 10",
        "is missing: the log was written up to",
    ),
    "all rows are gone": ("DELETE FROM events", "event 1 is missing"),
    "two rows are swapped": (
        "UPDATE events SET seq = -1 WHERE seq = 50; UPDATE events SET seq = 50 WHERE seq = 51;"
        "UPDATE events SET seq = 51 WHERE seq = -1",
        "event 50 .* was changed",
    ),
    "a payload is changed": (
        "UPDATE events SET payload = replace(payload, 'p1-', 'p9-') WHERE payload LIKE '%p1-%'",
        "was changed",
    ),
    "a time is changed": ("UPDATE events SET time = time + 1 WHERE seq = 70", "event 70 .* was changed"),
    "an actor is changed": ("UPDATE events SET actor = 'root' WHERE seq = 70", "event 70 .* was changed"),
    "a cause is changed": ("UPDATE events SET cause = 1 WHERE seq = 70", "event 70 .* was changed"),
    "a kind is changed": ("UPDATE events SET kind = 'NodeFailed' WHERE seq = 70", "event 70 .* was changed"),
    "a hash is changed": ("UPDATE events SET hash = x'00' WHERE seq = 70", "event 70 .* was changed"),
    "the last hash is changed": (f"UPDATE events SET hash = x'00' WHERE seq = {LAST}", "was changed"),
    "a row is added": (
        f"INSERT INTO events SELECT seq + 1, time, kind, actor, cause, payload, hash FROM events WHERE seq = {LAST}",
        "was not written by muslin",
    ),
    "a row is doubled in the middle": (
        "UPDATE events SET payload = (SELECT payload FROM events WHERE seq = 80) WHERE seq = 81",
        "event 81 .* was changed",
    ),
    "the format is changed": ("UPDATE formats SET format = 9", "its format is 9"),
    "the format is lost": ("DELETE FROM formats", "its format is not recorded"),
    "a snapshot is changed": ("UPDATE snapshots SET digest = x'00'", "the snapshot at event"),
    "a snapshot is moved": ("UPDATE snapshots SET seq = seq + 1", "the snapshot at event"),
    "a snapshot is past the end": ("UPDATE snapshots SET seq = seq + 10000", "there is a snapshot at event"),
    "the end is moved back": ("PRAGMA user_version = 100", "event 101 was not written by muslin"),
    "the end is moved on": ("PRAGMA user_version = 100000", "is missing: the log was written up to event 100000"),
    "the table is gone": ("DROP TABLE events", "no such table"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_changed_table_is_reported(original: Original, tmp_path: Path, name: str) -> None:
    """What another program changes in the tables is reported for what it is."""
    script, expected = STATEMENTS[name]
    path = tmp_path / "log.db"
    shutil.copy(original[0], path)
    connection = sqlite3.connect(path)
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.executescript(script)
    connection.commit()
    connection.close()
    with pytest.raises(MuslinError, match=expected), EventLog.open(path, readonly=True) as log:
        log.verify()


def test_untouched_log_verifies(original: Original) -> None:
    """The log that the damage is done to is sound itself."""
    assert fault_of(original[0]) is None
    assert survives(*original)


def test_changed_event_stops_the_reader(original: Original, tmp_path: Path) -> None:
    """Reading stops at a changed event even without `verify`: what comes before it is as it was."""

    def flip(data: bytearray) -> None:
        (text,) = sqlite3.connect(original[0]).execute("SELECT payload FROM events WHERE seq = 201").fetchone()
        data[data.index(text.encode()) + 12] ^= 1

    path = damaged(original, tmp_path, flip)
    with EventLog.open(path, readonly=True) as log:
        assert list(log.records(upto=200)) == original[1][:200]
        with pytest.raises(LogCorruptError, match="event 201 "):
            list(log.records(after=200))


def test_another_kind_of_file_is_no_log(tmp_path: Path) -> None:
    """A text file, an empty file and another program's database are all told apart from a log."""
    text, empty, other = tmp_path / "a.db", tmp_path / "b.db", tmp_path / "c.db"
    text.write_text("apiVersion: v1\n" * 1000)
    empty.touch()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY)")
    connection.close()
    for path in (text, empty, other):
        with pytest.raises(LogCorruptError, match=path.name):
            EventLog.open(path, readonly=True)
    with pytest.raises(InvalidInputError, match="there is no event log"):
        EventLog.open(tmp_path, readonly=True)
