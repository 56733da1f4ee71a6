"""The operations of a transaction and the netlink messages they become. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

import msgspec

from emulator.dataplane.dormancy import waking
from emulator.dataplane.nftables.names import TABLE
from emulator.dataplane.nftables.parts import LAYOUTS, Chain, Rule, SetSpec, elements
from emulator.nfnetlink import (
    NFPROTO_INET,
    NLM_F_APPEND,
    NLM_F_CREATE,
    SUBSYS_NFTABLES,
    Message,
    attribute,
    named,
    nested,
    text,
    u32,
)

NEW_TABLE, DELETE_TABLE = 0, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, GET_SET, DELETE_SET = 9, 10, 11
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
GET_GENERATION = 16
ELEMENTS_A_MESSAGE = 700  # an attribute holds less than 64 KiB
_VERDICT_TYPE = 0xFFFFFF00
_COMMENT = 0
_HOST_ORDER = bytes([0, 4]) + struct.pack("=I", 1)  # tells the nft program how to print interface names


class ResetTable(msgspec.Struct, frozen=True):
    """Remove the table if it is there, and make it empty."""


class WakeTable(msgspec.Struct, frozen=True):
    """Let the rules of a table that was put to sleep decide again."""


class AddSet(msgspec.Struct, frozen=True):
    """Make a set with no members."""

    spec: SetSpec


class AddElements(msgspec.Struct, frozen=True):
    """Put members into a set; `early`: others that are there still mean the same addresses, and more."""

    spec: SetSpec
    members: frozenset[str]
    early: bool = False


class RemoveElements(msgspec.Struct, frozen=True):
    """Take members out of a set; `late`: others that came mean the same addresses, and more."""

    spec: SetSpec
    members: frozenset[str]
    late: bool = False


class FlushSet(msgspec.Struct, frozen=True):
    """Remove all members of a set, whatever they are."""

    spec: SetSpec


class AddChain(msgspec.Struct, frozen=True):
    """Make a chain without rules."""

    chain: Chain


class FlushChain(msgspec.Struct, frozen=True):
    """Remove all rules of a chain."""

    name: str


class AddRules(msgspec.Struct, frozen=True):
    """Append the chain's rules."""

    chain: Chain


class RemoveChain(msgspec.Struct, frozen=True):
    """Remove an empty chain."""

    name: str


class RemoveSet(msgspec.Struct, frozen=True):
    """Remove a set with its members."""

    spec: SetSpec


Operation = (
    ResetTable
    | WakeTable
    | AddSet
    | AddElements
    | RemoveElements
    | FlushSet
    | AddChain
    | FlushChain
    | AddRules
    | RemoveChain
    | RemoveSet
)


def message(kind: int, *attributes: bytes, flags: int = 0, table: str = TABLE) -> Message:
    """A message about something in a table; every nf_tables object has the table's name as attribute 1."""
    return Message(SUBSYS_NFTABLES << 8 | kind, b"".join((named(table), *attributes)), flags)


def messages(operation: Operation) -> Iterator[Message]:
    """The netlink messages of an operation."""
    match operation:
        case ResetTable() | WakeTable():
            yield from _of_table(operation)
        case AddSet(spec):
            yield _new_set(spec)
        case AddElements(spec, members, _):
            yield from _element_messages(NEW_ELEMENT, spec, elements(spec.type, members), NLM_F_CREATE)
        case RemoveElements(spec, members, _):
            yield from _element_messages(DELETE_ELEMENT, spec, elements(spec.type, members, removing=True))
        case FlushSet(spec):
            yield message(DELETE_ELEMENT, text(2, spec.name))
        case AddChain(chain):
            yield chain_message(chain)
        case FlushChain(name):
            yield message(DELETE_RULE, text(2, name))
        case AddRules(chain):
            for rule in chain.rules:
                yield rule_message(chain.name, rule)
        case RemoveChain(name):
            yield message(DELETE_CHAIN, text(3, name))
        case RemoveSet(spec):
            yield message(DELETE_SET, text(2, spec.name))


def describe(operation: Operation) -> str:
    """What an operation is about, for an error message."""
    match operation:
        case ResetTable() | WakeTable():
            return f"table {TABLE}"
        case AddSet(spec) | RemoveSet(spec) | FlushSet(spec) | AddElements(spec, _, _) | RemoveElements(spec, _, _):
            return f"set {spec.name} ({spec.type})"
        case AddChain(chain) | AddRules(chain):
            return f"chain {chain.name}"
        case FlushChain(name) | RemoveChain(name):
            return f"chain {name}"


def told(operation: Operation) -> str:
    """What an operation does, for people."""
    about = describe(operation)
    match operation:
        case ResetTable():
            return f"begin {about} anew"
        case WakeTable():
            return f"wake {about}"
        case AddElements(_, members, _):
            return f"put {len(members)} members into {about}"
        case RemoveElements(_, members, _):
            return f"take {len(members)} members out of {about}"
        case AddRules(chain):
            return f"write {len(chain.rules)} rules of {about}"
        case AddSet() | AddChain():
            return f"make {about}"
        case FlushSet() | FlushChain():
            return f"empty {about}"
        case RemoveChain() | RemoveSet():
            return f"remove {about}"


def chain_message(chain: Chain, *, table: str = TABLE) -> Message:
    """Make a chain, attached to its hook if it has one, with policy accept."""
    hook = chain.hook
    attached = b""
    if hook is not None:
        attached = nested(4, u32(1, hook.number), u32(2, hook.priority)) + u32(5, 1) + text(7, hook.type)
    return message(NEW_CHAIN, text(3, chain.name), attached, flags=NLM_F_CREATE, table=table)


def rule_message(chain: str, rule: Rule, *, table: str = TABLE) -> Message:
    """Append a rule; its comment goes where the nft program looks for it."""
    note = rule.comment.encode()
    return message(
        NEW_RULE,
        _of_chain(chain),
        nested(4, rule.expressions),
        attribute(7, b"%c%c%b\0" % (_COMMENT, len(note) + 1, note)),
        flags=NLM_F_CREATE | NLM_F_APPEND,
        table=table,
    )


def _of_table(operation: ResetTable | WakeTable) -> list[Message]:
    if isinstance(operation, WakeTable):
        return [waking(TABLE, NFPROTO_INET)]
    new = message(NEW_TABLE, flags=NLM_F_CREATE)
    return [new, message(DELETE_TABLE), new]


@lru_cache(maxsize=16)  # the rules of a chain are written one after the other
def _of_chain(chain: str) -> bytes:
    return text(2, chain)


def _new_set(spec: SetSpec) -> Message:
    layout = LAYOUTS[spec.type]
    data = u32(6, _VERDICT_TYPE) + u32(7, 16) if spec.type == "verdicts" else b""
    return message(
        NEW_SET,
        text(2, spec.name),
        u32(3, layout.flags),
        u32(4, layout.key_type),
        u32(5, layout.key_length),
        data,
        u32(10, 1),
        attribute(13, _HOST_ORDER) if spec.type in ("verdicts", "interfaces") else b"",
        flags=NLM_F_CREATE,
    )


def _element_messages(kind: int, spec: SetSpec, encoded: Iterable[bytes], flags: int = 0) -> Iterator[Message]:
    left = iter(encoded)
    while some := list(islice(left, ELEMENTS_A_MESSAGE)):
        yield message(kind, text(2, spec.name), nested(3, *some), flags=flags)
