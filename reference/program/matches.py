"""Matches as lists of tests, and sets as things to look an address up in; each part prepared once.

Parts are immutable and shared between programs, so what is prepared is remembered by the identity of the part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from reference.endpoints import Family
from reference.packet import PORTED
from reference.program.nets import Cover, net
from reference.program.types import IPSet, Match, PortRange

P = TypeVar("P")
V = TypeVar("V")


class Facts(NamedTuple):
    """What a rule may ask of a packet."""

    family: Family
    protocol: int
    source: str  # canonical
    source_number: int
    source_port: int
    destination: str
    destination_number: int
    destination_port: int
    icmp_type: int | None
    icmp_code: int | None


Sets = Mapping[str, IPSet]
Test = Callable[[Facts, Sets], bool]
End = Callable[[Facts], tuple[str, int, int]]  # the address, as text and number, and the port of one end


class ByIdentity(Generic[P, V]):
    """Remembers what was made of a part for as long as it remembers the part."""

    def __init__(self, make: Callable[[P], V], most: int = 100_000) -> None:
        self._make = make
        self._most = most
        self._known: dict[int, tuple[P, V]] = {}

    def __call__(self, part: P) -> V:
        """What is made of the part, made now or remembered."""
        known = self._known.get(id(part))  # the part is held, so its id is nobody else's
        if known is not None:
            return known[1]
        if len(self._known) >= self._most:
            self._known.clear()
        value = self._make(part)
        self._known[id(part)] = (part, value)
        return value


def _source(facts: Facts) -> tuple[str, int, int]:
    return facts.source, facts.source_number, facts.source_port


def _destination(facts: Facts) -> tuple[str, int, int]:
    return facts.destination, facts.destination_number, facts.destination_port


def tests(match: Match) -> tuple[Test, ...]:
    """The tests of a match, all of which must hold (RULE-1); the cheap ones first."""
    return (
        *_of_packet(match),
        *_of_ports(match.source_ports, match.source_port_sets, _source),
        *map(_not, _of_ports(match.not_source_ports, match.not_source_port_sets, _source)),
        *_of_ports(match.destination_ports, match.destination_port_sets, _destination),
        *map(_not, _of_ports(match.not_destination_ports, match.not_destination_port_sets, _destination)),
        *_of_nets(match.source_nets, _source),
        *map(_not, _of_nets(match.not_source_nets, _source)),
        *_of_nets(match.destination_nets, _destination),
        *map(_not, _of_nets(match.not_destination_nets, _destination)),
        *(_in_set(base, _source) for base in match.source_sets),
        *(_not(_in_set(base, _source)) for base in match.not_source_sets),
        *(_in_set(base, _destination) for base in match.destination_sets),
        *(_not(_in_set(base, _destination)) for base in match.not_destination_sets),
    )


def _not(test: Test) -> Test:
    return lambda facts, sets: not test(facts, sets)


def _of_packet(match: Match) -> list[Test]:
    found: list[Test] = []
    if match.family is not None:
        found.append(lambda facts, _: facts.family == match.family)
    if match.protocol is not None:
        found.append(lambda facts, _: facts.protocol == match.protocol)
    if match.not_protocol is not None:
        found.append(lambda facts, _: facts.protocol != match.not_protocol)
    if match.icmp is not None:
        found.append(_is_icmp(*match.icmp))
    if match.not_icmp is not None:
        found.append(_not(_is_icmp(*match.not_icmp)))
    return found


def _is_icmp(icmp_type: int, code: int | None) -> Test:
    return lambda facts, _: (
        facts.protocol in (1, 58) and facts.icmp_type == icmp_type and code in (None, facts.icmp_code)
    )


def _of_ports(ranges: tuple[PortRange, ...], bases: tuple[str, ...], end: End) -> list[Test]:
    """One test: the port is in a range, or address and port are in a set (RULE-5)."""
    if not ranges and not bases:
        return []
    spans = [(each.low, each.high) for each in ranges]

    def test(facts: Facts, sets: Sets) -> bool:
        address, _, port = end(facts)
        if facts.protocol in PORTED and any(low <= port <= high for low, high in spans):
            return True
        member = f"{address},{facts.protocol},{port}"
        return any(member in sets[f"{base}{facts.family}"].members for base in bases)

    return [test]


def _of_nets(nets: tuple[str, ...], end: End) -> list[Test]:
    """One test: the address is in one of the nets. A net of the other family holds no address of this one."""
    if not nets:
        return []
    parsed = [net(text) for text in nets]
    covers = {family: Cover(family, [each for each in parsed if each.family == family]) for family in (4, 6)}
    return [lambda facts, _: covers[facts.family].holds(end(facts)[1])]


def _in_set(base: str, end: End) -> Test:
    return lambda facts, sets: _members(sets[f"{base}{facts.family}"]).holds(end(facts)[1])


def _cover(ipset: IPSet) -> Cover:
    return Cover(ipset.family, map(net, ipset.members))


_members: ByIdentity[IPSet, Cover] = ByIdentity(_cover)
