"""A writer killed at any instant leaves a log that opens, with every acknowledged append and no half of one."""

from __future__ import annotations

import os
import random
import signal
import time
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest

from reference.events import Draft, NodeFailed, NodeRecovered
from reference.log import EventLog, snapshots

KILLS = 24


def write_forever(path: Path, acknowledgements: int) -> NoReturn:
    """Append commands of one to six events; tell the last event of each append that returned."""
    snapshots.EVERY = 7
    with EventLog.open(path) as log:
        for turn in count():
            size = turn % 6 + 1
            kind = NodeRecovered if turn % 2 else NodeFailed
            records = log.append([Draft(str(size), kind(f"node-{n}")) for n in range(size)], 1.0)
            log.observe("node-1", records[-1].seq, "digest", 1.0)
            os.write(acknowledgements, b"%d\n" % records[-1].seq)
    raise AssertionError


def killed_after(path: Path, delay: float) -> int:
    """Start a writer, kill it some time after its first acknowledgement; returns the last it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write_forever(path, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as acknowledgements:
        first = acknowledgements.readline()
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        rest = acknowledgements.read().split("\n")[:-1]
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    return int(rest[-1] if rest else first)


@pytest.mark.parametrize("readonly", [True, False], ids=["a reader opens it first", "a writer opens it first"])
def test_no_acknowledged_append_is_lost_and_no_half_is_kept(tmp_path: Path, readonly: bool) -> None:
    """After each kill the log verifies, reaches the last acknowledged event, and ends with a whole command."""
    path = tmp_path / "log.db"
    EventLog.create(path).close()
    chance = random.Random(2)
    for _ in range(KILLS // 2):
        acknowledged = killed_after(path, chance.uniform(0, 0.02))
        with EventLog.open(path, readonly=readonly) as log:
            log.verify()
            assert log.head() >= acknowledged
            records = list(log.records())
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        last = records[-1]
        assert last.seq - last.cause + 1 == int(last.actor)  # the actor says how many events the command has
