"""The lock of the legacy variant, taken once for the programs of both families.

Every iptables of the machine takes it for as long as it works at a table, whichever family that is of: two restore
programs side by side take turns. Tables of the two families have nothing to do with each other, so we keep everybody
else out for both, and tell our programs of a lock that each has for itself.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from emulator.dataplane.iptables.restorer import SECONDS, CommandError

_VARIABLE = "XTABLES_LOCKFILE"
_USUAL = "/run/xtables.lock"
_OWN = "/proc/self/stat"  # a file every process has, and no two have in common
_PAUSE = 0.001


class XtablesLock:
    """The machine's lock. Programs that are given its descriptor keep it held when the agent dies, until they end."""

    def __init__(self, path: str, descriptor: int) -> None:
        """See `lock_for`."""
        self._path = path
        self._guard = Lock()
        self._holders = 0
        self.descriptor = descriptor
        self.environment: Mapping[str, str] = {**os.environ, _VARIABLE: _OWN}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep everybody else from the tables meanwhile; several of our own threads may hold it together.

        Raises:
            CommandError: somebody else held it for too long.
        """
        with self._guard:
            if not self._holders:
                self._take()
            self._holders += 1
        try:
            yield
        finally:
            with self._guard:
                self._holders -= 1
                if not self._holders:
                    fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def _take(self) -> None:
        until = time.monotonic() + SECONDS
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise CommandError(f"another program has held {self._path} for {SECONDS} s") from error
                time.sleep(_PAUSE)
            else:
                return

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.descriptor)


def lock_for(program: str) -> XtablesLock | None:
    """The lock that a restore program takes; None if it takes it by itself, because it knows of no other file.

    So it does where we may not open the file: it will say so.
    """
    path = os.environ.get(_VARIABLE, _USUAL)
    try:
        if _VARIABLE.encode() not in Path(program).read_bytes():
            return None
        return XtablesLock(path, os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:
        return None
