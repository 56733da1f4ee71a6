"""The programs that speak to the kernel: iptables-restore and -save of one variant, in both families, and ipset.

They run in the network namespace of the calling thread. A refused command is a `CommandError` with its own words.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

from emulator.dataplane.iptables.ipset import IpSets
from emulator.dataplane.iptables.lock import lock_for
from emulator.dataplane.iptables.parts import TABLES
from emulator.dataplane.iptables.restorer import CommandError, Restorer, as_text, finish
from emulator.dataplane.iptables.running import Running
from emulator.dataplane.iptables.transactions import Transactions
from reference.endpoints import Family
from reference.errors import EnvironmentLacksError

Variant = Literal["legacy", "nft"]
_TABLES: dict[Family, str] = {4: "iptables", 6: "ip6tables"}
FAMILIES = tuple(_TABLES)
_VERBS = ("restore", "save")
_READS = re.compile(r"^Name: (\S+)$.*?^References: (\d+)$", re.MULTILINE | re.DOTALL)
_UNREAD_LOOKS = 20
_BUSY_RETRIES, _BUSY_PAUSE = 50, 0.005
FEW = 2_000  # lines about sets; the ipset program reads more of them sooner than we write them
NOT_BEGUN: Mapping[Family, Running] = {}


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
        self.sets = IpSets()
        self._transactions = Transactions(self.sets) if variant == "nft" else None
        restores: dict[Family, str] = {
            family: self._paths[f"{tables}-{variant}-restore"] for family, tables in _TABLES.items()
        }
        self._lock = lock_for(restores[4]) if variant == "legacy" else None
        self._restorers = {family: self._restorer(path) for family, path in restores.items()}

    def _restorer(self, path: str) -> Restorer:
        return Restorer(path, self._lock.environment, [self._lock.descriptor]) if self._lock else Restorer(path)

    def prepare(self) -> None:
        """Start the restore programs: they get ready while their text is being written."""
        for restorer in self._restorers.values():
            restorer.start()

    def restore(self, texts: Mapping[Family, Sequence[str]], after: Mapping[Family, Running] = NOT_BEGUN) -> None:
        """Run the transactions of all tables in each family's lines, side by side; other chains are left alone.

        Those of a family begin when what fills its sets is done. What had begun before is in force as well, then.
        """
        filling = dict(after)
        while filling and (self._transactions is not None or not texts):
            filling.popitem()[1].finish()
        if not texts or (self._transactions is not None and self._transactions.run(texts)):
            finish(self._restorers.values())
            return
        with self.restoring() as begin:
            for family in FAMILIES:
                if family in filling:
                    filling[family].finish()
                if family in texts:
                    begin(family, texts[family])

    @contextmanager
    def restoring(self) -> Iterator[Callable[[Family, Sequence[str]], None]]:
        """What lets a family's restore program begin; at the end of the context all that was begun is in force."""
        with self._lock.held() if self._lock else nullcontext():
            try:
                yield lambda family, lines: self._restorers[family].begin(lines)
            finally:
                finish(self._restorers.values())

    def close(self) -> None:
        """End the programs that stay."""
        for restorer in self._restorers.values():
            restorer.close()
        if self._transactions is not None:
            self._transactions.close()
        if self._lock is not None:
            self._lock.close()
        self.sets.close()

    def save(self, family: Family, *, counters: bool = False) -> str:
        """The three tables as text.

        The legacy variant is asked for each: where it looks for the names of all, an ordinary user may not read.
        """
        name, options = f"{_TABLES[family]}-{self.variant}-save", ("-c",) if counters else ()
        if self.variant == "nft":
            return self._run(name, *options)
        return "".join(self._run(name, *options, "-t", table) for table in TABLES)

    def restore_sets(self, lines: Iterable[str]) -> None:
        """Run lines of `ipset restore`; few of them need no program."""
        given = list(lines)
        if len(given) <= FEW:
            self.sets.run(given)
        else:
            self._run("ipset", "restore", given=as_text(given))

    def fill(self, lines: Iterable[str]) -> Running:
        """Let `ipset restore` begin with these lines."""
        return Running(self._paths["ipset"], "restore", given=as_text(lines))

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

    def destroy_unread(self, ours: re.Pattern[str]) -> None:
        """Destroy the sets of such names that no rule reads; what is still read after a while has other readers."""
        for _ in range(_UNREAD_LOOKS):
            reads = {name: int(count) for name, count in _READS.findall(self._run("ipset", "list", "-terse"))}
            found = {name: count for name, count in reads.items() if ours.match(name)}
            self.restore_sets(f"destroy {name}" for name, count in found.items() if not count)
            if not any(found.values()):
                return
            time.sleep(_BUSY_PAUSE)

    def _run(self, name: str, *arguments: str, given: str = "") -> str:
        with Running(self._paths[name], *arguments, given=given) as program:
            return program.finish()
