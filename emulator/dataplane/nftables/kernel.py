"""What the kernel's table is, read back by netlink, and what turns it into a program: restart, repair, drift.

Nothing that was programmed before needs to be known: the kernel is compared with all that a program asks for.
Expressions and set elements are compared as encoded; the kernel adds attributes of its own, which say nothing.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from emulator.dataplane.dormancy import is_dormant, told
from emulator.dataplane.nftables import expressions
from emulator.dataplane.nftables.base import (
    FROM_DISPATCH,
    INPUT,
    STATIC_SETS,
    dispatch_from,
    input_chain,
    static_chains,
)
from emulator.dataplane.nftables.names import TABLE
from emulator.dataplane.nftables.operations import (
    GET_CHAIN,
    GET_ELEMENT,
    GET_RULE,
    GET_SET,
    AddChain,
    AddElements,
    AddRules,
    AddSet,
    FlushChain,
    FlushSet,
    Operation,
    RemoveChain,
    RemoveSet,
    ResetTable,
    WakeTable,
    describe,
    message,
)
from emulator.dataplane.nftables.parts import LAYOUTS, Chain, Hook, Rule, SetSpec, elements
from emulator.dataplane.nftables.plan import Programmed, endpoint_members, nat_members
from emulator.dataplane.nftables.turns import first, with_first_names
from emulator.dataplane.references import NOTHING, no_program
from emulator.nfnetlink import NESTED, NetfilterSocket, NetlinkError, attributes, each_attribute, string, text

_ACCEPT_POLICY = 1
_MOST_SAID = 5
_COUNTER = text(1, expressions.COUNTER)
_COUNTS = struct.Struct("!8xQ4xQ")  # after that: bytes, then packets
Element = tuple[bytes, int, str]  # key, whether it ends an interval, chain to go to


@dataclass
class KernelChain:
    """A chain as the kernel has it."""

    hook: Hook | None
    rules: list[bytes] = field(default_factory=list)  # the expressions of each
    comments: list[str] = field(default_factory=list)


@dataclass
class KernelTable:
    """The table as the kernel has it."""

    chains: dict[str, KernelChain] = field(default_factory=dict)
    sets: dict[str, tuple[int, int, int]] = field(default_factory=dict)  # key type, key length, flags
    elements: dict[str, Counter[Element]] = field(default_factory=dict)
    is_dormant: bool = False


@dataclass
class Wanted:
    """All that a program asks for."""

    chains: dict[str, Chain]
    sets: dict[SetSpec, frozenset[str]]


def wanted_of(programmed: Programmed) -> Wanted:
    """Everything a programmed value stands for, the fixed part and the members of dispatch included."""
    program = programmed.program
    assert program is not None
    chains = {chain.name: chain for chain in static_chains()}
    chains[INPUT], chains[FROM_DISPATCH] = input_chain(program.to_host), dispatch_from(program.encapsulation)
    for name in {**programmed.jumps, **programmed.chains, **programmed.groups}:
        chain = programmed.chain(name)
        assert chain is not None
        chains[name] = programmed.as_sent(chain)
    sets: dict[SetSpec, frozenset[str]] = dict.fromkeys(STATIC_SETS, frozenset())
    for name in {**programmed.sets, **programmed.needed}:
        content = programmed.content(name)
        assert content is not None
        sets.update(programmed.in_sets(name, content[1]) or dict.fromkeys(programmed.specs(name), NOTHING))
    nothing = no_program(program.node)
    for changes in (endpoint_members(nothing, program), nat_members(nothing, program)):
        sets.update({spec: after for spec, (_, after) in changes.items()})
    return Wanted(chains, sets)


def read(socket: NetfilterSocket) -> KernelTable | None:
    """The table in the kernel; None if there is none."""
    table = KernelTable()
    for body in _dump(socket, GET_CHAIN):
        table.chains[string(body[3])] = KernelChain(_hook_of(body))
    for body in _dump(socket, GET_SET):
        numbers = [int.from_bytes(body.get(kind, b""), "big") for kind in (4, 5, 3)]
        table.sets[string(body[2])] = (numbers[0], numbers[1], numbers[2])
    if not table.chains and not table.sets:
        return None
    table.is_dormant = is_dormant(socket, TABLE)
    for name, chain in table.chains.items():
        for data in rules_of(socket, name):
            rule = attributes(data)
            chain.rules.append(rule.get(4, b""))
            chain.comments.append(string(rule.get(7, b"")[2:]))
    for name in table.sets:
        found: Counter[Element] = Counter()
        for data in socket.dump(message(GET_ELEMENT, text(2, name))):
            found.update(_elements(one for _, one in each_attribute(attributes(data).get(3, b""))))
        table.elements[name] = found
    return table


def rules_of(socket: NetfilterSocket, chain: str) -> Iterator[bytes]:
    """The attributes of each rule of a chain; none if there is no such chain.

    One chain at a time: a dump of all begins from the first rule again for every buffer it fills.
    """
    try:
        yield from socket.dump(message(GET_RULE, text(2, chain)))
    except NetlinkError:
        return


def count_of(rule: bytes) -> tuple[int, int]:
    """(packets, bytes) of the counter among a rule's attributes; noughts if it has none."""
    at = rule.find(_COUNTER)
    size, packets = _COUNTS.unpack_from(rule, at + len(_COUNTER)) if at >= 0 else (0, 0)
    return packets, size


