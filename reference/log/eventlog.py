"""`EventLog`: append, read, verify, and the state at any sequence number.

One process writes, any number read. An append is durable when it returns, and a crash at any instant leaves every
append that returned and no half of one. The last sequence number is also kept in the file's header, written by the
same transaction, so that a missing tail is found. Snapshots are a cache: one that does not verify is passed over.

An object serves one thread at a time, except that `observe` and `notice` may be called from any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from reference.errors import EnvironmentLacksError, InvalidInputError, LogCorruptError, RefusedError
from reference.events import Draft, Record
from reference.log import rows, snapshots, storage
from reference.log.notes import Notes, Notice, Observation
from reference.log.rows import GENESIS, Row, read_row, row_of
from reference.state import Progress, State, fold

_CHUNK = 1024  # rows read at once, so that a slow reader never holds a lock
_SELECT = "SELECT seq, time, kind, actor, cause, CAST(payload AS BLOB), hash FROM events"
_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, CAST(? AS TEXT), ?)"


class EventLog:
    """An open log. Make one with `create` or `open`, and close it, or use it in a `with` block."""

    def __init__(
        self, path: Path, *, readonly: bool, lock: storage.WriterLock | None, copy: bytes | None = None
    ) -> None:
        """Not for callers: `create`, `open` and `of_bytes` take the lock and explain errors."""
        self.path = path
        self.readonly = readonly
        self._lock = lock
        self._snapshot_at = 0
        self._database = storage.connect(path, writable=not readonly) if copy is None else storage.connect_copy(copy)
        self._notes = Notes(self._database)
        self._formats = self._read_formats()
        self._state = State()
        self._hash = GENESIS  # of the row at self._state.seq
        self._check_tail()
        if not readonly:
            self._catch_up()
            self._adopt_format()
            self._database.execute(storage.NOTICES)

    @classmethod
    def create(cls, path: str | Path) -> EventLog:
        """Make a new log and open it for writing.

        Raises:
            RefusedError: there is a file already, or another process writes there.
            EnvironmentLacksError: the folder cannot be written.
        """
        return cls._writer(Path(path), create=True)

    @classmethod
    def open(cls, path: str | Path, readonly: bool = False) -> EventLog:
        """Open a log, for writing or for reading. The cost is that of the state, not of the history.

        Raises:
            InvalidInputError: there is no log; for writing also: another process writes it.
            LogCorruptError: it is damaged. Not all damage shows at once; `verify` finds any.
            EnvironmentLacksError: the file cannot be read or written.
        """
        path = Path(path)
        if not readonly:
            return cls._writer(path, create=False)
        with storage.explained(path):
            return cls(path, readonly=True, lock=None)

    @classmethod
    def of_bytes(cls, data: bytes, path: str | Path) -> EventLog:
        """A log for reading, from a copy of its file held in memory; `path` is what errors call it.

        Raises:
            LogCorruptError: the copy is damaged.
        """
        path = Path(path)
        with storage.explained(path):
            return cls(path, readonly=True, lock=None, copy=data)

    @classmethod
    def _writer(cls, path: Path, *, create: bool) -> EventLog:
        with storage.explained(path):
            if create:
                storage.create_file(path)
            elif not path.is_file():
                raise InvalidInputError(f"there is no event log at {path}")
            lock = storage.WriterLock(path)
            try:
                return cls(path, readonly=False, lock=lock)
            except BaseException:
                lock.release()
                raise

    def close(self) -> None:
        """Write what was observed, and let go of the file. Closing twice is fine."""
        if self._database.conn is None:
            return
        try:
            if not self.readonly:
                self.flush()
        finally:
            self._database.close()
            self._database.conn = None
            if self._lock is not None:
                self._lock.release()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- writing -------------------------------------------------------------------------------------------------------

    def append(self, drafts: Sequence[Draft], now: float, state: State | None = None) -> list[Record]:
        """Append one command's events, all or none; they are durable when this returns.

        `state` is what the log's last state becomes by them, from whoever has folded them already: a `Decision`.

        Raises:
            RefusedError: the log is read-only, or an event contradicts the state; nothing was appended.
            EnvironmentLacksError: the disk did not take them; nothing was appended.
        """
        first = self._state.seq + 1
        records = [Record(seq, now, draft.actor, first, draft.event) for seq, draft in enumerate(drafts, first)]
        if state is not None and state.seq != self._state.seq + len(drafts):
            raise RefusedError(
                f"event log {self.path}: it goes on at event {first}, and the command was decided elsewhere; "
                "decide it again"
            )
        self._write(records, state)
        return records

    def adopt(self, records: Iterable[Record]) -> None:
        """Take over another log's history, with its times, actors and causes, into an empty log.

        Raises:
            RefusedError: this log is not empty.
        """
        if self._state.seq:
            raise RefusedError(
                f"event log {self.path} has events already; a history can only be adopted by an empty one"
            )
        self._write(list(records))

    def _write(self, records: Sequence[Record], state: State | None = None) -> None:
        if self.readonly:
            raise storage.refuse_reader(self.path)
        if not records:
            return
        if state is None:
            state = self._reached_by(records)
        new: list[Row] = []
        previous = self._hash
        for record in records:
            new.append(row_of(record, previous))
            previous = new[-1].hash
        is_due = snapshots.is_due(state, state.seq - self._snapshot_at)
        snapshot = snapshots.pack(state, previous) if is_due else None
        try:
            self._commit(new, snapshot)
        except EnvironmentLacksError:
            if snapshot is None:
                raise
            snapshot = None
            self._commit(new, None)  # a snapshot only saves time: where there is no room for it, the events come first
        self._state, self._hash = state, previous
        if snapshot is not None:
            self._snapshot_at = state.seq

    def _commit(self, new: Sequence[Row], snapshot: snapshots.Snapshot | None) -> None:
        """Write rows, what was observed by now, and perhaps the state the rows lead to: all of it, or nothing."""
        notes = self._notes.waiting()
        with storage.explained(self.path), storage.transaction(self._database) as connection:
            connection.executemany(_INSERT, new)
            connection.execute(f"PRAGMA user_version={new[-1].seq}")
            if any(notes):
                self._notes.write(notes)
            if snapshot is not None:
                snapshots.keep(connection, snapshot)
        self._notes.forget(notes)

    def _reached_by(self, records: Sequence[Record]) -> State:
        """The state after the records: an event that cannot be folded must never get in."""
        try:
            return fold(records, self._state)
        except ValueError as error:
            raise RefusedError(f"event log {self.path}: {error}; nothing was appended") from None

    def snapshot(self) -> None:
        """Keep the state as it is now, so that opening need not fold what led to it. Done by itself now and then."""
        if self.readonly:
            raise storage.refuse_reader(self.path)
        if not self._state.seq or self._snapshot_at == self._state.seq:
            return
        with storage.explained(self.path), storage.transaction(self._database) as connection:
            snapshots.keep(connection, snapshots.pack(self._state, self._hash))
        self._snapshot_at = self._state.seq

    # -- observations --------------------------------------------------------------------------------------------------

    def observe(self, node: str, seq: int, digest: str, now: float) -> None:
        """Note that a node enforces a program. It is written with the next append, or by `flush` or `close`."""
        self._notes.add(Observation(node, seq, digest, now))

    def notice(self, node: str, seq: int, kind: str, text: str, now: float) -> None:
        """Note something else seen on a node. It is written when observations are."""
        self._notes.add(Notice(node, seq, kind, text, now))

    def flush(self) -> None:
        """Write what was observed and noticed since the last append."""
        notes = self._notes.waiting()
        if not any(notes):
            return
        with storage.explained(self.path), storage.transaction(self._database):
            self._notes.write(notes)
        self._notes.forget(notes)

    def observations(self) -> list[Observation]:
        """All observations, oldest first."""
        with storage.explained(self.path):
            return self._notes.observations()

    def notices(self) -> list[Notice]:
        """All notices, oldest first; none in a log begun before there were any."""
        with storage.explained(self.path):
            return self._notes.notices()

    # -- reading -------------------------------------------------------------------------------------------------------

    def head(self) -> int:
        """The last sequence number, 0 when empty. Cheap enough to poll."""
        if not self.readonly:
            return self._state.seq
        with storage.explained(self.path):
            return self._head()

    def records(self, after: int = 0, upto: int | None = None) -> Iterator[Record]:
        """The records after one sequence number, up to and with another (by default the last there is now), in order.

        Every record's hash is checked on the way.

        Raises:
            InvalidInputError: the log does not reach so far.
            LogCorruptError: a row is changed or missing; says which.
        """
        with storage.explained(self.path):
            end = self._bounded(upto)
            previous = self._hash_at(after) if 0 <= after < end else GENESIS
        while after < end:
            with storage.explained(self.path):
                found, previous = self._read(after, min(after + _CHUNK, end), previous)
            after += len(found)
            yield from found

    def follow(self, after: int, wait: Callable[[], bool]) -> Iterator[Record]:
        """The records after a sequence number, then each new one; `wait` comes between polls, and false ends it."""
        while True:
            for record in self.records(after):
                yield record
                after = record.seq
            if not wait():
                return

    def state(self, at: int | None = None) -> State:
        """The state at a sequence number, by default the last.

        Raises:
            InvalidInputError: the log does not reach so far.
            LogCorruptError: what leads to it does not verify.
        """
        with storage.explained(self.path):
            end = self._bounded(at)
            if end < self._state.seq:
                return self._folded(*self._start(end), end)[0]
            if end > self._state.seq:
                self._catch_up(end)
            return self._state

    def verify(self) -> None:
        """Read everything and check it: the file's structure, each row's hash, the fold, the end, the snapshots.

        Raises:
            LogCorruptError: names the row and what is wrong with it.
        """
        with storage.explained(self.path):
            self._check_file()
            self._check_tail()
            kept = set(snapshots.places(self._database))
            state, previous, end = State(), GENESIS, self._head()
            for stop in sorted({*kept, end}):
                if stop > end:
                    raise LogCorruptError(f"there is a snapshot at event {stop}, but the log ends at event {end}")
                state, previous = self._folded(state, previous, stop)
                if stop in kept:
                    snapshots.check(self._database, state, previous)

    # -- parts of reading ----------------------------------------------------------------------------------------------

    def _head(self) -> int:
        return int(self._database.execute("PRAGMA user_version").fetchone()[0])

    def _bounded(self, at: int | None) -> int:
        """Where reading ends. A writer may have begun a newer format since we looked."""
        self._formats = self._read_formats()
        head = self._head()
        if at is None:
            return head
        if not 0 <= at <= head:
            raise InvalidInputError(f"event log {self.path} has events 1 to {head}; there is no state at {at}")
        return at

    def _hash_at(self, seq: int) -> bytes:
        if seq == 0:
            return GENESIS
        if seq == self._state.seq:
            return self._hash
        row = self._database.execute("SELECT hash FROM events WHERE seq = ?", [seq]).fetchone()
        if row is None:
            raise LogCorruptError(f"event {seq} is missing")
        return bytes(row[0])

    def _read(self, after: int, upto: int, previous: bytes) -> tuple[list[Record], bytes]:
        """The records of one stretch, checked, and the hash of the last."""
        query = f"{_SELECT} WHERE seq > ? AND seq <= ? ORDER BY seq"
        found: list[Record] = []
        for expected, values in enumerate(self._database.execute(query, [after, upto]).fetchall(), after + 1):
            row = Row(*values)
            found.append(read_row(row, expected, previous, self._format_of(expected)))
            previous = row.hash
        if len(found) < upto - after:
            raise LogCorruptError(
                f"event {after + len(found) + 1} is missing: the log was written up to event {self._head()}"
            )
        return found, previous

    def _folded(self, state: State, previous: bytes, upto: int) -> tuple[State, bytes]:
        """Fold on from a state to a sequence number."""
        progress = Progress(state)
        while progress.seq < upto:
            found, previous = self._read(progress.seq, min(progress.seq + _CHUNK, upto), previous)
            for record in found:
                try:
                    progress.advance(record.event)
                except ValueError as error:
                    raise LogCorruptError(f"event {record.seq} contradicts the ones before it: {error}") from None
        return progress.freeze(), previous

    def _catch_up(self, upto: int | None = None) -> None:
        """Bring the kept state to a sequence number, by default the last, from itself or from a later snapshot."""
        end = self._head() if upto is None else upto
        state, previous = self._start(end)
        if state.seq <= self._state.seq:
            state, previous = self._state, self._hash
        self._state, self._hash = self._folded(state, previous, end)

    def _start(self, upto: int) -> tuple[State, bytes]:
        """The latest snapshot that verifies, not after a sequence number; or nothing."""
        for seq in snapshots.places(self._database):
            found = snapshots.load(self._database, seq) if seq <= upto else None
            if found is not None and self._hash_at(seq) == found[1]:
                self._snapshot_at = max(self._snapshot_at, seq)
                return found
        return State(), GENESIS

    # -- formats and checks --------------------------------------------------------------------------------------------

    def _read_formats(self) -> list[tuple[int, int]]:
        """(first sequence number, format), latest first."""
        found = [
            (int(a), int(b)) for a, b in self._database.execute("SELECT first, format FROM formats ORDER BY first DESC")
        ]
        if not found or found[-1][0] != 1:
            raise LogCorruptError("its format is not recorded")
        for _, number in found:
            rows.check_format(number)
        return found

    def _format_of(self, seq: int) -> int:
        for first, number in self._formats:
            if seq >= first:
                return number
        return 0

    def _adopt_format(self) -> None:
        """From here on a log that began in an older format goes on in today's."""
        if self._format_of(self._state.seq + 1) != rows.FORMAT:
            with storage.transaction(self._database) as connection:
                connection.execute("INSERT INTO formats VALUES (?, ?)", [self._state.seq + 1, rows.FORMAT])
            self._formats = self._read_formats()

    def _check_tail(self) -> None:
        """See that the last row is the one the header says was written last."""
        with_head = self._database.execute(
            "SELECT user_version, (SELECT max(seq) FROM events) FROM pragma_user_version"
        )
        head, last = with_head.fetchone()
        if (last or 0) < head:
            raise LogCorruptError(f"event {(last or 0) + 1} is missing: the log was written up to event {head}")
        if (last or 0) > head:
            raise LogCorruptError(f"event {head + 1} was not written by muslin: the log was written up to event {head}")

    def _check_file(self) -> None:
        found = [line for (line,) in self._database.execute("PRAGMA integrity_check(3)").fetchall()]
        if found != ["ok"]:
            raise LogCorruptError("the file's structure is damaged: " + "; ".join(found).replace("\n", "; "))
