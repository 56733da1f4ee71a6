"""What nodes were seen to do, kept beside the events: nothing is folded from it.

Notes wait in memory and are written with the next append, so that seeing something never costs a disk write of its own.
"""

from __future__ import annotations

from collections import deque

import msgspec
from sqlite_utils import Database


class Observation(msgspec.Struct, frozen=True):
    """That a node enforced, at some time, the program of a digest, compiled from the state at `seq`."""

    node: str
    seq: int
    digest: str
    time: float


class Notice(msgspec.Struct, frozen=True):
    """Something seen on a node that is neither a decision nor a program: `kind` "drift", what it was, and when.

    `seq` is the last event at that time.
    """

    node: str
    seq: int
    kind: str
    text: str
    time: float


Waiting = tuple[int, int]  # how many observations and notices wait to be written


class Notes:
    """The observations and notices of a log: those in its file, and those that wait. Adding is safe from any thread."""

    def __init__(self, database: Database) -> None:
        """Read from, and write to, a log's file."""
        self._database = database
        self._observations: deque[Observation] = deque()
        self._notices: deque[Notice] = deque()

    def add(self, note: Observation | Notice) -> None:
        """Let one wait to be written."""
        if isinstance(note, Observation):
            self._observations.append(note)
        else:
            self._notices.append(note)

    def waiting(self) -> Waiting:
        """What there is to `write`, and then to `forget`; more may come in meanwhile."""
        return len(self._observations), len(self._notices)

    def write(self, waiting: Waiting) -> None:
        """Write those that wait, in the caller's transaction."""
        observations = [(o.node, o.seq, o.digest, o.time) for o in list(self._observations)[: waiting[0]]]
        insert = "INSERT INTO observations (node, seq, digest, time) VALUES (?, ?, ?, ?)"
        self._database.conn.executemany(insert, observations)
        notices = [(n.node, n.seq, n.kind, n.text, n.time) for n in list(self._notices)[: waiting[1]]]
        insert = "INSERT INTO notices (node, seq, kind, text, time) VALUES (?, ?, ?, ?, ?)"
        self._database.conn.executemany(insert, notices)

    def forget(self, waiting: Waiting) -> None:
        """Those that were written, once the transaction is."""
        for _ in range(waiting[0]):
            self._observations.popleft()
        for _ in range(waiting[1]):
            self._notices.popleft()

    def observations(self) -> list[Observation]:
        """All observations, oldest first."""
        found = self._database.execute("SELECT node, seq, digest, time FROM observations ORDER BY id").fetchall()
        return [Observation(*row) for row in found] + list(self._observations)

    def notices(self) -> list[Notice]:
        """All notices, oldest first; none in a log begun before there were any."""
        if not self._database.table("notices").exists():
            return list(self._notices)
        found = self._database.execute("SELECT node, seq, kind, text, time FROM notices ORDER BY id").fetchall()
        return [Notice(*row) for row in found] + list(self._notices)
