"""Python's cycle collector pauses while a program is applied.

Parts of a program and what a dataplane makes of them are values that refer to no cycle. A whole program is hundreds of
thousands of them, and the collector would go through all that is alive again and again while they are made: a fifth of
the time of a first apply.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class _Pauses:
    """How many threads are at it; the collector goes on when the last one is done."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running = 0
        self._was_enabled = False

    def begin(self) -> None:
        with self._lock:
            if not self._running:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._running += 1

    def end(self) -> None:
        with self._lock:
            self._running -= 1
            if not self._running and self._was_enabled:
                gc.enable()


_PAUSES = _Pauses()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Let no collection begin meanwhile; any number of threads may ask for it at once. Also a decorator."""
    _PAUSES.begin()
    try:
        yield
    finally:
        _PAUSES.end()
