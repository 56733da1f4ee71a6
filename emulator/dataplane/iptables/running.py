"""A program that reads one text and ends, on its way while we do something else."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from emulator.dataplane.iptables.restorer import SECONDS, CommandError, reason


class Running:
    """One such program. Left as a context it has ended, whatever happened."""

    def __init__(self, path: str, *arguments: str, given: str = "") -> None:
        """Start it, in the network namespace of the calling thread.

        Raises:
            CommandError: it is not to be had.
        """
        self._name, self._given = Path(path).name, given
        try:
            with _file_of(given) as file:
                self._process = subprocess.Popen(
                    [path, *arguments], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
        except OSError as error:
            raise CommandError(f"{self._name} did not run: {error}") from error

    def finish(self) -> str:
        """Wait for its end; what it printed.

        Raises:
            CommandError: it refused its text, or did not end.
        """
        try:
            printed, words = self._process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{self._name} did not run: {error}") from error
        if self._process.returncode:
            raise CommandError(f"{self._name} refused: {reason(words, self._given)}")
        return printed

    def __enter__(self) -> Self:
        """The program, on its way."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for its end; one that takes too long is ended."""
        if self._process.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=SECONDS)
            self._process.kill()
            self._process.communicate()


def _file_of(text: str) -> BinaryIO:
    """A nameless file that holds the text: a program reads it when it likes, with nobody to feed it bit by bit."""
    file = os.fdopen(os.memfd_create("given"), "w+b")
    file.write(text.encode())
    file.seek(0)
    return file
