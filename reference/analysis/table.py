"""The connectivity matrix as a value: a row of bits for every source and port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from reference.errors import InvalidInputError

ALLOWED, DENIED, APART = ".", "X", "-"  # APART: the two have no address family in common

_GLYPHS = str.maketrans({"1": ALLOWED, "0": DENIED})


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many cells say what."""

    allowed: int
    denied: int
    apart: int

    @property
    def total(self) -> int:
        """All cells."""
        return self.allowed + self.denied + self.apart


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A cell in which two matrices differ, as glyphs; "" where a matrix has no such cell."""

    source: str
    destination: str
    port: str
    before: str
    after: str

    def __str__(self) -> str:
        words = {ALLOWED: "allowed", DENIED: "denied", APART: "no common family", "": "absent"}
        return f"{self.source} -> {self.destination} {self.port}: {words[self.before]} -> {words[self.after]}"


@dataclass(frozen=True)  # no slots: the look-ups are cached on it
class Matrix:
    """Who may open a flow to whom on which ports. Bit d of `rows[port][s]` speaks of source s and destination d."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    ports: tuple[str, ...]  # "80/TCP", "ICMP"
    rows: Mapping[str, tuple[int, ...]]
    apart: tuple[int, ...]  # by source: destinations without a common address family

    @cached_property
    def _source_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.sources)}

    @cached_property
    def _destination_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.destinations)}

    def allowed(self, source: str, destination: str, port: str) -> bool:
        """Report whether the flow is allowed; one without a common address family is not.

        Raises:
            InvalidInputError: the matrix has no such source, destination or port.
        """
        return self.glyph(source, destination, port) == ALLOWED

    def glyph(self, source: str, destination: str, port: str) -> str:
        """One cell: "." allowed, "X" denied, "-" no common address family.

        Raises:
            InvalidInputError: the matrix has no such source, destination or port.
        """
        row, column = self._source_index.get(source), self._destination_index.get(destination)
        if row is None or column is None or port not in self.rows:
            known = f"{len(self.sources)} sources, {len(self.destinations)} destinations, ports {', '.join(self.ports)}"
            raise InvalidInputError(f"the matrix has no cell {source} -> {destination} {port}; it has {known}")
        return self._glyph(port, row, column)

    def _glyph(self, port: str, row: int, column: int) -> str:
        if self.apart[row] >> column & 1:
            return APART
        return ALLOWED if self.rows[port][row] >> column & 1 else DENIED

    def __iter__(self) -> Iterator[tuple[str, str, str, bool]]:
        """Every cell as (source, destination, port, allowed), by port, then source, then destination."""
        for port in self.ports:
            for source, bits in zip(self.sources, self.rows[port], strict=True):
                for column, destination in enumerate(self.destinations):
                    yield source, destination, port, bool(bits >> column & 1)

    def __len__(self) -> int:
        return len(self.ports) * len(self.sources) * len(self.destinations)

    @property
    def counts(self) -> Counts:
        """How many cells are allowed, denied, and without a common family."""
        allowed = sum(bits.bit_count() for port in self.ports for bits in self.rows[port])
        apart = sum(bits.bit_count() for bits in self.apart) * len(self.ports)
        return Counts(allowed=allowed, denied=len(self) - allowed - apart, apart=apart)

    def row_text(self, port: str, source: str) -> str:
        """One row as glyphs, a character for each destination."""
        row, width = self._source_index[source], len(self.destinations)
        text = _spread(self.rows[port][row], width).translate(_GLYPHS)
        if not self.apart[row]:
            return text
        return "".join(
            APART if bit == "1" else glyph for bit, glyph in zip(_spread(self.apart[row], width), text, strict=True)
        )

    def text(self) -> str:
        """The whole matrix for a terminal: a block per port, destinations numbered, sources named."""
        width = max((len(name) for name in self.sources), default=0)
        lines = [f"{number:>4}  {name}" for number, name in enumerate(self.destinations)]
        lines = ["destinations, from left to right:", *lines]
        for port in self.ports:
            lines += ["", port, *(f"  {name:<{width}}  {self.row_text(port, name)}" for name in self.sources)]
        return "\n".join([*lines, "", f"{ALLOWED} allowed  {DENIED} denied  {APART} no common address family", ""])

    def to_json(self) -> dict[str, object]:
        """Plain data: names, rows as glyphs, and counts."""
        return {
            "sources": list(self.sources),
            "destinations": list(self.destinations),
            "ports": {port: [self.row_text(port, source) for source in self.sources] for port in self.ports},
            "counts": msgspec.structs.asdict(self.counts),
        }

    def changes(self, after: Matrix) -> Iterator[Change]:
        """Every cell in which `after` differs from this one, in the order of a matrix."""
        if self._same_cells(after):
            yield from self._changed_bits(after)
            return
        for port in dict.fromkeys((*self.ports, *after.ports)):
            for source in dict.fromkeys((*self.sources, *after.sources)):
                for destination in dict.fromkeys((*self.destinations, *after.destinations)):
                    old, new = self._find(source, destination, port), after._find(source, destination, port)
                    if old != new:
                        yield Change(source=source, destination=destination, port=port, before=old, after=new)

    def _same_cells(self, other: Matrix) -> bool:
        mine = (self.sources, self.destinations, self.ports, self.apart)
        return mine == (other.sources, other.destinations, other.ports, other.apart)

    def _changed_bits(self, after: Matrix) -> Iterator[Change]:
        for port in self.ports:
            for row, source in enumerate(self.sources):
                for column in bits_of(self.rows[port][row] ^ after.rows[port][row]):
                    old, new = self._glyph(port, row, column), after._glyph(port, row, column)
                    name = self.destinations[column]
                    yield Change(source=source, destination=name, port=port, before=old, after=new)

    def _find(self, source: str, destination: str, port: str) -> str:
        row, column = self._source_index.get(source), self._destination_index.get(destination)
        return "" if row is None or column is None or port not in self.rows else self._glyph(port, row, column)


def _spread(mask: int, width: int) -> str:
    """A mask as zeros and ones, lowest first."""
    return f"{mask:0{width}b}"[::-1] if width else ""


def bits_of(mask: int) -> Iterator[int]:
    """The places of the ones in a mask, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
