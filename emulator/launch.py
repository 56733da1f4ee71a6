"""Bring a supervisor to life, from any process: a command, a test, a thread.

The supervisor is a fresh interpreter (forking a process with threads is no good), which enters its sandbox and leaves
exactly one process behind. A leased one reads a pipe that this side holds open: when the holder ends, however it ends,
the pipe closes and the supervisor goes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from emulator.api.address import listening_names
from emulator.api.messages import Failure, Message, Progress, Result
from emulator.spec import ClusterSpec
from reference.errors import MuslinError, RefusedError


class Lease:
    """The holder's end of the pipe; ending it ends the supervisor. `pid` is the supervisor's."""

    def __init__(self, descriptor: int, pid: int) -> None:
        self._descriptor = descriptor
        self.pid = pid

    def end(self, *, graceful: bool = False) -> None:
        """Let the supervisor go and wait until the kernel has removed it, with all that was inside.

        `graceful`: it was asked to end already, and is given the time to close its log.
        """
        if self._descriptor < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            watch = os.pidfd_open(self.pid)
            if graceful:
                _await_exit(watch)
            os.close(self._descriptor)
            self._descriptor = -1
            _await_exit(watch)
            os.close(watch)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def launch(spec: ClusterSpec, progress: Callable[[str], None] | None = None) -> Lease | None:
    """Start the supervisor of a cluster and wait until it is ready; the lease, if the spec asks for one.

    Raises:
        RefusedError: a cluster of that name runs already.
        EnvironmentLacksError: the machine cannot do it; the message says what is missing.
        MuslinError: the supervisor failed; the message carries its own words.
    """
    if spec.name in listening_names():
        raise RefusedError(f"a cluster named {spec.name!r} runs already; take it down with: muslin down {spec.name}")
    ready, ready_end = os.pipe()
    lease_end, lease = os.pipe()
    try:
        outer = subprocess.Popen(
            [sys.executable, "-P", "-m", "emulator.supervisor", msgspec.json.encode(spec).decode(),
             str(ready_end), str(lease_end if spec.leased else -1)],
            pass_fds=(ready_end, lease_end) if spec.leased else (ready_end,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(ready_end)
        os.close(lease_end)
    if not spec.leased:
        os.close(lease)
        lease = -1
    try:
        pid = _await_ready(ready, outer, progress)
    except BaseException:
        if lease >= 0:
            os.close(lease)
        raise
    finally:
        os.close(ready)
        assert outer.stderr is not None
        outer.stderr.close()
        outer.wait()  # the outer half ends as soon as the inner one runs
    return Lease(lease, pid) if spec.leased else None


def _await_ready(ready: int, outer: subprocess.Popen[bytes], progress: Callable[[str], None] | None) -> int:
    """Read the supervisor's words until it says its pid."""
    with os.fdopen(os.dup(ready), "rb") as lines:
        for line in lines:
            message = msgspec.json.decode(line, type=Message)
            if isinstance(message, Progress) and progress:
                progress(message.text)
            elif isinstance(message, Failure):
                raise message.error()
            elif isinstance(message, Result):
                return int(message.value)
    assert outer.stderr is not None
    last_words = outer.stderr.read().decode(errors="replace").strip().splitlines()
    why = last_words[-1] if last_words else "it said nothing"
    raise MuslinError(f"the supervisor ended before the cluster was ready: {why}")


def _await_exit(watch: int) -> None:
    """Wait for a process by its pidfd, which becomes readable when it ends; 10 s at most."""
    import select

    select.select([watch], [], [], 10)


def is_running(pid: int) -> bool:
    """Report whether a process exists and is no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
