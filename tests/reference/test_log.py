"""The event log: what goes in comes out, in order, for one writer and many readers."""

from __future__ import annotations

import sqlite3
import stat
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from reference import commands
from reference.canonical import state_digest
from reference.endpoints import Host
from reference.errors import EnvironmentLacksError, InvalidInputError, LogCorruptError, RefusedError
from reference.events import Draft, NodeFailed, NodeRecovered, ResourceDeleted
from reference.log import EventLog, Notice, Observation, eventlog, rows, snapshots, storage
from reference.resources import Key, Pod
from reference.resources.defaults import defaulted
from reference.resources.metadata import Metadata
from reference.state import State, fold

HOSTS = [Host(name=f"node-{n}", addresses=(f"172.30.1.{10 + n}",), subnet="lan", is_node=True) for n in (1, 2)]
CREATED = commands.bootstrap("test", "single", "nftables", HOSTS, now=1.0).drafts
DOWN, UP = Draft("user", NodeFailed("node-1")), Draft("user", NodeRecovered("node-1"))


def pods(count: int) -> list[Pod]:
    """Pods that leave everything open."""
    return [defaulted(Pod(metadata=Metadata(name=f"p{n}", namespace="shop"))) for n in range(count)]


def filled(path: Path, flips: int = 0) -> EventLog:
    """A log with a small cluster in it, and so many events more."""
    log = EventLog.create(path)
    log.append(CREATED, 1.0)
    log.append(commands.apply(log.state(), pods(3), now=2.0).drafts, 2.0)
    for n in range(flips):
        log.append([UP if n % 2 else DOWN], 3.0 + n)
    return log


def test_append_returns_what_is_read_back(tmp_path: Path) -> None:
    """Records come back with the sequence number, time, actor, cause and event they were appended with."""
    with EventLog.create(tmp_path / "log.db") as log:
        appended = log.append(CREATED, 1.5) + log.append([DOWN, UP], 2.5)
        assert list(log.records()) == appended
    assert [record.seq for record in appended] == list(range(1, len(appended) + 1))
    assert [record.cause for record in appended] == [1] * len(CREATED) + [len(CREATED) + 1] * 2
    assert appended[-1].time == 2.5
    assert appended[-1].actor == "user"


def test_state_is_the_fold_of_the_records(tmp_path: Path) -> None:
    """The state at any sequence number is the fold of the records up to it, in writer and reader."""
    with filled(tmp_path / "log.db", flips=5) as log, EventLog.open(log.path, readonly=True) as reader:
        records = list(log.records())
        for at in range(len(records) + 1):
            assert log.state(at) == reader.state(at) == fold(records[:at])
        assert log.state() == reader.state() == fold(records)


def test_appending_nothing_is_nothing(tmp_path: Path) -> None:
    """An empty command leaves the log as it was."""
    with filled(tmp_path / "log.db") as log:
        head = log.head()
        assert log.append([], 9.0) == []
        assert log.head() == head


def test_event_that_contradicts_the_state_is_refused_with_its_command(tmp_path: Path) -> None:
    """An event that cannot be folded never gets in, nor does anything of its command."""
    with filled(tmp_path / "log.db") as log:
        head = log.head()
        with pytest.raises(RefusedError, match=r"Pod a/b is deleted but does not exist; nothing was appended"):
            log.append([DOWN, Draft("user", ResourceDeleted(Key("Pod", "a", "b")))], 9.0)
        assert log.head() == head
        log.append([DOWN], 9.0)
        log.verify()


def test_log_goes_on_after_it_was_closed(tmp_path: Path) -> None:
    """A reopened log continues the sequence and the chain."""
    filled(tmp_path / "log.db").close()
    with EventLog.open(tmp_path / "log.db") as log:
        head = log.head()
        assert [record.seq for record in log.append([DOWN], 9.0)] == [head + 1]
        log.verify()