def listed(table: KernelTable | None) -> dict[str, object]:
    """The table without counts, as a value that is equal for equal programs."""
    if table is None:
        return {}
    return {
        "chains": {
            name: [[comment, _fingerprint(data)] for comment, data in zip(chain.comments, chain.rules, strict=True)]
            for name, chain in sorted(table.chains.items())
        },
        "hooks": {
            name: [chain.hook.type, chain.hook.number, chain.hook.priority]
            for name, chain in sorted(table.chains.items())
            if chain.hook is not None
        },
        "sets": {
            first(name): {
                "make": list(table.sets[name]),
                "members": sorted([key.hex(), is_end, goal] for key, is_end, goal in table.elements[name].elements()),
            }
            for name in sorted(table.sets, key=first)
        },
    }


def _fingerprint(expressions: bytes) -> str:
    at = expressions.find(_COUNTER)
    if at >= 0:  # what it has counted follows its name
        counts = at + len(_COUNTER)
        expressions = expressions[:counts] + expressions[counts + _COUNTS.size :]
    return blake2b(with_first_names(expressions), digest_size=8).hexdigest()


def base_chains(socket: NetfilterSocket) -> list[str]:
    """The names of the table's chains that the kernel itself calls."""
    return [string(body[3]) for body in _dump(socket, GET_CHAIN) if 4 in body]


def _dump(socket: NetfilterSocket, kind: int) -> Iterator[dict[int, bytes]]:
    try:
        for data in socket.dump(message(kind)):
            body = attributes(data)
            if string(body[1]) == TABLE:
                yield body
    except NetlinkError:  # no table of that name, as some kernels say it
        return


def _hook_of(body: Mapping[int, bytes]) -> Hook | None:
    if 4 not in body:
        return None
    at = attributes(body[4])
    (number,), (priority,) = struct.unpack("!I", at[1]), struct.unpack("!i", at[2])
    kind = string(body[7])
    accepts = int.from_bytes(body.get(5, b"\1"), "big") == _ACCEPT_POLICY
    return Hook("nat" if kind == "nat" else "filter", number, priority) if accepts else None


def _elements(encoded: Iterable[bytes]) -> Iterator[Element]:
    for one in encoded:
        body = attributes(one)
        key = attributes(body.get(1, b"")).get(1, b"")
        flags = int.from_bytes(body.get(3, b""), "big")
        verdict = attributes(attributes(body.get(2, b"")).get(2, b""))
        yield key, flags & 1, string(verdict.get(2, b""))


def reconcile(table: KernelTable | None, wanted: Wanted) -> list[Operation]:
    """What turns the kernel's table into all that is wanted; nothing if it is there already.

    A set or base chain of the right name and another make cannot be changed in place: then the table begins anew.
    """
    if table is None or _is_of_another_make(table, wanted):
        return [ResetTable(), *_differences(KernelTable(), wanted)]
    return [*_differences(table, wanted), *([WakeTable()] if table.is_dormant else [])]


