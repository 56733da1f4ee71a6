"""The programs that speak to the kernel: iptables-restore and -save of one variant, in both families, and ipset.

They run in the network namespace of the calling thread. A refused command is a `CommandError` with its own words.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable
from typing import Literal

from emulator.dataplane.iptables.parts import TABLES
from reference.endpoints import Family
from reference.errors import EnvironmentLacksError, MuslinError

Variant = Literal["legacy", "nft"]
_TABLES: dict[Family, str] = {4: "iptables", 6: "ip6tables"}
_VERBS = ("restore", "save")
_SECONDS = 60
_BUSY_RETRIES, _BUSY_PAUSE = 50, 0.005


class CommandError(MuslinError):
    """A program refused its input, or is not to be had."""


class Commands:
    """The programs of one variant."""

    def __init__(self, variant: Variant) -> None:
        """Find the programs.

        Raises:
            EnvironmentLacksError: one of them is not installed.
        """
        self.variant = variant
        self._paths: dict[str, str] = {}
        for name in ("ipset", *(f"{tables}-{variant}-{verb}" for tables in _TABLES.values() for verb in _VERBS)):
            path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
            if path is None:
                raise EnvironmentLacksError(
                    f"{name} is not installed, which the iptables dataplane needs; apt install iptables ipset"
                )
            self._paths[name] = path

    def restore(self, family: Family, lines: Iterable[str]) -> None:
        """Run the transactions of all tables in `lines`; other chains are left alone."""
        name = f"{_TABLES[family]}-{self.variant}-restore"
        self._run(name, "--noflush", "--wait", given=_text(lines))

    def save(self, family: Family, *, counters: bool = False) -> str:
        """The three tables as text.

        The legacy variant is asked for each: where it looks for the names of all, an ordinary user may not read.
        """
        name, options = f"{_TABLES[family]}-{self.variant}-save", ("-c",) if counters else ()
        if self.variant == "nft":
            return self._run(name, *options)
        return "".join(self._run(name, *options, "-t", table) for table in TABLES)

    def restore_sets(self, lines: Iterable[str]) -> None:
        """Run lines of `ipset restore`."""
        self._run("ipset", "restore", given=_text(lines))

    def save_sets(self) -> str:
        """All sets of both families as text."""
        return self._run("ipset", "save")

    def destroy_sets(self, names: Iterable[str]) -> None:
        """Destroy sets no rule reads. The kernel lets go of a removed rule's sets a moment after its transaction."""
        left = list(names)
        for attempt in range(_BUSY_RETRIES):
            try:
                self.restore_sets(f"destroy {name}" for name in left)
            except CommandError:
                there = {line.split(" ")[1] for line in self.save_sets().splitlines() if line.startswith("create ")}
                left = [name for name in left if name in there]
                if attempt + 1 == _BUSY_RETRIES:
                    raise
                time.sleep(_BUSY_PAUSE)
            else:
                return

    def _run(self, name: str, *arguments: str, given: str = "") -> str:
        try:
            done = subprocess.run(
                [self._paths[name], *arguments],
                input=given,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CommandError(f"{name} did not run: {error}") from error
        if done.returncode:
            raise CommandError(f"{name} refused: {_reason(done.stderr, given)}")
        return done.stdout


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _reason(words: str, given: str) -> str:
    """The program's words on one line, with the line of input it names."""
    said = " ".join(line for line in words.split("\n") if line.strip() and not line.startswith(("Try ", "# Warning")))
    for word in said.replace(":", " ").split():
        if word.isdigit() and 0 < int(word) <= given.count("\n"):
            return f"{said} [{given.splitlines()[int(word) - 1]}]"
    return said or "no reason given"
