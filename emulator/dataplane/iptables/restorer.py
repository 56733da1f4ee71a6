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
from threading import Thread

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
        self._talk: _Talk | None = None

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
        self.begin(lines)
        finish([self])

    def begin(self, lines: Iterable[str]) -> None:
        """Let the program begin with the transactions of all tables in `lines`.

        Raises:
            CommandError: it is not to be had.
        """
        self._texts += 1
        self.start()
        assert self._process is not None
        self._talk = _Talk(self._process, as_text(lines), f"# text {self._texts}\n")

    def settle(self) -> None:
        """See what became of the text; called when the talk about it is over.

        Raises:
            CommandError: a transaction was refused; those before it are in force.
        """
        talk = self._talk
        assert talk is not None
        if not talk.agreed or len(talk.given) > _LONG:
            self.close()
        self._talk = None
        if not talk.agreed:
            raise CommandError(f"{self._name} refused: {reason(talk.said.decode(errors='replace'), talk.given)}")

    def close(self) -> None:
        """End the program, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            if self._talk is not None:
                self._talk.teller.join()
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


class _Talk:
    """About one text: a thread tells it to a program, which echoes its end, or ends itself."""

    def __init__(self, process: subprocess.Popen[bytes], given: str, echo: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdout = process.stdout.fileno()
        self.given, self.said = given, b""
        self._echo = echo.encode()
        self._ended = False
        self.teller = Thread(target=_tell, args=(process.stdin.fileno(), given.encode() + self._echo), daemon=True)
        self.teller.start()

    @property
    def agreed(self) -> bool:
        """Whether the program has run all of the text."""
        return self.said.endswith(self._echo)

    @property
    def over(self) -> bool:
        """Whether the program has run all of the text, or ended."""
        return self._ended or self.agreed

    def hear(self) -> None:
        """Read what it says."""
        heard = os.read(self.stdout, 1 << 16)
        self.said += heard
        self._ended = not heard

    def give_up(self) -> None:
        """The program says nothing any more."""
        self.said += f"no answer in {SECONDS} s".encode()
        self._ended = True


def finish(restorers: Iterable[Restorer]) -> None:
    """Wait until all texts begun are in force.

    Raises:
        CommandError: a transaction was refused; those before it are in force.
    """
    begun = [(restorer, restorer._talk) for restorer in restorers if restorer._talk is not None]
    _converse([talk for _, talk in begun])
    errors = []
    for restorer, _ in begun:
        try:
            restorer.settle()
        except CommandError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _converse(talks: Sequence[_Talk]) -> None:
    """Until all of them are over."""
    by_descriptor = {talk.stdout: talk for talk in talks}
    poll = select.poll()  # of many nodes' descriptors some have high numbers
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    until = time.monotonic() + SECONDS
    while left := [talk for talk in talks if not talk.over]:
        ready = poll.poll(max(0.0, until - time.monotonic()) * 1000)
        if not ready:
            for talk in left:
                talk.give_up()
        for descriptor, _ in ready:
            by_descriptor[descriptor].hear()
            if by_descriptor[descriptor].over:
                poll.unregister(descriptor)


def _tell(descriptor: int, text: bytes) -> None:
    """Write all of a text, in as few calls as the pipe takes: none of them needs the interpreter."""
    left = memoryview(text)
    with suppress(BrokenPipeError):  # the program has ended, and says why
        while left:
            left = left[os.write(descriptor, left) :]


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
