"""The file below the log: its tables, its connections, its single writer, and its errors in our words.

The rollback journal is used, not the write-ahead log: a WAL that lost its tail silently loses acknowledged commits.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlite_utils import Database

from reference.errors import EnvironmentLacksError, InvalidInputError, LogCorruptError, MuslinError, RefusedError
from reference.log.rows import FORMAT

APPLICATION_ID = 0x4D55534C  # "MUSL": tells our files from other SQLite databases
PATIENCE = 30.0  # seconds to wait for another connection's lock

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
_APPEND_ONLY = """
CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END
"""


NOTICES = """
CREATE TABLE IF NOT EXISTS notices (
    id INTEGER PRIMARY KEY, node TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    time REAL NOT NULL
) STRICT
"""  # logs begun by the first versions have no such table until somebody writes to them


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into ours, and name the file in ours.

    Raises:
        LogCorruptError: the file is damaged.
        EnvironmentLacksError: the machine does not let us read or write it.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ or "decode to UTF-8" in str(error):
            raise LogCorruptError(f"event log {path} is damaged: {error}") from None
        raise EnvironmentLacksError(f"event log {path} cannot be used: {error}") from None
    except UnicodeDecodeError as error:
        raise LogCorruptError(f"event log {path} is damaged: {error}") from None
    except OSError as error:
        raise EnvironmentLacksError(f"event log {path} cannot be used: {error.strerror or error}") from None
    except (LogCorruptError, EnvironmentLacksError) as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"event log {path}: {error}") from None


def create_file(path: Path) -> None:
    """Make an empty log, whole or not at all, readable by its owner only.

    Raises:
        RefusedError: something is there already.
    """
    taken = RefusedError(f"event log {path} exists already; choose another path, or remove it first")
    if path.exists():
        raise taken
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    with suppress(FileNotFoundError):
        draft.unlink()
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = _connect(draft, writable=True)
    try:
        _create_tables(Database(connection, recursive_triggers=False, execute_plugins=False))
        connection.close()
        os.link(draft, path)  # unlike a rename, this never replaces a log that came in between
    except FileExistsError:
        raise taken from None
    finally:
        connection.close()
        draft.unlink()
    _sync_folder(path.parent)


def _create_tables(database: Database) -> None:
    database.execute(f"PRAGMA application_id={APPLICATION_ID}")
    database.table("formats").create({"first": int, "format": int}, pk="first", not_null={"format"}, strict=True)
    database.table("events").create(
        {"seq": int, "time": float, "kind": str, "actor": str, "cause": int, "payload": str, "hash": bytes},
        pk="seq",
        not_null={"time", "kind", "actor", "cause", "payload", "hash"},
        strict=True,
    )
    database.table("snapshots").create(
        {"seq": int, "format": int, "hash": bytes, "digest": bytes, "state": bytes},
        pk="seq",
        not_null={"format", "hash", "digest", "state"},
        strict=True,
    )
    database.table("observations").create(
        {"id": int, "node": str, "seq": int, "digest": str, "time": float},
        pk="id",
        not_null={"node", "seq", "digest", "time"},
        strict=True,
    )
    database.executescript(NOTICES)
    for table in ("events", "formats"):
        for verb in ("UPDATE", "DELETE"):
            database.execute(_APPEND_ONLY.format(table=table, verb=verb))
    database.execute("INSERT INTO formats VALUES (1, ?)", [FORMAT])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect(path: Path, *, writable: bool) -> Database:
    """Open the file of a log.

    Raises:
        InvalidInputError: there is none, or it is another kind of file.
    """
    if not path.is_file():
        raise InvalidInputError(f"there is no event log at {path}")
    return _checked(_connect(path, writable=writable))


def connect_copy(data: bytes) -> Database:
    """Open a copy of a log's file that is held in memory, for reading."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.deserialize(data)
    connection.execute("PRAGMA query_only=ON")
    return _checked(connection)


def _checked(connection: sqlite3.Connection) -> Database:
    """The connection as a database, once its header says that it is an event log."""
    try:
        database = Database(connection, recursive_triggers=False, execute_plugins=False)
        found = database.execute("PRAGMA application_id").fetchone()[0]
        if found != APPLICATION_ID:
            raise LogCorruptError("it is no event log, or its header is damaged (the application id is wrong)")
    except BaseException:
        connection.close()
        raise
    return database


def _connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """A connection that leaves transactions to us. Readers may roll back what a crashed writer left half done."""
    mode = "rw" if writable or os.access(path, os.W_OK) else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        if writable:
            connection.execute("PRAGMA journal_mode=DELETE")  # between two appends there is one file
            connection.execute("PRAGMA synchronous=FULL")
        else:
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(database: Database) -> Iterator[sqlite3.Connection]:
    """A write transaction: durable at the end, or undone by an error."""
    connection: sqlite3.Connection = database.conn
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


class WriterLock:
    """The right to append to one log: a lock on its file, beside those SQLite takes. It ends with the process."""

    def __init__(self, path: Path) -> None:
        """Take the right.

        Raises:
            RefusedError: another process has it.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise RefusedError(
                f"event log {path} is being written by another process; a log has one writer: "
                "stop that one, or open the log read-only"
            ) from None

    def release(self) -> None:
        """Give the right back. Only once SQLite has closed the file: closing it here ends SQLite's own locks."""
        os.close(self._descriptor)


def refuse_reader(path: Path) -> MuslinError:
    """What a reader hears who wants to write."""
    return RefusedError(f"event log {path} is open for reading only; open it with readonly=False to append")
