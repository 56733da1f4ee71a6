"""Reaping orphans: what the first process of a PID namespace owes to it.

An orphan's status must be collected, or it stays a zombie; but the status of a child that some `subprocess.Popen`
still waits for must not be taken away. The kernel does not tell the two apart, so a zombie is collected only when it
has been one for a whole interval and no living `Popen` of this interpreter claims it. Children of the supervisor are
therefore always started through `subprocess`.
"""

from __future__ import annotations

import gc
import os
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

INTERVAL = 1.0


def zombies(proc: Path = Path("/proc")) -> set[int]:
    """Zombie children of this process."""
    me = str(os.getpid())
    found = set()
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z" and parent == me:
                    found.add(int(entry.name))
    return found


def claimed() -> set[int]:
    """Pids that a `Popen` has yet to wait for."""
    return {
        thing.pid
        for thing in gc.get_objects()
        if issubclass(type(thing), subprocess.Popen) and thing.returncode is None
    }


def reap(candidates: set[int]) -> set[int]:
    """Collect the candidates that nobody claims; the pids collected."""
    collected = set()
    for pid in candidates - claimed() if candidates else ():
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
            collected.add(pid)
    return collected


def start_reaper(interval: float = INTERVAL) -> None:
    """Reap for as long as this process lives."""
    threading.Thread(target=_reap_forever, args=(interval,), name="reaper", daemon=True).start()


def _reap_forever(interval: float) -> None:
    before: set[int] = set()
    while True:
        time.sleep(interval)
        now = zombies()
        before = now - reap(now & before)
