"""The lines that change one table: one transaction, and pieces of what decides nothing yet or no longer. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice

import msgspec

from emulator.dataplane.iptables.kernel import common
from emulator.dataplane.iptables.parts import Table

_TARGET = re.compile(r" -[jg] (cali-\S+)")


class Changes(msgspec.Struct):
    """What is to change in one table."""

    made: dict[str, list[str]] = {}  # new chains, by name, with the lines of their rules
    changed: list[str] = []  # lines for chains that are there
    gone: list[str] = []  # chains, by name

    def lines(self, table: Table, piece: int) -> Iterator[str]:
        """One transaction for all of it.

        Chains beyond a `piece` are in transactions of their own: the new ones before it, when nothing leads to them
        yet, the ones that go after it. The nft variant's restore program looks every line's chain up in a list of all
        chains of the transaction, which takes ten seconds for 10,000 policies at once and half a second in pieces.
        """
        made, gone, later = self.made, self.gone, []
        if 0 < piece < len(made):
            for some in _pieces(_targets_first(made), piece):
                yield from _transaction(table, (*map(_declared, some), *_rules(made, some)))
            made = {}
        if 0 < piece < len(gone):
            gone, later = [], gone
        yield from _transaction(table, (*map(_declared, made), *_rules(made, made), *self.changed, *_removed(gone)))
        for verb in ("-F", "-X"):
            for some in _pieces(later, piece):
                yield from _transaction(table, (f"{verb} {name}" for name in some))


def edits(name: str, have: tuple[str, ...], want: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """The lines that change a chain, from the first rule that differs on (IPT-4); rules are (hash, text)."""
    same = common(have, [found for found, _ in want])
    for at, (_, line) in enumerate(want[same:], same + 1):
        yield f"-R {name} {at} {line}" if at <= len(have) else f"-A {name} {line}"
    for _ in range(len(have) - len(want)):
        yield f"-D {name} {len(want) + 1}"


def _transaction(table: Table, body: Iterable[str]) -> Iterator[str]:
    """The lines of one transaction; none for nothing."""
    lines = list(body)
    if lines:
        yield f"*{table}"
        yield from lines
        yield "COMMIT"


def _declared(name: str) -> str:
    return f":{name} - [0:0]"


def _rules(made: Mapping[str, list[str]], names: Iterable[str]) -> Iterator[str]:
    return chain.from_iterable(made[name] for name in names)


def _removed(names: list[str]) -> Iterator[str]:
    """All are emptied before the first is removed: they may lead to each other."""
    for verb in ("-F", "-X"):
        yield from (f"{verb} {name}" for name in names)


def _targets_first(made: Mapping[str, list[str]]) -> Iterable[str]:
    """The names of chains, each after those of them that its rules lead to."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        for line in made[name]:
            target = _TARGET.search(line)
            if target and target[1] in made and target[1] not in found:
                visit(target[1])
        found[name] = None

    for name in made:
        if name not in found:
            visit(name)
    return found


def _pieces(names: Iterable[str], piece: int) -> Iterator[list[str]]:
    left = iter(names)
    while some := list(islice(left, piece)):
        yield some
