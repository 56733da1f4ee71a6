"""nf_tables expressions as bytes: the smallest steps a kernel rule is made of. Pure.

Each function returns the encoded list elements of one or a few expressions; concatenated they are a rule. They are
written the way the nft program writes them, so that its listing shows the usual text ("ip saddr @x tcp dport 80").
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Literal

from emulator.nfnetlink import attribute, named, nested, text, u32
from reference.endpoints import Family

DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5
MARK, IIFNAME, OIFNAME, NFTRACE, NFPROTO, L4PROTO = 3, 6, 7, 12, 15, 16
CT_INVALID, CT_ESTABLISHED, CT_RELATED = 1, 2, 4
ADDRESS_LENGTH: dict[Family, int] = {4: 4, 6: 16}
INTERFACE_LENGTH = 16
NETWORK, TRANSPORT = 1, 2
_EQUAL, _NOT_EQUAL = 0, 1
_VERDICT = 0  # register
_FIRST = 1  # the first 16 byte data register; 4 byte ones are counted from 8
ADDRESS_AT: dict[tuple[Family, bool], int] = {(4, True): 12, (4, False): 16, (6, True): 8, (6, False): 24}

COUNTER = "counter"


def expression(name: str, *attributes: bytes) -> bytes:
    """One expression with its attributes."""
    return nested(1, named(name), nested(2, *attributes))


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(1, data))


def compared(data: bytes, *, equal: bool = True, register: int = _FIRST) -> bytes:
    """Go on if a register is, or is not, these bytes."""
    return expression("cmp", u32(1, register), u32(2, _EQUAL if equal else _NOT_EQUAL), _value(3, data))


def meta(key: int, register: int = _FIRST) -> bytes:
    """Load what the kernel knows of a packet besides its bytes."""
    return expression("meta", u32(2, key), u32(1, register))


def payload(base: int, offset: int, length: int, register: int = _FIRST) -> bytes:
    """Load bytes of the network (`NETWORK`) or transport header."""
    return expression("payload", u32(1, register), u32(2, base), u32(3, offset), u32(4, length))


def bitwise(mask: bytes, xor: bytes) -> bytes:
    """Change what is loaded: and, then exclusive or."""
    return expression("bitwise", u32(1, _FIRST), u32(2, _FIRST), u32(3, len(mask)), _value(4, mask), _value(5, xor))


def _lookup(set_name: str, *, within: bool = True) -> bytes:
    inverted = b"" if within else u32(5, 1)
    return expression("lookup", text(1, set_name), u32(2, _FIRST), inverted)


def verdict_attributes(code: int, chain: str = "") -> bytes:
    """The inside of a verdict: a code and, for jump and goto, the chain."""
    return nested(2, u32(1, code), text(2, chain) if chain else b"")


@lru_cache(maxsize=1024)
def verdict(code: int, chain: str = "") -> bytes:
    """Decide: drop, accept, return, jump or goto a chain."""
    return expression("immediate", u32(1, _VERDICT), nested(2, verdict_attributes(code, chain)))


@lru_cache(maxsize=64)
def counter() -> bytes:
    """Count packets and bytes from nought."""
    return expression(COUNTER, attribute(1, bytes(8)), attribute(2, bytes(8)))


def log(group: int, prefix: str, snaplen: int) -> bytes:
    """Hand the packet's head to NFLOG listeners at once (queue threshold 1)."""
    return expression("log", text(2, prefix), _log_to(group, snaplen))


@lru_cache(maxsize=16)
def _log_to(group: int, snaplen: int) -> bytes:
    return attribute(1, struct.pack("!H", group)) + u32(3, snaplen) + attribute(4, struct.pack("!H", 1))


@lru_cache(maxsize=64)
def family_is(family: Family) -> bytes:
    """The packet is of this IP family."""
    return meta(NFPROTO) + compared(bytes([2 if family == 4 else 10]))


@lru_cache(maxsize=1024)
def protocol_is(number: int, *, equal: bool = True) -> bytes:
    """The IP protocol is, or is not, this one."""
    return meta(L4PROTO) + compared(bytes([number]), equal=equal)


def protocol_in(set_name: str) -> bytes:
    """The IP protocol is in a set."""
    return meta(L4PROTO) + _lookup(set_name)


@lru_cache(maxsize=16384)
def address_in_prefix(family: Family, source: bool, network: bytes, prefix: int, within: bool) -> bytes:
    """The source or destination address is, or is not, in one network."""
    length = ADDRESS_LENGTH[family]
    load = payload(NETWORK, ADDRESS_AT[family, source], length)
    if prefix == length * 8:
        return load + compared(network, equal=within)
    return load + bitwise(_mask(prefix, length), bytes(length)) + compared(network, equal=within)


@lru_cache(maxsize=16384)
def address_in_set(family: Family, source: bool, set_name: str, within: bool) -> bytes:
    """The source or destination address is, or is not, in a set."""
    return payload(NETWORK, ADDRESS_AT[family, source], ADDRESS_LENGTH[family]) + _lookup(set_name, within=within)


@lru_cache(maxsize=4096)
def network_in_set(family: Family, source: bool, set_name: str, prefix: int, within: bool) -> bytes:
    """The source or destination address, cut to a prefix length, is or is not in a set."""
    length = ADDRESS_LENGTH[family]
    cut = b"" if prefix == length * 8 else bitwise(_mask(prefix, length), bytes(length))
    return payload(NETWORK, ADDRESS_AT[family, source], length) + cut + _lookup(set_name, within=within)