def _is_of_another_make(table: KernelTable, wanted: Wanted) -> bool:
    for spec in wanted.sets:
        layout = LAYOUTS[spec.type]
        if table.sets.get(spec.name, make := (layout.key_type, layout.key_length, layout.flags)) != make:
            return True
    return any(name in table.chains and table.chains[name].hook != chain.hook for name, chain in wanted.chains.items())


def _differences(table: KernelTable, wanted: Wanted) -> Iterator[Operation]:
    names = {spec.name for spec in wanted.sets}
    yield from (AddSet(spec) for spec in wanted.sets if spec.name not in table.sets)
    changed = [
        (spec, members) for spec, members in wanted.sets.items()
        if table.elements.get(spec.name, Counter()) != _wanted_elements(spec, members)
    ]  # fmt: skip
    yield from (AddChain(chain) for name, chain in wanted.chains.items() if name not in table.chains)
    for name, chain in wanted.chains.items():
        there = table.chains[name].rules if name in table.chains else []
        if not _are_equal(chain.rules, there):
            if there:
                yield FlushChain(name)
            if chain.rules:
                yield AddRules(chain)
    for spec, members in changed:
        if table.elements.get(spec.name):
            yield FlushSet(spec)
        if members:
            yield AddElements(spec, members)
    strays = [name for name in table.chains if name not in wanted.chains]
    yield from (FlushChain(name) for name in strays)
    yield from (RemoveChain(name) for name in strays)
    yield from (RemoveSet(SetSpec(name, "protocols")) for name in table.sets if name not in names)


def _wanted_elements(spec: SetSpec, members: frozenset[str]) -> Counter[Element]:
    return Counter(_elements(next(each_attribute(one))[1] for one in elements(spec.type, members)))


def _are_equal(wanted: Sequence[Rule], there: Sequence[bytes]) -> bool:
    return len(wanted) == len(there) and all(
        rule.expressions == data or _says(data, rule.expressions) for rule, data in zip(wanted, there, strict=True)
    )


def _says(there: bytes, wanted: bytes) -> bool:
    """Report whether the kernel's expressions are the wanted ones, whatever has been counted."""
    mine, theirs = list(each_attribute(wanted)), list(each_attribute(there))
    return len(mine) == len(theirs) and all(
        found.startswith(_COUNTER) if asked.startswith(_COUNTER) else _is_expression(asked, found)
        for (_, asked), (_, found) in zip(mine, theirs, strict=True)
    )


@lru_cache(maxsize=1 << 16)
def _is_expression(asked: bytes, found: bytes) -> bool:
    mine, theirs = attributes(asked), attributes(found)
    return mine[1] == theirs.get(1) and _covers(theirs.get(2, b""), mine.get(2, b""))


def _covers(found: bytes, asked: bytes) -> bool:
    """Report whether each attribute asked for is there with the same value."""
    there = attributes(found)
    for kind, value in _raw(asked):
        other = there.get(kind & ~NESTED)
        if other is None or (not _covers(other, value) if kind & NESTED else other != value):
            return False
    return True


def _raw(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every attribute with its kind as written, the mark of nesting included."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        yield kind, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def said(operations: Sequence[Operation]) -> str:
    """What was wrong, from what mends it: one line for people; "" if nothing is."""
    words: list[str] = []
    strays = {operation.name for operation in operations if isinstance(operation, RemoveChain)}
    for operation in operations:
        match operation:
            case ResetTable():
                return f"the table inet {TABLE} is gone, or one of its sets or base chains was made anew"
            case WakeTable():
                word = f"the {told(f'inet {TABLE}')}"
            case AddSet() | AddChain():
                word = f"{describe(operation)} is missing"
            case FlushChain(name) if name in strays:
                word = f"{describe(operation)} is not ours"
            case FlushChain() | AddRules():
                word = f"{describe(operation)} has other rules"
            case FlushSet() | AddElements():
                word = f"{describe(operation)} has other members"
            case _:
                word = f"{describe(operation)} is not ours"
        about = describe(operation)
        if not any(known.startswith(f"{about} ") for known in words):
            words.append(word)
    return "; ".join(words[:_MOST_SAID]) + (f"; and {len(words) - _MOST_SAID} more" if len(words) > _MOST_SAID else "")
