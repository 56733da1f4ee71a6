"""A writer killed at any instant leaves a log that opens, with every acknowledged append and no half of one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reference.events import NodeFailed, NodeRecovered
from reference.log import EventLog

KILLS = 24

# Appends commands of one to six events, and says on standard output which was the last event of each that returned.
WRITER = """
import os, sys
from reference.events import Draft, NodeFailed, NodeRecovered
from reference.log import EventLog, eventlog
eventlog.SNAPSHOT_EVERY = 7
with EventLog.open(sys.argv[1]) as log:
    for turn in range(10**6):
        size = turn % 6 + 1
        kind = (NodeFailed, NodeRecovered)[turn % 2]
        records = log.append([Draft(str(size), kind(f"n{i}")) for i in range(size)], 1.0)
        log.observe("node", records[-1].seq, "digest", 1.0)
        os.write(1, b"%d\\n" % records[-1].seq)
"""


def killed_after(path: Path, delay: float) -> int:
    """Start a writer, kill it some time after its first acknowledgement; returns the last it acknowledged."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert writer.stdout
    first = writer.stdout.readline()
    time.sleep(delay)
    os.kill(writer.pid, signal.SIGKILL)
    rest = writer.stdout.read().split(b"\n")[:-1]
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    return int(rest[-1] if rest else first)


@pytest.mark.parametrize("readonly", [True, False], ids=["a reader opens it first", "a writer opens it first"])
def test_no_acknowledged_append_is_lost_and_no_half_is_kept(tmp_path: Path, readonly: bool) -> None:
    """After each kill the log verifies, reaches the last acknowledged event, and ends with a whole command."""
    path = tmp_path / "log.db"
    EventLog.create(path).close()
    chance = random.Random(2)
    for _ in range(KILLS // 2):
        acknowledged = killed_after(path, chance.uniform(0, 0.03))
        with EventLog.open(path, readonly=readonly) as log:
            log.verify()
            assert log.head() >= acknowledged
            records = list(log.records())
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        last = records[-1]
        assert last.seq - last.cause + 1 == int(last.actor)  # the actor says how many events the command has
        assert isinstance(last.event, NodeFailed | NodeRecovered)
