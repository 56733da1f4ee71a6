"""Reaping: which zombies are collected, in an ordinary process."""

import subprocess
import time

from emulator import reaper


def ended_child():
    """A child that has ended and has not been waited for."""
    child = subprocess.Popen(["true"])
    deadline = time.monotonic() + 10
    while child.pid not in reaper.zombies() and time.monotonic() < deadline:
        time.sleep(0.005)
    return child


def test_a_child_somebody_waits_for_is_left_alone():
    """A `Popen` that has not been waited for claims its zombie; once it has, there is none."""
    child = ended_child()
    assert child.pid in reaper.zombies()
    assert child.pid in reaper.claimed()
    assert reaper.reap({child.pid}) == set()
    assert child.wait() == 0
    assert child.pid not in reaper.claimed()
    assert child.pid not in reaper.zombies()


def test_a_pid_that_is_no_child_is_passed_over():
    """What has vanished meanwhile is no error, and is not reported as collected."""
    assert reaper.reap({4194999}) == set()
    assert reaper.reap(set()) == set()
