"""A log replayed in a new sandbox: the same state, the same programs, the same verdicts in the kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import muslin
from reference.canonical import state_digest
from reference.log import EventLog

pytestmark = pytest.mark.live
SHOP = "scenarios/manifests/shop.yaml"
DB_FROM_API = "docs/examples/db-from-api-only.yaml"


def command(*arguments):
    """Run muslin; exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "muslin", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def history(tmp_path):
    """A kept log of a short life, and the programs its nodes ended with."""
    path = tmp_path / "history.db"
    with muslin.Cluster(nodes=2, log=path) as cluster:
        cluster.apply(SHOP)
        before = cluster.wait()
        cluster.apply(DB_FROM_API)
        cluster.wait()
        programs = cluster.call("programs")
        state = state_digest(cluster.state)
    return path, before, programs, state


def test_replay_gives_the_same_state_and_programs(history):
    """`muslin replay --verify` finds every hash right, and the same bytes for state and programs."""
    path, _before, programs, state = history
    code, out, err = command("replay", path, "--verify", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["state"] == state
    assert programs
    assert {name: answer["programs"][name] for name in programs} == programs  # unguarded hosts outside run none
    assert answer["verified"] is True


def test_replay_in_a_new_sandbox_enforces_the_same(history, name):
    """Replayed with --up, a new cluster has the same state, enforces the same programs, and packets fare the same."""
    path, _before, programs, state = history
    code, _out, err = command("replay", path, "--up", name)
    assert code == 0, err
    try:
        cluster = muslin.Cluster.connect(name)
        assert state_digest(cluster.state) == state
        assert cluster.call("programs") == programs
        assert not cluster.probe("shop/web", "shop/db", "TCP", 5432).allowed
        assert cluster.probe("shop/api", "shop/db", "TCP", 5432).allowed
        cluster.close()
    finally:
        command("down", name)


def test_replay_stops_where_it_is_told(history, name):
    """Replayed up to the event before the policy, the flow that the policy denies gets through."""
    path, before, _programs, _state = history
    code, _out, err = command("replay", path, "--at", before, "--up", name)
    assert code == 0, err
    try:
        cluster = muslin.Cluster.connect(name)
        assert cluster.state.seq == before
        assert cluster.probe("shop/web", "shop/db", "TCP", 5432).allowed
        cluster.close()
    finally:
        command("down", name)


def test_a_damaged_log_is_refused(history):
    """One changed byte in an event is found, by the number of the row, and nothing is brought up."""
    path, *_ = history
    data = path.read_bytes()
    position = data.index(b"stranger")
    path.write_bytes(data[:position] + b"S" + data[position + 1 :])
    code, _out, err = command("replay", path, "--verify")
    assert code == 1
    assert str(path) in err
    assert "Traceback" not in err


def test_replay_of_nothing_says_so(tmp_path):
    """A file that does not exist, or is no log, is bad input."""
    text = tmp_path / "text.db"
    text.write_text("this is no log, and long enough to be read as one\n" * 100)
    for path in (tmp_path / "none.db", text):
        code, _out, err = command("replay", path)
        assert code in (1, 2)
        assert str(path) in err
        assert err.count("\n") == 1


def test_the_log_can_be_read_while_it_grows(tmp_path):
    """A reader of the file sees each event that `apply` returned for, while the cluster goes on writing."""
    path = tmp_path / "live.db"
    with muslin.Cluster(nodes=1, log=path) as cluster, EventLog.open(path, readonly=True) as reader:
        for number in range(5):
            manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ns-{number}"}}
            cluster.apply(manifest)
            assert [r.event.resource.name for r in reader.records(after=reader.head() - 1)] == [f"ns-{number}"]
    assert os.access(path, os.R_OK)