@lru_cache(maxsize=4096)
def address_and_port_in_set(family: Family, source: bool, set_name: str, within: bool) -> bytes:
    """(address, protocol, port) of one end is, or is not, in a set of named ports (RULE-6)."""
    length = ADDRESS_LENGTH[family]
    protocol = 8 + length // 4  # the 4 byte register after the address
    return (
        payload(NETWORK, ADDRESS_AT[family, source], length)
        + meta(L4PROTO, protocol)
        + payload(TRANSPORT, 0 if source else 2, 2, protocol + 1)
        + _lookup(set_name, within=within)
    )


@lru_cache(maxsize=16384)
def port_in_range(source: bool, low: int, high: int, within: bool) -> bytes:
    """The source or destination port is, or is not, in low..high."""
    load = payload(TRANSPORT, 0 if source else 2, 2)
    if low == high:
        return load + compared(struct.pack("!H", low), equal=within)
    ends = _value(3, struct.pack("!H", low)) + _value(4, struct.pack("!H", high))
    return load + expression("range", u32(1, _FIRST), u32(2, _EQUAL if within else _NOT_EQUAL), ends)


@lru_cache(maxsize=4096)
def port_in_set(source: bool, set_name: str, within: bool) -> bytes:
    """The source or destination port is, or is not, in a set."""
    return payload(TRANSPORT, 0 if source else 2, 2) + _lookup(set_name, within=within)


@lru_cache(maxsize=1024)
def icmp_is(icmp_type: int, code: int | None, *, equal: bool = True) -> bytes:
    """The ICMP type, and the code if given, are or are not these (RULE-3)."""
    if code is None:
        return payload(TRANSPORT, 0, 1) + compared(bytes([icmp_type]), equal=equal)
    return payload(TRANSPORT, 0, 2) + compared(bytes([icmp_type, code]), equal=equal)


def icmp_code_is_not(code: int) -> bytes:
    """The ICMP code is another one."""
    return payload(TRANSPORT, 1, 1) + compared(bytes([code]), equal=False)


def icmp_type_between(low: int, high: int) -> bytes:
    """The ICMP type is in low..high."""
    ends = _value(3, bytes([low])) + _value(4, bytes([high]))
    return payload(TRANSPORT, 0, 1) + expression("range", u32(1, _FIRST), u32(2, _EQUAL), ends)


@lru_cache(maxsize=256)
def interface_is(direction: Literal["in", "out"], prefix: str, *, equal: bool = True) -> bytes:
    """The interface name begins, or does not begin, with a prefix."""
    return meta(IIFNAME if direction == "in" else OIFNAME) + compared(prefix.encode(), equal=equal)


@lru_cache(maxsize=256)
def interface_named(direction: Literal["in", "out"], name: str) -> bytes:
    """The interface has exactly this name."""
    data = name.encode().ljust(INTERFACE_LENGTH, b"\0")
    return meta(IIFNAME if direction == "in" else OIFNAME) + compared(data)


def interface_in_set(direction: Literal["in", "out"], set_name: str) -> bytes:
    """The interface is in a set of names."""
    return meta(IIFNAME if direction == "in" else OIFNAME) + _lookup(set_name)


def interface_and_source_in_set(family: Family, set_name: str) -> bytes:
    """(input interface, source address) is in a set (CT-5)."""
    load = payload(NETWORK, ADDRESS_AT[family, True], ADDRESS_LENGTH[family], _FIRST + 1)
    return meta(IIFNAME) + load + _lookup(set_name)


def dispatch(direction: Literal["in", "out"], map_name: str) -> bytes:
    """Go where a verdict map sends the interface; no entry: on to the next rule."""
    load = meta(IIFNAME if direction == "in" else OIFNAME)
    return load + expression("lookup", text(1, map_name), u32(2, _FIRST), u32(3, _VERDICT))


@lru_cache(maxsize=64)
def mark_has(bits: int, *, present: bool = True) -> bytes:
    """At least one of these mark bits is set, or none is."""
    return meta(MARK) + bitwise(_host(bits), bytes(4)) + compared(bytes(4), equal=not present)


@lru_cache(maxsize=64)
def mark_change(*, clear: int = 0, put: int = 0) -> bytes:
    """Clear and set mark bits; the others stay."""
    keep = ~(clear | put) & 0xFFFFFFFF
    return meta(MARK) + bitwise(_host(keep), _host(put)) + expression("meta", u32(2, MARK), u32(3, _FIRST))


@lru_cache(maxsize=16)
def connection_is(states: int) -> bytes:
    """Connection tracking says one of these states."""
    load = expression("ct", u32(2, 0), u32(1, _FIRST))
    return load + bitwise(_host(states), bytes(4)) + compared(bytes(4), equal=False)


def trace() -> bytes:
    """Have the kernel report every rule this packet meets."""
    return expression("immediate", u32(1, _FIRST), _value(2, b"\1")) + expression(
        "meta", u32(2, NFTRACE), u32(3, _FIRST)
    )


def masquerade() -> bytes:
    """Translate the source to the address of the interface the packet leaves by."""
    return expression("masq")


def notrack() -> bytes:
    """Keep connection tracking away from the packet; only before it has seen it."""
    return expression("notrack")


def _mask(prefix: int, length: int) -> bytes:
    """The netmask of a prefix length, for addresses of so many bytes."""
    return (((1 << prefix) - 1) << (length * 8 - prefix)).to_bytes(length, "big")


def _host(value: int) -> bytes:
    return struct.pack("=I", value)
