"""The event log: appending against plain sqlite3 at the same durability, replaying against decoding alone."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.clusters import pod
from benchmarks.measure import Result, interleaved
from reference.events import AnyEvent, Draft, ResourceApplied
from reference.log import EventLog
from reference.log.rows import row_of
from reference.resources import manifests
from reference.state import fold, fold_drafts

APPENDS = 200
HISTORY = 20_000


def run() -> list[Result]:
    """Appends, then replays, on the disk under the temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="muslin-benchmark-"))
    try:
        return [_append(folder), _append_batch(folder), _replay(folder)]
    finally:
        shutil.rmtree(folder)


def _drafts(count: int) -> list[Draft]:
    resources = [item.resource for item in manifests.load([pod(number) for number in range(count)])]
    return [Draft("user", ResourceApplied(resource)) for resource in resources]


def _plain(path: Path) -> sqlite3.Connection:
    """A table as anybody would make it, as durable as the log: rollback journal, synchronous FULL."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, time REAL, kind TEXT, actor TEXT, cause INT, payload TEXT)"
    )
    return connection


def _append(folder: Path) -> Result:
    drafts = _drafts(APPENDS)
    payloads = [msgspec.json.encode(draft.event).decode() for draft in drafts]
    log = EventLog.create(folder / "one.db")
    plain = _plain(folder / "one-plain.db")

    def to_log() -> None:
        for draft in drafts:
            log.append([draft], 0.0)

    def to_plain() -> None:
        for payload in payloads:
            plain.execute("BEGIN IMMEDIATE")
            plain.execute("INSERT INTO events VALUES (NULL, 0.0, 'ResourceApplied', 'user', 1, ?)", (payload,))
            plain.execute("COMMIT")

    figures = interleaved(
        {
            "append, an event at a time": (APPENDS, to_log),
            "plain sqlite3 INSERT, the same durability": (APPENDS, to_plain),
        },
        floor="plain sqlite3 INSERT, the same durability",
    )
    log.close()
    plain.close()
    return Result("Event log: single appends", "at least half the rate of plain sqlite3 (ratio at most 2)", figures)


def _append_batch(folder: Path) -> Result:
    drafts = _drafts(1000)
    payloads = [msgspec.json.encode(draft.event).decode() for draft in drafts]
    log = EventLog.create(folder / "batch.db")
    plain = _plain(folder / "batch-plain.db")

    def to_plain() -> None:
        plain.execute("BEGIN IMMEDIATE")
        plain.executemany(
            "INSERT INTO events VALUES (NULL, 0.0, 'ResourceApplied', 'user', 1, ?)", [(p,) for p in payloads]
        )
        plain.execute("COMMIT")

    def decided() -> float:
        state = fold_drafts(log.state(), drafts)  # what deciding the command has done already
        start = time.perf_counter()
        log.append(drafts, 0.0, state)
        return time.perf_counter() - start

    figures = interleaved(
        {
            "append, 1,000 events as one command": (1000, decided),
            "the same, folded by the log": (1000, lambda: log.append(drafts, 0.0)),
            "plain sqlite3, 1,000 INSERTs in one transaction": (1000, to_plain),
        },
        floor="plain sqlite3, 1,000 INSERTs in one transaction",
    )
    log.close()
    plain.close()
    return Result(
        "Event log: a command of 1,000 events",
        "at most three times plain sqlite3: encoding and hashing are in it",
        figures,
    )


def _replay(folder: Path) -> Result:
    path = folder / "history.db"
    with EventLog.create(path) as log:
        for start in range(0, HISTORY, 1000):
            log.append(_drafts(1000), float(start))
        payloads = [row_of(record, b"").payload for record in log.records()]

    def decode() -> list[object]:
        decoder = msgspec.json.Decoder(AnyEvent)
        return [decoder.decode(payload) for payload in payloads]

    def opened(work: Callable[[EventLog], object]) -> Callable[[], object]:
        def run() -> object:
            with EventLog.open(path, readonly=True) as log:
                return work(log)

        return run

    figures = interleaved(
        {
            "decoding the payloads alone": (HISTORY, decode),
            "reading, with every hash checked": (HISTORY, opened(lambda log: list(log.records()))),
            "replaying: reading and folding": (HISTORY, opened(lambda log: fold(log.records()))),
            "opening to the last state, by snapshot": (HISTORY, opened(lambda log: log.state())),
        },
        floor="decoding the payloads alone",
        rounds=3,
    )
    return Result(f"Event log: replay of {HISTORY:,} events", "none", figures)
