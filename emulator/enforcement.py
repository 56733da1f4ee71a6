"""What enforces policy on one machine: its dataplane and, while that is being exchanged, the next one beside it.

Going over to another dataplane never opens anything and never closes anything. The next one is programmed while the old
one is in force; then both are, and a packet passes if both let it, which are programmed alike; then the old one is
cleaned. Whatever fails on the way, the old one is in force as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from emulator.dataplane import DATAPLANES
from emulator.dataplane.contract import Counter, Dataplane, Drop, DropSource, RuleRef, Tracing
from reference.errors import MuslinError
from reference.packet import Packet
from reference.program.types import NodeProgram


class Enforcement:
    """Keeps the kernel of one machine; made and used in a thread inside the machine's namespace, as a dataplane is."""

    def __init__(self, machine: str, dataplane: str, known: Mapping[str, Callable[[], Dataplane]] = DATAPLANES) -> None:
        """Make the dataplane; nothing is programmed before the first `enforce`.

        Raises:
            EnvironmentLacksError: the dataplane is not to be had.
        """
        self._machine = machine
        self._known = known
        self._now = known[dataplane]()
        self._next: Dataplane | None = None
        self._leaving: Dataplane | None = None  # no longer ours, and not wholly out of the kernel
        self._program: NodeProgram | None = None
        self.drops = Drops(self._now.drops(machine))

    @property
    def dataplane(self) -> str:
        """The name of the dataplane that reports and counts."""
        return self._now.name

    def enforce(self, dataplane: str, program: NodeProgram) -> None:
        """Make the kernel be `program`, by that dataplane.

        Raises:
            MuslinError: it cannot; what was in force still is.
        """
        self.prepare(dataplane)
        if self._next is not None:
            self._exchange(self._next)
        self._clean_up()
        self._now.apply(program)
        self._program = program

    def prepare(self, dataplane: str) -> None:
        """Put another dataplane in force beside the one there is; with the present one's name: take that back.

        Raises:
            MuslinError: it is not to be had, or cannot express the program; everything is as it was.
        """
        if self._next is not None and self._next.name == dataplane:
            return
        if self._next is not None:
            _remove(self._next)
            self._next = None
        if dataplane == self._now.name:
            return
        self._clean_up()  # it may be the very one that is to come
        coming = self._known[dataplane]()
        try:
            if self._program is not None:
                coming.apply(self._program)
        except BaseException:
            _remove(coming)
            raise
        self._next = coming

    def _exchange(self, coming: Dataplane) -> None:
        """From here on the next dataplane is the one, and the old one is on its way out.

        Two may report by the same netfilter log group, which has one listener.
        """
        self.drops.close()
        try:
            self.drops.source = coming.drops(self._machine)
        except BaseException:
            self.drops.source = self._now.drops(self._machine)
            raise
        self._leaving, self._now, self._next = self._now, coming, None

    def _clean_up(self) -> None:
        if self._leaving is not None:
            self._leaving.clean()
            self._leaving.close()
            self._leaving = None

    # -- what the kernel is and saw --------------------------------------------------------------------------------

    def mend(self) -> str:
        """What somebody changed in the kernel, in a line, and put right; "" if nothing."""
        if self._next is not None or self._leaving is not None:
            return ""
        found = self._now.drift()
        if found and self._program is not None:
            self._now.forget()
            self._now.apply(self._program)
        return found

    def counters(self) -> Mapping[RuleRef, Counter]:
        """What every rule has matched."""
        return self._now.counters()

    def trace(self, packet: Packet) -> Tracing:
        """Begin to trace packets like this one."""
        return self._now.trace(self._machine, packet)


class Drops:
    """A machine's drops, whichever dataplane tells of them."""

    def __init__(self, source: DropSource) -> None:
        self.source = source

    def fileno(self) -> int:
        """Readable when there are reports; another descriptor after the dataplane was exchanged."""
        return self.source.fileno()

    def drain(self) -> list[Drop]:
        """All reports there are, oldest first, without waiting."""
        return self.source.drain()

    def close(self) -> None:
        """Stop listening."""
        self.source.close()


def _remove(dataplane: Dataplane) -> None:
    """As if it had never come: whatever it could not do, this must not hide why."""
    with suppress(MuslinError):
        dataplane.clean()
    dataplane.close()