def test_second_writer_is_refused(tmp_path: Path) -> None:
    """While one process writes, another writer hears who it is; readers are welcome; closing makes room."""
    path = tmp_path / "log.db"
    with filled(path):
        with pytest.raises(RefusedError, match=r"is being written by another process; a log has one writer"):
            EventLog.open(path)
        with EventLog.open(path, readonly=True) as reader:
            assert reader.head()
    EventLog.open(path).close()


def test_reader_sees_what_is_appended_later(tmp_path: Path) -> None:
    """An open reader finds new events by asking again, and only those after the one it names."""
    with filled(tmp_path / "log.db") as log, EventLog.open(log.path, readonly=True) as reader:
        last = reader.head()
        assert list(reader.records(after=last)) == []
        new = log.append([DOWN, UP], 5.0)
        assert list(reader.records(after=last)) == new
        assert reader.state() == log.state()


def test_half_read_reader_does_not_hold_up_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that stops in the middle holds no lock, and goes on to the end it saw when it began."""
    monkeypatch.setattr(eventlog, "_CHUNK", 4)
    with filled(tmp_path / "log.db") as log, EventLog.open(log.path, readonly=True) as reader:
        head = log.head()
        reading = reader.records()
        first = next(reading)
        log.append([DOWN], 5.0)
        assert [record.seq for record in chain([first], reading)] == list(range(1, head + 1))


def test_follow_yields_the_old_and_then_the_new(tmp_path: Path) -> None:
    """Following polls when it has caught up, and ends when the caller says so."""
    with filled(tmp_path / "log.db") as log, EventLog.open(log.path, readonly=True) as reader:
        head = log.head()
        work = [DOWN, UP]

        def wait() -> bool:
            if work:
                log.append([work.pop(0)], 7.0)
                return True
            return False

        assert [record.seq for record in reader.follow(head - 1, wait)] == [head, head + 1, head + 2]


def test_reader_cannot_write(tmp_path: Path) -> None:
    """A log opened for reading refuses appends and snapshots."""
    filled(tmp_path / "log.db").close()
    with EventLog.open(tmp_path / "log.db", readonly=True) as log:
        with pytest.raises(RefusedError, match="open for reading only"):
            log.append([DOWN], 1.0)
        with pytest.raises(RefusedError, match="open for reading only"):
            log.snapshot()


def test_log_is_one_file_for_its_owner_alone(tmp_path: Path) -> None:
    """A closed log is one file, which only its owner may read."""
    filled(tmp_path / "log.db").close()
    assert [file.name for file in tmp_path.iterdir()] == ["log.db"]
    assert stat.S_IMODE((tmp_path / "log.db").stat().st_mode) == 0o600


def test_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    """Creating a log where a file is leaves the file as it was."""
    (tmp_path / "log.db").write_text("mine")
    with pytest.raises(RefusedError, match="exists already"):
        EventLog.create(tmp_path / "log.db")
    assert (tmp_path / "log.db").read_text() == "mine"


@pytest.mark.parametrize("readonly", [True, False])
def test_missing_log_is_named(tmp_path: Path, readonly: bool) -> None:
    """Opening what is not there says so, and makes nothing."""
    with pytest.raises(InvalidInputError, match=r"there is no event log at .*absent\.db"):
        EventLog.open(tmp_path / "absent.db", readonly=readonly)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_the_environments_fault(tmp_path: Path) -> None:
    """A folder that does not exist is reported in one line with the path."""
    with pytest.raises(EnvironmentLacksError, match=r"nowhere/log\.db cannot be used: No such file or directory"):
        EventLog.create(tmp_path / "nowhere" / "log.db")


@pytest.mark.parametrize("at", [-1, 1000])
def test_sequence_number_outside_the_log_is_refused(tmp_path: Path, at: int) -> None:
    """There is a state at 0 to the last event, and nowhere else."""
    with filled(tmp_path / "log.db") as log:
        with pytest.raises(InvalidInputError, match=r"has events 1 to \d+"):
            log.state(at)
        with pytest.raises(InvalidInputError, match=r"has events 1 to \d+"):
            list(log.records(upto=at))


def test_update_and_delete_are_refused_by_the_file_itself(tmp_path: Path) -> None:
    """The table of events is append-only for any program that opens the file."""
    filled(tmp_path / "log.db").close()
    connection = sqlite3.connect(tmp_path / "log.db")
    for statement in ("UPDATE events SET actor = 'nobody'", "DELETE FROM events WHERE seq = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_adopted_history_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    """A log that adopts another's records has the same rows, hashes included, and the same state."""
    with filled(tmp_path / "a.db", flips=3) as old, EventLog.create(tmp_path / "b.db") as new:
        new.adopt(old.records())
        assert new.state() == old.state()
        assert new._database.execute("SELECT * FROM events").fetchall() == (
            old._database.execute("SELECT * FROM events").fetchall()
        )
        with pytest.raises(RefusedError, match="has events already"):
            new.adopt(old.records())


