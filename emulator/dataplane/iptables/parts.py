"""What the tables are made of: sets with their members, chains with their rules as text. Plain data. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.references import NOTHING

Table = Literal["raw", "mangle", "filter", "nat"]
TABLES: tuple[Table, ...] = ("raw", "mangle", "filter", "nat")
SetType = Literal["hash:net", "hash:ip,port", "hash:net,iface"]
Side = Literal["src", "dst"]


class SetSpec(msgspec.Struct, frozen=True, gc=False):
    """A set, by its first name (the other one differs in a digit: `names.flipped`); its members are kept apart."""

    name: str
    type: SetType


Content = tuple[SetSpec, frozenset[str]]


def chain_key(table: str, name: str) -> str:
    """The key of a chain of a table."""
    return f"{table} {name}"


def split_key(key: str) -> tuple[Table, str]:
    """The table and the name of a chain."""
    table, _, name = key.partition(" ")
    return msgspec.convert(table, Table), name


class Rule(msgspec.Struct, frozen=True, gc=False):
    """One kernel rule without its chain. `ref` is what it stands for and counts; None for plumbing."""

    text: str
    comment: str
    ref: RuleRef | None = None


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain with everything its rules refer to.

    `lookups` are the sets its rules read, by the side they read; they must exist and are filled by others. `literals`
    exist because of the rules, with these very members, and `groups` because of jumps to them; `jumps` are those to
    chains that parts of the program are behind.
    """

    name: str
    table: Table = "filter"
    rules: tuple[Rule, ...] = ()
    lookups: frozenset[tuple[SetSpec, Side]] = frozenset()
    literals: frozenset[tuple[SetSpec, frozenset[str]]] = frozenset()
    jumps: frozenset[str] = frozenset()
    groups: tuple[Chain, ...] = ()

    @property
    def key(self) -> str:
        """What tells it apart from all other chains: each table has its own."""
        return chain_key(self.table, self.name)

    @property
    def jump_keys(self) -> frozenset[str]:
        """The keys of the chains jumped to; a jump stays in its table."""
        return frozenset(chain_key(self.table, name) for name in self.jumps) if self.jumps else NOTHING

    @property
    def reads(self) -> Iterator[tuple[SetSpec, frozenset[str], str]]:
        """Every set its rules read, with its members if it is a literal, and the side they read."""
        literals = dict(self.literals)
        return ((spec, literals.get(spec, NOTHING), side) for spec, side in self.lookups)

    @property
    def set_names(self) -> frozenset[str]:
        """The names of all sets its rules read."""
        return frozenset(spec.name for spec, _ in self.lookups)
