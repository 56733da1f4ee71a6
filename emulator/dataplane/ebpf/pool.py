"""Ranges of an array: taken and given back. Pure."""

from __future__ import annotations

from bisect import bisect_left


class Pool:
    """Hands out ranges of `size` places, the first that fits."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: list[tuple[int, int]] = [(0, size)]  # (start, length), in order, never touching

    @property
    def free(self) -> int:
        """Places that are not taken."""
        return sum(length for _, length in self._free)

    def take(self, length: int) -> int | None:
        """Where a range of this length begins; None when there is no room in one piece."""
        for at, (start, available) in enumerate(self._free):
            if available >= length:
                if available == length:
                    del self._free[at]
                else:
                    self._free[at] = (start + length, available - length)
                return start
        return None

    def give_back(self, start: int, length: int) -> None:
        """Make a range free again, and one with its neighbours."""
        at = bisect_left(self._free, (start, 0))
        if at < len(self._free) and start + length == self._free[at][0]:
            length += self._free.pop(at)[1]
        if at and sum(self._free[at - 1]) == start:
            start, before = self._free.pop(at - 1)
            length, at = length + before, at - 1
        self._free.insert(at, (start, length))
