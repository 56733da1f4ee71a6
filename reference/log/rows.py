"""Rows of the log: how an event becomes one, how rows are chained, and how old formats are read.

A row's hash is the SHA-256 of the hash before it, the row's format, and every column; so a row that was changed, lost,
added or moved breaks the chain. Formats are numbered: when an event's shape changes, `FORMAT` grows and `UPCASTERS`
gains the step from the number before. Old rows stay as they were written and are cast up as they are read.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from reference.errors import EnvironmentLacksError, LogCorruptError
from reference.events import AnyEvent, Record

FORMAT = 1
UPCASTERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}  # format -> an event of the next, as plain JSON
GENESIS = hashlib.sha256(b"muslin event log").digest()  # what the first row is chained to

_FIXED = struct.Struct(">IqdqII")  # format, seq, time, cause, and the lengths of kind and actor
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(AnyEvent)


class Row(NamedTuple):
    """One row of the table of events, in the order of its columns."""

    seq: int
    time: float
    kind: str
    actor: str
    cause: int
    payload: bytes  # the event as JSON; TEXT in the table
    hash: bytes


def row_of(record: Record, previous: bytes) -> Row:
    """The row of a record, in today's format, after the row whose hash is `previous`."""
    payload = _ENCODER.encode(record.event)
    kind = type(record.event).__name__
    digest = row_hash(previous, FORMAT, record.seq, record.time, kind, record.actor, record.cause, payload)
    return Row(record.seq, record.time, kind, record.actor, record.cause, payload, digest)


def row_hash(
    previous: bytes, number: int, seq: int, time: float, kind: str, actor: str, cause: int, payload: bytes
) -> bytes:
    """The hash of a row of format `number`."""
    head, tail = kind.encode(), actor.encode()
    fixed = _FIXED.pack(number, seq, time, cause, len(head), len(tail))
    return hashlib.sha256(b"".join((previous, fixed, head, tail, payload))).digest()


def read_row(row: Row, expected: int, previous: bytes, number: int) -> Record:
    """The record of a row that must have sequence number `expected` and follow `previous`.

    Raises:
        LogCorruptError: it does not; says what is wrong.
    """
    if row.seq != expected:
        raise LogCorruptError(f"event {expected} is missing: event {row.seq} stands in its place")
    try:
        digest = row_hash(previous, number, *row[:-1])
    except (TypeError, AttributeError, UnicodeError, struct.error) as error:
        raise LogCorruptError(f"event {row.seq} has a column of a wrong type: {error}") from None
    if digest != row.hash:
        raise LogCorruptError(f"event {row.seq} ({row.kind}) was changed, or one before it: its hash does not match")
    try:
        event = _DECODER.decode(row.payload if number == FORMAT else upcast(row.payload, number))
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise LogCorruptError(f"event {row.seq} ({row.kind}) cannot be read: {error}") from None
    return Record(row.seq, row.time, row.actor, row.cause, event)


def upcast(payload: bytes, number: int) -> bytes:
    """An event of an old format, in today's."""
    event = msgspec.json.decode(payload, type=dict[str, Any])
    for step in range(number, FORMAT):
        event = UPCASTERS[step](event)
    return msgspec.json.encode(event)


def check_format(number: int) -> None:
    """See that this program can read a format.

    Raises:
        EnvironmentLacksError: it is newer than this program.
    """
    if number > FORMAT:
        raise EnvironmentLacksError(
            f"its format is {number} and this muslin reads up to {FORMAT}; install a newer muslin"
        )
    missing = [step for step in range(number, FORMAT) if step not in UPCASTERS]
    if number < 1 or missing:
        raise LogCorruptError(f"its format is {number}, which never was")
