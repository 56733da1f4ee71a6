"""Maps whose every entry is known here, so that what others do to them is found and put right.

As long as nobody wrote to a map, a look costs a reading and a comparison of bytes. A large map is looked at less often
than others, unless it is very large still often enough to find what is wrong within a second.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import count

from emulator.dataplane.ebpf.generations import FullError
from emulator.dataplane.ebpf.libbpf import Table
from emulator.dataplane.ebpf.library import BpfError

_NO_ROOM = frozenset({errno.E2BIG, errno.ENOSPC})
LARGE = PART = 1 << 13  # entries of a map that is looked at less often; those that are read at once
BETWEEN = 0.6  # seconds from the end of one look at a large map to the next
SHARE = 9  # times as long as a look takes, at least
_SPARE = 64  # entries that should not be there are read at once too, if they are few
BYTES_A_LOOK = 1 << 22
_NUMBER = 8  # bytes


class Account:
    """What was sent to the kernel."""

    def __init__(self) -> None:
        self.operations = self.bytes = 0

    def did(self, size: int, operations: int = 1) -> None:
        """Add to it."""
        self.operations += operations
        self.bytes += size


@contextmanager
def _full_if_no_room() -> Iterator[None]:
    try:
        yield
    except BpfError as error:
        if error.code in _NO_ROOM:
            raise FullError from error
        raise


class KeptTable:
    """A map that is written only through here."""

    def __init__(self, table: Table, account: Account) -> None:
        self.table = table
        self._account = account
        self._wanted: dict[bytes, bytes] = {}
        self._writer: ThreadPoolExecutor | None = None
        self._under_way: list[Future[None]] = []
        self._right: dict[int, bytes] = {}  # parts of the map that were found right since we last wrote to it, as read
        self._next_look = 0.0

    def put_all(self, entries: Mapping[bytes, bytes]) -> None:
        """As `Table.put_all`.

        Raises:
            FullError: there is no room.
        """
        if not entries:
            return
        self._wanted |= entries
        self._right.clear()
        with _full_if_no_room():
            self.table.put_all(entries)
        self._account.did(len(entries) * (self.table.key_size + self.table.value_size), len(entries))

    def put_meanwhile(self, entries: dict[bytes, bytes]) -> None:
        """As `put_all`, in a thread of its own; whatever goes wrong is told by `settle`, which has to follow."""
        self._wanted |= entries
        self._right.clear()
        self._writer = self._writer or ThreadPoolExecutor(1, "writing eBPF maps")
        self._under_way.append(self._writer.submit(self.table.put_all, entries))
        self._account.did(len(entries) * (self.table.key_size + self.table.value_size), len(entries))

    def settle(self) -> None:
        """Wait until everything is written.

        Raises:
            FullError: there was no room.
        """
        if self._writer is not None:
            under_way, self._under_way = self._under_way, []
            self._writer.shutdown()
            self._writer = None
            with _full_if_no_room():
                for each in under_way:
                    each.result()

    def remove_all(self, keys: Sequence[bytes]) -> None:
        """As `Table.remove_all`."""
        if not keys:
            return
        for key in keys:
            self._wanted.pop(key, None)
        self._right.clear()
        self.table.remove_all(keys)
        self._account.did(len(keys) * self.table.key_size, len(keys))

    def is_right(self) -> bool:
        """Look at the map; a large one counts as right for a while after a look that found it so."""
        began = time.monotonic()
        if began < self._next_look:
            return True
        is_right = self._look()
        if is_right and len(self._wanted) > LARGE:
            ended = time.monotonic()
            self._next_look = ended + max(BETWEEN, (ended - began) * SHARE)
        return is_right

    def look_anew(self) -> None:
        """At the next look, look."""
        self._next_look = 0.0

    def _look(self) -> bool:
        counted = 0
        place: bytes | None = None
        for part in count():
            keys, values, place = self.table.part(place, min(PART, len(self._wanted) + _SPARE))
            if self._right.get(part) != keys + values:
                if not self._holds(keys, values):
                    return False
                self._right[part] = keys + values
            counted += len(keys) // self.table.key_size
            if place is None:
                break
        return counted == len(self._wanted)

    def _holds(self, keys: bytes, values: bytes) -> bool:
        """Whether these entries should be there."""
        names, held = self._split(keys, self.table.key_size), self._split(values, self.table.value_size)
        return [*map(self._wanted.get, names)] == held

    def repair(self) -> None:
        """Make the map be what it should."""
        found: dict[bytes, bytes] = {}
        place: bytes | None = None
        while True:
            keys, values, place = self.table.part(place, PART)
            names, held = self._split(keys, self.table.key_size), self._split(values, self.table.value_size)
            found.update(zip(names, held, strict=True))
            if place is None:
                break
        wanted = {key: value for key, value in self._wanted.items() if found.get(key) != value}
        self.remove_all([key for key in found if key not in self._wanted])
        self.put_all(wanted)

    @staticmethod
    def _split(data: bytes, size: int) -> list[bytes]:
        return [one for (one,) in struct.iter_unpack(f"{size}s", data)]


class Changes:
    """What is to be written to a map, all at once; of several words on one key the last one counts."""

    def __init__(self, table: KeptTable) -> None:
        self._table = table
        self._puts: dict[bytes, bytes] = {}
        self._gone: dict[bytes, None] = {}

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """Write entries."""
        self._puts |= entries
        for key in entries.keys() & self._gone.keys():
            del self._gone[key]

    def remove(self, keys: Iterable[bytes]) -> None:
        """Delete entries."""
        for key in keys:
            self._puts.pop(key, None)
            self._gone[key] = None

    def flush(self) -> None:
        """Do it.

        Raises:
            FullError: there is no room.
        """
        self._table.remove_all([*self._gone])
        self._table.put_all(self._puts)
        self._puts, self._gone = {}, {}


class KeptArray:
    """An array in the memory of this process and of the kernel, written only through here."""

    def __init__(self, table: Table, account: Account) -> None:
        self._table = table
        self.name = table.name
        self._account = account
        self._wanted = bytearray()  # as far as it was ever written
        self._at = 0

    def write(self, at: int, data: bytes, operations: int = 1) -> None:
        """Write bytes, `operations` things that lie side by side."""
        self._table.memory[at : at + len(data)] = data
        self._reach(at + len(data))
        self._wanted[at : at + len(data)] = data
        self._account.did(len(data), operations)

    def read(self, at: int, length: int) -> bytes:
        """What the kernel has."""
        return self._table.memory[at : at + length]

    def kept(self, at: int, length: int) -> bytes:
        """What was written."""
        return bytes(self._wanted[at : at + length])

    @property
    def size(self) -> int:
        """Bytes, from the first to the last one that ever was written."""
        return len(self._wanted)

    def _reach(self, end: int) -> None:
        if end > len(self._wanted):
            self._wanted += bytes(end - len(self._wanted))

    def is_right(self) -> bool:
        """Look at the next part."""
        part = slice(self._at, min(self._at + BYTES_A_LOOK, len(self._wanted)))
        self._at = part.stop if part.stop < len(self._wanted) else 0
        return self._table.memory[part] == self._wanted[part]

    def repair(self) -> None:
        """Make the array be what it should."""
        for at in range(0, len(self._wanted), 8):
            word = self._wanted[at : at + 8]
            if self._table.memory[at : at + 8] != word:
                self._table.memory[at : at + 8] = bytes(word)


class KeptNumbers(KeptArray):
    """An array of numbers of 64 bits; each is written at once."""

    @cached_property
    def _numbers(self) -> memoryview:
        return memoryview(self._table.memory).cast("Q")

    def __getitem__(self, place: int) -> int:
        """What the kernel has."""
        return self._numbers[place]

    def put_all(self, numbers: Mapping[int, int]) -> None:
        """Write numbers, by their places."""
        if not numbers:
            return
        self._reach((max(numbers) + 1) * _NUMBER)
        with memoryview(self._wanted).cast("Q") as wanted:
            for place, number in numbers.items():
                self._numbers[place] = wanted[place] = number
        self._account.did(len(numbers) * _NUMBER, len(numbers))
