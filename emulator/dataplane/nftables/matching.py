"""From a Match to kernel conditions: one rule where the kernel can say it in one, several where it cannot. Pure.

Several are needed for two families (an address set is of one family), for "these ports or those named ports"
(RULE-5), and for the negation of an ICMP type where the protocol is free. Together they match what the Match matches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from itertools import product
from typing import cast

from emulator.dataplane.nftables import expressions as e
from emulator.dataplane.nftables.names import set_name
from emulator.dataplane.nftables.parts import SetSpec, SetType, net_bounds
from reference.endpoints import Family
from reference.packet import PORTED
from reference.program.types import Match, PortRange

FAMILIES: tuple[Family, Family] = (4, 6)
_ICMP: dict[Family, int] = {4: 1, 6: 58}
_FAMILY_OF_ICMP: dict[int, Family] = {1: 4, 58: 6}
_LITERAL_NAME_LIMIT = 40


class Needs:
    """What the conditions refer to, gathered while they are written."""

    def __init__(self) -> None:
        self.sets: set[SetSpec] = set()
        self.literals: set[tuple[SetSpec, frozenset[str]]] = set()

    def set(self, base: str, kind: str, family: Family) -> str:
        """The kernel name of an IPSet of the packet's family; a set the program lacks exists and is empty."""
        spec = _set_spec(base, kind, family)
        self.sets.add(spec)
        return spec.name

    def literal(self, kind: SetType, members: Sequence[str]) -> str:
        """The kernel name of a set with these members for ever, shared by every rule that lists the same."""
        words = "_".join(members)
        readable = kind in ("ranges", "protocols") and len(words) <= _LITERAL_NAME_LIMIT
        digest = words if readable else hashlib.sha256(words.encode()).hexdigest()[:16]
        spec = SetSpec(f"{kind}-{digest}", kind)
        self.literals.add((spec, frozenset(members)))
        return spec.name


@lru_cache(maxsize=65536)
def _set_spec(base: str, kind: str, family: Family) -> SetSpec:
    return SetSpec(set_name(f"{base}{family}"), cast("SetType", f"{kind}{family}"))


def conditions(match: Match, needs: Needs) -> Iterator[bytes]:
    """The conditions of each kernel rule that a Match needs; none when it can match nothing."""
    if not _speaks_of_family(match):
        yield from _of_family(match, None, needs)
        return
    for family in FAMILIES:
        if _applies(match, family):
            yield from _of_family(match, family, needs)


def _nets(match: Match) -> Iterator[tuple[tuple[str, ...], bool, bool]]:
    """(nets, is source, is positive) of those of the four lists that are there."""
    if match.source_nets:
        yield match.source_nets, True, True
    if match.not_source_nets:
        yield match.not_source_nets, True, False
    if match.destination_nets:
        yield match.destination_nets, False, True
    if match.not_destination_nets:
        yield match.not_destination_nets, False, False


def _speaks_of_family(match: Match) -> bool:
    return (
        match.family is not None
        or match.protocol in _FAMILY_OF_ICMP
        or match.icmp is not None
        or match.not_icmp is not None
        or bool(match.source_sets or match.not_source_sets or match.destination_sets or match.not_destination_sets)
        or bool(match.source_nets or match.not_source_nets or match.destination_nets or match.not_destination_nets)
        or bool(match.source_port_sets or match.not_source_port_sets)
        or bool(match.destination_port_sets or match.not_destination_port_sets)
    )


def _applies(match: Match, family: Family) -> bool:
    """RULE-4 and RULE-13: a list cut down to nothing, and a negated /0, take the rule out of a family."""
    if match.family not in (None, family) or _FAMILY_OF_ICMP.get(match.protocol or 0, family) != family:
        return False
    for nets, _, positive in _nets(match):
        mine = merge(nets, family)
        if not mine or (not positive and mine[0].endswith("/0")):
            return False
    return True


@lru_cache(maxsize=4096)
def merge(nets: tuple[str, ...], family: Family) -> tuple[str, ...]:
    """The nets of one family with no overlap left: the kernel refuses overlapping intervals."""
    if family == 4:
        return tuple(map(str, collapse_addresses(IPv4Network(net, strict=False) for net in nets if ":" not in net)))
    return tuple(map(str, collapse_addresses(IPv6Network(net, strict=False) for net in nets if ":" in net)))


def merge_ports(ports: Sequence[PortRange]) -> tuple[tuple[int, int], ...]:
    """Port ranges in order with no overlap or touching left."""
    if len(ports) == 1:
        return ((ports[0].low, ports[0].high),)
    merged: list[tuple[int, int]] = []
    for low, high in sorted((port.low, port.high) for port in ports):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _of_family(match: Match, family: Family | None, needs: Needs) -> Iterator[bytes]:
    fixed = b"".join(_fixed(match, family, needs))
    options = (
        _not_icmp(match, family),
        _ports(match.source_ports, match.source_port_sets, family, True, needs),
        _ports(match.destination_ports, match.destination_port_sets, family, False, needs),
    )
    for choice in product(*filter(None, options)):
        yield fixed + b"".join(choice)


