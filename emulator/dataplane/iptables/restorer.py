"""A restore program that stays between applies.

Starting one, loading its extensions, and above all its end, at which the nft variant waits for the kernel to let go of
what the transaction replaced, cost many times what a small change does. One that is left running reads on after each
COMMIT, and with `--verbose` echoes a comment as soon as everything before it is in force.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from reference.errors import MuslinError

SECONDS = 60
_PIPE = 1 << 20  # bytes; a reader that finds more has less to wait for a writer busy with other things
F_SETPIPE_SZ = 1031
_LONG = 1 << 20  # after that much text a program has grown, and a new one is started next time


class CommandError(MuslinError):
    """A program refused its input, or is not to be had."""


class Restorer:
    """One restore program, started when it is needed, in the network namespace of whoever needs it first."""

    def __init__(self, path: str, environment: Mapping[str, str] | None = None, inherits: Sequence[int] = ()) -> None:
        """Nothing is started yet; the program will have the environment given, and inherit descriptors."""
        self._name = Path(path).name
        self._environment, self._inherits = environment, inherits
        self._command = (path, "--noflush", "--wait", "--verbose")
        self._process: subprocess.Popen[bytes] | None = None
        self._texts = 0

    def start(self) -> None:
        """Start the program if it does not run: it gets ready while its text is being written.

        Raises:
            CommandError: it is not to be had.
        """
        self._process = self._process or _start(self._command, self._environment, self._inherits)

    def run(self, lines: Iterable[str]) -> None:
        """Run the transactions of all tables in `lines`; returns when they are in force.

        Raises:
            CommandError: one was refused; those before it are in force.
        """
        self._texts += 1
        given = as_text(lines)
        echo = f"# text {self._texts}\n".encode()
        self.start()
        assert self._process is not None
        said = _converse(self._process, given.encode() + echo, echo)
        if not said.endswith(echo):
            self.close()
            raise CommandError(f"{self._name} refused: {reason(said.decode(errors='replace'), given)}")
        if len(given) > _LONG:
            self.close()

    def close(self) -> None:
        """End the program, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _start(
    command: Sequence[str], environment: Mapping[str, str] | None, inherits: Sequence[int]
) -> subprocess.Popen[bytes]:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            env=environment,
            pass_fds=inherits,
        )
    except OSError as error:
        raise CommandError(f"{command[0]} did not run: {error}") from error
    assert process.stdin is not None
    with suppress(OSError):  # an ordinary user may have used up what is granted
        fcntl.fcntl(process.stdin, F_SETPIPE_SZ, _PIPE)
    return process


def _converse(process: subprocess.Popen[bytes], given: bytes, echo: bytes) -> bytes:
    """What the program says to a text, up to the echo at its end or its own end; what it got by then it has run."""
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(stdin, False)
    poll = select.poll()  # of many nodes' descriptors some have high numbers
    poll.register(stdout, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    left, said, until = memoryview(given), b"", time.monotonic() + SECONDS
    while not said.endswith(echo):
        ready = dict(poll.poll(max(0.0, until - time.monotonic()) * 1000))
        if not ready:
            return said + f"no answer in {SECONDS} s".encode()
        if stdout in ready:
            if not (heard := os.read(stdout, 1 << 16)):
                return said
            said += heard
        elif left:
            try:
                left = left[os.write(stdin, left) :]
            except BrokenPipeError:  # it has ended, and says why
                left = left[:0]
        if not left and stdin in ready:
            poll.unregister(stdin)
    return said


def as_text(lines: Iterable[str]) -> str:
    """The lines as a program reads them."""
    return "\n".join([*lines, ""])


def reason(words: str, given: str) -> str:
    """A program's words on one line, with the line of input it names."""
    said = " ".join(line for line in words.split("\n") if line.strip() and not line.startswith(("Try ", "# Warning")))
    for word in said.replace(":", " ").split():
        if word.isdigit() and 0 < int(word) <= given.count("\n"):
            return f"{said} [{given.splitlines()[int(word) - 1]}]"
    return said or "no reason given"
