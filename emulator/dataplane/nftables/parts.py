"""What the table is made of: sets with their members, chains with their rules. Plain data and its encoding. Pure."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

import msgspec

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.nftables import expressions
from emulator.nfnetlink import PADDING, attribute, nested, u32
from reference.endpoints import Family

SetType = Literal[
    "nets4", "nets6",  # CIDR strings
    "networks4", "networks6",  # CIDR strings of one length
    "ports4", "ports6",  # "address,protocol,port"
    "ranges",  # "low-high" or "port"
    "protocols",  # "6"
    "interfaces",  # "cali0123"
    "sources4", "sources6",  # "cali0123,address"
    "verdicts",  # "cali0123,chain": goto that chain
]  # fmt: skip


class Layout(msgspec.Struct, frozen=True):
    """How the kernel sees a set type: nft's number for the key type, the key's length, the set's flags."""

    key_type: int
    key_length: int
    flags: int = 0


_ADDRESS4, _ADDRESS6, _PROTOCOL, _SERVICE, _INTERFACE = 7, 8, 12, 13, 41
_INTERVAL, _MAP = 0x4, 0x8
_INTERVAL_END = u32(3, 1)


def _concatenated(*types: int) -> int:
    number = 0
    for one in types:
        number = number << 6 | one
    return number


LAYOUTS: dict[SetType, Layout] = {
    "nets4": Layout(_ADDRESS4, 4, _INTERVAL),
    "nets6": Layout(_ADDRESS6, 16, _INTERVAL),
    "networks4": Layout(_ADDRESS4, 4),
    "networks6": Layout(_ADDRESS6, 16),
    "ports4": Layout(_concatenated(_ADDRESS4, _PROTOCOL, _SERVICE), 12),
    "ports6": Layout(_concatenated(_ADDRESS6, _PROTOCOL, _SERVICE), 24),
    "ranges": Layout(_SERVICE, 2, _INTERVAL),
    "protocols": Layout(_PROTOCOL, 1),
    "interfaces": Layout(_INTERFACE, 16),
    "sources4": Layout(_concatenated(_INTERFACE, _ADDRESS4), 20),
    "sources6": Layout(_concatenated(_INTERFACE, _ADDRESS6), 32),
    "verdicts": Layout(_INTERFACE, 16, _MAP),
}


class SetSpec(msgspec.Struct, frozen=True, gc=False):
    """A set of the table; its members are kept apart, for they change."""

    name: str
    type: SetType


class Rule(msgspec.Struct, frozen=True, gc=False):
    """One kernel rule. `ref` is what it stands for; None for plumbing."""

    expressions: bytes
    comment: str
    ref: RuleRef | None = None


class Hook(msgspec.Struct, frozen=True):
    """Where a base chain is attached; its policy is always accept."""

    type: Literal["filter", "nat"]
    number: int
    priority: int


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain with everything its rules refer to.

    `sets` must exist; they are filled by others. `literals` exist because of the rules, with these very members, and
    `groups` because of jumps to them; `jumps` are those to chains that parts of the program are behind.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None
    sets: frozenset[SetSpec] = frozenset()
    literals: frozenset[tuple[SetSpec, frozenset[str]]] = frozenset()
    jumps: frozenset[str] = frozenset()
    groups: tuple[Chain, ...] = ()

    @property
    def key(self) -> str:
        """Its name: there is one table."""
        return self.name

    @property
    def jump_keys(self) -> frozenset[str]:
        """The names of the chains jumped to."""
        return self.jumps

    @property
    def reads(self) -> Iterator[tuple[SetSpec, frozenset[str], str]]:
        """Every set its rules look into, with its members if it is a literal; on which side is no matter."""
        yield from ((spec, members, "") for spec, members in self.literals)
        yield from ((spec, frozenset(), "") for spec in self.sets)


def elements(kind: SetType, members: Iterable[str], *, removing: bool = False) -> Iterator[bytes]:
    """The encoded elements of members, in a canonical order; an interval is two, its start and its end."""
    if kind == "verdicts":
        for member in sorted(members):
            interface, _, chain = member.partition(",")
            yield _element(_interface(interface), b"" if removing else _goto(chain))
        return
    if LAYOUTS[kind].flags & _INTERVAL:
        for start, after in sorted(_interval(kind, member) for member in members):
            yield _element(start)
            if after:
                yield _element(after, _INTERVAL_END)
        return
    if kind in ("networks4", "networks6"):
        yield from map(_element, sorted(address_bytes(member.partition("/")[0]) for member in members))
        return
    for member in sorted(members):
        yield _element(_key(kind, member))


@lru_cache(maxsize=4096)
def net_bounds(net: str) -> tuple[Family, bytes, int]:
    """Family, network address and prefix length of a CIDR string or bare address; host bits are cleared."""
    address, _, prefix = net.partition("/")
    family: Family = 6 if ":" in address else 4
    data = address_bytes(address)
    bits = len(data) * 8
    length = int(prefix) if prefix else bits
    number = int.from_bytes(data, "big") >> (bits - length) << (bits - length)
    return family, number.to_bytes(len(data), "big"), length


def address_bytes(address: str) -> bytes:
    """An address in network order."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _element(key: bytes, rest: bytes = b"") -> bytes:
    return _start(len(key), len(rest)) + key + PADDING[len(key) & 3] + rest


@lru_cache(maxsize=256)
def _start(key: int, rest: int) -> bytes:
    """All that comes before a key of so many bytes, and so many bytes after it."""
    whole = nested(1, nested(1, attribute(1, bytes(key))), bytes(rest))
    return whole[: len(whole) - rest - len(PADDING[key & 3]) - key]


@lru_cache(maxsize=4096)
def _goto(chain: str) -> bytes:
    return nested(2, expressions.verdict_attributes(expressions.GOTO, chain))


def _interval(kind: SetType, member: str) -> tuple[bytes, bytes]:
    """(start, first key after the end); the second is empty when the interval reaches the last key there is."""
    if kind == "ranges":
        low, _, high = member.partition("-")
        first, last, length = int(low), int(high or low), 2
    else:
        _, network, prefix = net_bounds(member)
        length = len(network)
        first = int.from_bytes(network, "big")
        last = first + (1 << (length * 8 - prefix)) - 1
    after = last + 1
    end = after.to_bytes(length, "big") if after < 1 << (length * 8) else b""
    return first.to_bytes(length, "big"), end


def _key(kind: SetType, member: str) -> bytes:
    if kind == "protocols":
        return bytes([int(member)])
    if kind == "interfaces":
        return _interface(member)
    first, _, rest = member.partition(",")
    if kind in ("sources4", "sources6"):
        return _interface(first) + address_bytes(rest)
    protocol, _, port = rest.partition(",")
    return address_bytes(first) + bytes([int(protocol), 0, 0, 0]) + struct.pack("!Hxx", int(port))


def _interface(name: str) -> bytes:
    return name.encode().ljust(expressions.INTERFACE_LENGTH, b"\0")