def test_a_decided_state_is_taken_over(tmp_path: Path) -> None:
    """The state a decision led to is the log's own; one decided from another state is refused."""
    with filled(tmp_path / "log.db") as log:
        stale = commands.fail_node(log.state(), "node-1", now=4.0)
        decision = commands.apply(log.state(), pods(5), now=4.0)
        log.append(decision.drafts, 4.0, decision.state)
        assert log.state() is decision.state
        assert fold(log.records()) == decision.state
        with pytest.raises(RefusedError, match=f"it goes on at event {log.head() + 1}, and the command was decided"):
            log.append(stale.drafts, 5.0, stale.state)
        assert log.head() == decision.state.seq


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_where_a_snapshot_cannot_be_written_the_events_still_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot saves time and no more: an append that would also write one succeeds without it."""
    monkeypatch.setattr(snapshots, "EVERY", 10)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    real = eventlog.EventLog._commit

    def without_room(log: EventLog, new: Any, snapshot: Any) -> None:
        with storage.explained(log.path):
            if snapshot is not None:
                raise full
            real(log, new, snapshot)

    monkeypatch.setattr(eventlog.EventLog, "_commit", without_room)
    with filled(tmp_path / "log.db", flips=60) as log:
        expected = log.state()
    with EventLog.open(tmp_path / "log.db", readonly=True) as log:
        assert log.state() == expected


def test_opening_reads_the_snapshot_and_not_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With snapshots, opening folds only the events after the last one."""
    monkeypatch.setattr(snapshots, "EVERY", 10)
    with filled(tmp_path / "log.db", flips=120) as log:
        expected, head = log.state(), log.head()
    read: list[int] = []
    real = eventlog.read_row
    monkeypatch.setattr(eventlog, "read_row", lambda row, *rest: (read.append(row.seq), real(row, *rest))[1])
    with EventLog.open(tmp_path / "log.db") as log:
        assert log.state() == expected
    assert len(read) < 60 < head
    assert sorted(read) == list(range(head - len(read) + 1, head + 1))


def test_damaged_snapshot_is_passed_over_and_reported(tmp_path: Path) -> None:
    """A snapshot that does not verify is not used: the state is folded from the events; `verify` names it."""
    with filled(tmp_path / "log.db") as log:
        log.snapshot()
        expected, head = log.state(), log.head()
    tamper(tmp_path / "log.db", "UPDATE snapshots SET state = x'00'")
    with EventLog.open(tmp_path / "log.db") as log:
        assert log.state() == expected
        with pytest.raises(LogCorruptError, match=f"the snapshot at event {head} is not the state"):
            log.verify()


def test_snapshot_changes_nothing_but_time(tmp_path: Path) -> None:
    """A state thawed from a snapshot is equal to the folded one, and has the same bytes."""
    with filled(tmp_path / "log.db") as log:
        folded = fold(log.records())
        log.snapshot()
    with EventLog.open(tmp_path / "log.db", readonly=True) as log:
        assert log.state() == folded
        assert state_digest(log.state()) == state_digest(folded)