def _fixed(match: Match, family: Family | None, needs: Needs) -> Iterator[bytes]:
    """The conditions that every alternative shares, the cheap ones first."""
    if family is not None:
        yield e.family_is(family)
    yield from _protocol(match, family, needs)
    if match.not_source_ports or match.not_source_port_sets:
        yield from _forbidden_ports(match.not_source_ports, match.not_source_port_sets, family, True, needs)
    if match.not_destination_ports or match.not_destination_port_sets:
        yield from _forbidden_ports(match.not_destination_ports, match.not_destination_port_sets, family, False, needs)
    if family is not None:
        yield from _addresses(match, family, needs)


def _protocol(match: Match, family: Family | None, needs: Needs) -> Iterator[bytes]:
    if match.protocol is not None:
        yield e.protocol_is(match.protocol)
    elif match.icmp is not None and family is not None:
        yield e.protocol_is(_ICMP[family])
    elif _names_ports(match):
        yield e.protocol_in(needs.literal("protocols", [str(number) for number in sorted(PORTED)]))
    if match.not_protocol is not None:
        yield e.protocol_is(match.not_protocol, equal=False)
    if match.icmp is not None:
        yield e.icmp_is(*match.icmp)


def _names_ports(match: Match) -> bool:
    """Report whether bytes of the transport header are read as ports: then the protocol must have some."""
    return bool(match.source_ports or match.destination_ports or match.not_source_ports or match.not_destination_ports)


def _not_icmp(match: Match, family: Family | None) -> list[bytes]:
    """RULE-3: the pair is negated; where the protocol is free, a packet of another protocol is not that ICMP."""
    if match.not_icmp is None or family is None:
        return []
    icmp_type, code = match.not_icmp
    others = [e.icmp_is(icmp_type, None, equal=False)]
    if code is not None:
        others.append(e.icmp_is(icmp_type, None) + e.icmp_code_is_not(code))
    if match.protocol == _ICMP[family]:
        return others
    if match.protocol is not None:
        return []
    is_icmp = e.protocol_is(_ICMP[family])
    return [e.protocol_is(_ICMP[family], equal=False), *(is_icmp + other for other in others)]


def _ports(
    ports: Sequence[PortRange], sets: Sequence[str], family: Family | None, source: bool, needs: Needs
) -> list[bytes]:
    """RULE-5: numbers or named ports; each alternative is a rule of its own; none where nothing is asked."""
    options = []
    if ports:
        options.append(_in_ports(ports, source, True, needs))
    if family is not None:
        for base in sets:
            options.append(e.address_and_port_in_set(family, source, needs.set(base, "ports", family), True))
    return options


def _forbidden_ports(
    ports: Sequence[PortRange], sets: Sequence[str], family: Family | None, source: bool, needs: Needs
) -> Iterator[bytes]:
    if ports:
        yield _in_ports(ports, source, False, needs)
    if family is not None:
        for base in sets:
            yield e.address_and_port_in_set(family, source, needs.set(base, "ports", family), False)


def _in_ports(ports: Sequence[PortRange], source: bool, within: bool, needs: Needs) -> bytes:
    merged = merge_ports(ports)
    if len(merged) == 1:
        return e.port_in_range(source, *merged[0], within)
    words = [str(low) if low == high else f"{low}-{high}" for low, high in merged]
    return e.port_in_set(source, needs.literal("ranges", words), within)


def _addresses(match: Match, family: Family, needs: Needs) -> Iterator[bytes]:
    for nets, source, positive in _nets(match):
        mine = merge(nets, family)
        if len(mine) == 1:
            _, network, prefix = net_bounds(mine[0])
            if prefix:
                yield e.address_in_prefix(family, source, network, prefix, positive)
        elif mine:
            kind: SetType = "nets4" if family == 4 else "nets6"
            yield e.address_in_set(family, source, needs.literal(kind, mine), positive)
    for sets, source, positive in _sets(match):
        for base in sets:
            yield e.address_in_set(family, source, needs.set(base, "nets", family), positive)


def _sets(match: Match) -> Iterator[tuple[tuple[str, ...], bool, bool]]:
    """(sets, is source, is positive) of those of the four lists that are there."""
    if match.source_sets:
        yield match.source_sets, True, True
    if match.not_source_sets:
        yield match.not_source_sets, True, False
    if match.destination_sets:
        yield match.destination_sets, False, True
    if match.not_destination_sets:
        yield match.not_destination_sets, False, False
