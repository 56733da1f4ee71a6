"""Snapshots: a cache of states in the log's file, so that opening need not fold the whole history.

One that does not verify is passed over.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib

from sqlite_utils import Database

from reference.canonical import decode, encode
from reference.errors import LogCorruptError
from reference.log import rows
from reference.state import State

EVERY = 1000  # events at least between two snapshots; more where the state is large
_EVENTS_A_THING = 2  # a snapshot of so many things is worth writing after twice as many events
_KEEP = "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)"

Snapshot = tuple[int, int, bytes, bytes, bytes]  # seq, format, hash of the event that led to it, digest, packed state


def is_due(state: State, since: int) -> bool:
    """Whether a snapshot is worth writing so many events after the last: it must not cost more than it saves."""
    things = sum(map(len, state.resources.values())) + len(state.endpoints) + len(state.blocks) + len(state.handles)
    return since >= EVERY and since >= _EVENTS_A_THING * things


def pack(state: State, chained: bytes) -> Snapshot:
    """The row that keeps a state; `chained` is the hash of the event that led to it."""
    data = encode(state)
    return state.seq, rows.FORMAT, chained, hashlib.sha256(data).digest(), zlib.compress(data, 1)


def keep(connection: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Write one, in the caller's transaction."""
    connection.execute(_KEEP, snapshot)


def places(database: Database) -> list[int]:
    """The sequence numbers of all snapshots, latest first."""
    return [seq for (seq,) in database.execute("SELECT seq FROM snapshots ORDER BY seq DESC").fetchall()]


def load(database: Database, seq: int) -> tuple[State, bytes] | None:
    """The state kept at a sequence number and its event's hash; None if it is not as written, or of another format."""
    query = "SELECT hash, digest, state FROM snapshots WHERE seq = ? AND format = ?"
    found = database.execute(query, [seq, rows.FORMAT]).fetchone()
    state = _unpack(found[1], found[2]) if found is not None else None
    return (state, bytes(found[0])) if state is not None and state.seq == seq else None


def check(database: Database, state: State, chained: bytes) -> None:
    """See that the snapshot at this state's place is this state.

    Raises:
        LogCorruptError: it is another.
    """
    query = "SELECT format, hash, digest, state FROM snapshots WHERE seq = ?"
    number, kept_hash, digest, data = database.execute(query, [state.seq]).fetchone()
    if number != rows.FORMAT:
        return
    if kept_hash != chained or _unpack(digest, data) is None or digest != hashlib.sha256(encode(state)).digest():
        raise LogCorruptError(f"the snapshot at event {state.seq} is not the state that the events lead to")


def _unpack(digest: bytes, data: bytes) -> State | None:
    """The state of a snapshot, or None if it was changed."""
    try:
        plain = zlib.decompress(data)
        return decode(plain) if hashlib.sha256(plain).digest() == digest else None
    except (zlib.error, TypeError, ValueError):  # msgspec's errors are ValueErrors
        return None