# -- observations ------------------------------------------------------------------------------------------------------


def test_observations_are_kept_apart_from_events(tmp_path: Path) -> None:
    """Observations survive closing, in order, and neither move the head nor change the state."""
    with filled(tmp_path / "log.db") as log:
        head, state = log.head(), log.state()
        log.observe("node-1", head, "abc", 5.0)
        log.append([DOWN], 6.0)
        log.observe("node-2", head + 1, "def", 7.0)
        assert len(log.observations()) == 2
    with EventLog.open(tmp_path / "log.db", readonly=True) as log:
        assert log.observations() == [
            Observation("node-1", head, "abc", 5.0),
            Observation("node-2", head + 1, "def", 7.0),
        ]
        assert log.head() == head + 1
        assert log.state(head) == state


def test_notices_are_kept_apart_from_events(tmp_path: Path) -> None:
    """Notices survive closing, in order, beside observations, and the log still verifies."""
    with filled(tmp_path / "log.db") as log:
        head = log.head()
        log.notice("node-1", head, "drift", "chain forward has other rules", 5.0)
        log.flush()
        log.notice("node-2", head, "drift", "the table is gone", 6.0)
        assert [notice.node for notice in log.notices()] == ["node-1", "node-2"]
    with EventLog.open(tmp_path / "log.db", readonly=True) as log:
        assert log.notices()[0] == Notice("node-1", head, "drift", "chain forward has other rules", 5.0)
        assert (len(log.notices()), log.head()) == (2, head)
        log.verify()


def test_logs_from_before_notices_are_read_and_written_on(tmp_path: Path) -> None:
    """A log without the table has no notices; who writes to it may note some."""
    path = tmp_path / "log.db"
    filled(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE notices")
    connection.close()
    with EventLog.open(path, readonly=True) as log:
        assert log.notices() == []
    with EventLog.open(path) as log:
        log.notice("node-1", 1, "drift", "gone", 5.0)
    with EventLog.open(path, readonly=True) as log:
        assert len(log.notices()) == 1
        log.verify()


# -- formats -----------------------------------------------------------------------------------------------------------


def test_old_format_is_cast_up_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of an old format are read through its upcaster, stay as they were written, and new ones follow them."""
    with filled(tmp_path / "log.db") as log:
        log.append([DOWN], 4.0)
        log.snapshot()
        head = log.head()

    def renamed(event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "node": "renamed"} if event["kind"] == "NodeFailed" else event

    monkeypatch.setattr(rows, "FORMAT", 2)
    monkeypatch.setattr(rows, "UPCASTERS", {1: renamed})
    with EventLog.open(tmp_path / "log.db") as log:
        assert log.state().failed_nodes == {"renamed"}
        log.append([DOWN], 5.0)
        assert [record.event for record in log.records(after=head - 1)] == [NodeFailed("renamed"), NodeFailed("node-1")]
        log.verify()


def test_newer_format_asks_for_a_newer_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log from the future is no damage: the error says what to install."""
    with monkeypatch.context() as future:
        future.setattr(rows, "FORMAT", 2)
        future.setattr("reference.log.storage.FORMAT", 2)
        EventLog.create(tmp_path / "log.db").close()
    with pytest.raises(EnvironmentLacksError, match=r"log\.db: its format is 2 .* install a newer muslin"):
        EventLog.open(tmp_path / "log.db", readonly=True)


def test_empty_log_has_the_empty_state(tmp_path: Path) -> None:
    """A log without events opens, verifies, and holds nothing."""
    with EventLog.create(tmp_path / "log.db") as log:
        log.verify()
        assert log.state() == State()
        assert list(log.records()) == []


def tamper(path: Path, *statements: str) -> None:
    """Change a log behind its back."""
    connection = sqlite3.connect(path)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
