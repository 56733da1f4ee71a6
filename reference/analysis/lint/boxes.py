"""What a rule matches, as boxes of header space: the ground on which "never decides" is proved.

A box is a product: one set of numbers for each header field, and conditions on who stands behind the two addresses. A
rule is a union of boxes. `covered` takes boxes of earlier rules away from a box, field by field; one is only taken away
when each of its conditions follows from one of the box's own, so what is left is never too little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import product
from typing import Literal

from reference.analysis.lint.implication import implies, satisfiable
from reference.analysis.lint.labels import EVERYTHING, entity_scope, peer_scope
from reference.analysis.lint.spans import Spans, common, spans, without
from reference.endpoints import Family
from reference.packet import protocol_number
from reference.resources.calico import EntityRule, ICMPFields, Rule
from reference.resources.kubernetes import PolicyPeer, PolicyPort
from reference.selectors import Node

End = Literal["source", "destination"]
Way = Literal["ingress", "egress"]
FAMILIES: tuple[Family, ...] = (4, 6)

ALL_PROTOCOLS: Spans = ((0, 255),)
ALL_ICMP: Spans = ((-1, 65535),)  # type * 256 + code; -1: a packet without a type
ALL_PORTS: Spans = ((0, 65535),)
ALL_ADDRESSES: dict[Family, Spans] = {4: ((0, 2**32 - 1),), 6: ((0, 2**128 - 1),)}
_IMPLIED: dict[int, Family] = {1: 4, 58: 6}  # RULE-4
_MOST_PIECES = 400  # of a box, before giving up


@dataclass(frozen=True, slots=True)
class Owned:
    """The address belongs to someone that matches."""

    end: End
    who: Node


@dataclass(frozen=True, slots=True)
class NotOwned:
    """The address belongs to nobody that matches: a lone notSelector (RULE-7)."""

    end: End
    who: Node


@dataclass(frozen=True, slots=True)
class Named:
    """Someone that matches declares the port under one of the names (RULE-6)."""

    end: End
    who: Node
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class NotNamed:
    """Nobody that matches declares the port under one of the names."""

    end: End
    who: Node
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Backend:
    """The address is one of a service's endpoints (RULE-12)."""

    end: End
    service: str


Condition = Owned | NotOwned | Named | NotNamed | Backend


@dataclass(frozen=True, slots=True)
class Box:
    """A product of header fields and conditions, for one address family."""

    family: Family
    protocols: Spans = ALL_PROTOCOLS
    icmp: Spans = ALL_ICMP
    source_ports: Spans = ALL_PORTS
    destination_ports: Spans = ALL_PORTS
    sources: Spans = ()
    destinations: Spans = ()
    conditions: frozenset[Condition] = frozenset()

    @property
    def numbers(self) -> tuple[Spans, ...]:
        """The header fields."""
        return (
            self.protocols, self.icmp, self.source_ports, self.destination_ports, self.sources, self.destinations,
        )  # fmt: skip

    @property
    def is_empty(self) -> bool:
        """Report whether some header field leaves nothing."""
        return not all(self.numbers)

    @property
    def is_whole(self) -> bool:
        """Report whether every packet of the family is in it."""
        whole = Box(self.family, sources=ALL_ADDRESSES[self.family], destinations=ALL_ADDRESSES[self.family])
        return not self.conditions and self.numbers == whole.numbers


def rule_boxes(rule: Rule, namespace: str) -> list[Box]:
    """A Calico rule; `http` is not seen (RULE-15). Boxes that hold nothing are left out."""
    return [box for family in FAMILIES for box in _family_boxes(rule, namespace, family) if not box.is_empty]


def _family_boxes(rule: Rule, namespace: str, family: Family) -> Iterator[Box]:
    if rule.ip_version not in (None, family):
        return
    protocols = _protocols(rule, family)
    sides = [list(_side(rule, end, namespace, family)) for end in ("source", "destination")]
    for (ports, nets, found), (other_ports, other_nets, other_found) in product(*sides):
        yield Box(
            family, protocols, _icmp(rule), ports, other_ports, nets, other_nets,
            frozenset((*found, *other_found)),
        )  # fmt: skip


def _protocols(rule: Rule, family: Family) -> Spans:
    found = ALL_PROTOCOLS
    if rule.protocol is not None:
        number = protocol_number(rule.protocol)
        found = ((number, number),) if _IMPLIED.get(number, family) == family else ()
    if rule.not_protocol is not None:
        number = protocol_number(rule.not_protocol)
        found = without(found, ((number, number),))
    return found


def _icmp(rule: Rule) -> Spans:
    found = ALL_ICMP if rule.icmp is None else _icmp_spans(rule.icmp)
    return found if rule.not_icmp is None else without(found, _icmp_spans(rule.not_icmp))


def _icmp_spans(fields: ICMPFields) -> Spans:
    """RULE-3: a type alone, or a type and a code; only given beside protocol ICMP or ICMPv6."""
    if fields.type is None:
        return ALL_ICMP
    first = fields.type * 256
    return ((first, first + 255),) if fields.code is None else ((first + fields.code, first + fields.code),)


def _side(rule: Rule, end: End, namespace: str, family: Family) -> Iterator[tuple[Spans, Spans, tuple[Condition, ...]]]:
    """The ports, addresses and conditions of one side: one alternative for ports by number, one for ports by name."""
    entity: EntityRule = rule.source if end == "source" else rule.destination
    nets = _nets(entity, family)
    who, lone_not = entity_scope(entity, namespace)
    holders = EVERYTHING if who is None else who
    conditions: list[Condition] = [] if who is None else [Owned(end, who)]
    if lone_not is not None:
        conditions.append(NotOwned(end, lone_not))
    if entity.services is not None:
        conditions.append(Backend(end, f"{entity.services.namespace or namespace}/{entity.services.name}"))
    excluded, excluded_names = split_ports(entity.not_ports)
    if excluded_names:
        conditions.append(NotNamed(end, holders, excluded_names))
    allowed = without(ALL_PORTS, excluded)
    included, names = split_ports(entity.ports)
    if included or not entity.ports:
        yield (common(allowed, included) if entity.ports else allowed), nets, tuple(conditions)
    if names:
        yield allowed, nets, (*conditions, Named(end, holders, names))


def _nets(entity: EntityRule, family: Family) -> Spans:
    """The addresses of one family; none when a list, positive or negated, says nothing of the family (RULE-13)."""
    found = ALL_ADDRESSES[family]
    if entity.nets:
        found = common(found, net_spans(entity.nets, family))
    if entity.not_nets:
        excluded = net_spans(entity.not_nets, family)
        found = without(found, excluded) if excluded else ()
    return found


def net_spans(texts: Iterable[str], family: Family) -> Spans:
    """The addresses of the CIDRs of one family."""
    nets = [ip_network(text, strict=False) for text in texts]
    return spans((int(net[0]), int(net[-1])) for net in nets if net.version == family)


def split_ports(entries: tuple[int | str, ...]) -> tuple[Spans, frozenset[str]]:
    """The numbers of a port list, and its names (RULE-5)."""
    numbers, names = [], set()
    for text in map(str, entries):
        low, _, high = text.partition(":")
        if low.isdigit() and (not high or high.isdigit()):
            numbers.append((int(low), int(high or low)))
        else:
            names.add(text)
    return spans(numbers), frozenset(names)


def kubernetes_boxes(
    peers: tuple[PolicyPeer, ...] | None, ports: tuple[PolicyPort, ...] | None, namespace: str, way: Way
) -> list[Box]:
    """A Kubernetes rule: any of its peers on any of its ports (K8S-9, K8S-10)."""
    found = (
        box
        for family in FAMILIES
        for peer in peers or (None,)
        for port in ports or (None,)
        for box in (_kubernetes_box(family, peer, port, namespace, way),)
    )
    return [box for box in found if not box.is_empty]


def _kubernetes_box(family: Family, peer: PolicyPeer | None, port: PolicyPort | None, namespace: str, way: Way) -> Box:
    far: End = "source" if way == "ingress" else "destination"
    who = None if peer is None else peer_scope(peer, namespace)
    addresses = ALL_ADDRESSES[family]
    if peer is not None and peer.ip_block is not None:
        addresses = without(net_spans((peer.ip_block.cidr,), family), net_spans(peer.ip_block.except_, family))
    if port is None:
        return peer_box(family, far, who, addresses, (None, ALL_PORTS, ""))
    number = protocol_number(port.protocol)
    numbers, name = ALL_PORTS, ""
    if isinstance(port.port, int):
        numbers = ((port.port, port.end_port or port.port),)
    elif port.port is not None:
        name = port.port
    return peer_box(family, far, who, addresses, (((number, number),), numbers, name))


def peer_box(
    family: Family,
    far: End,
    who: Node | None,
    addresses: Spans,
    port: tuple[Spans | None, Spans, str],
    anybody: Node = EVERYTHING,
) -> Box:
    """One peer at the far end on one destination port: protocol (None: any), numbers, and a name or none.

    A name is what those at the destination declare whom the peer picks, if it is there, or `anybody` (RULE-6).
    """
    protocols, numbers, name = port
    conditions: set[Condition] = set() if who is None else {Owned(far, who)}
    if name:
        holders = who if who is not None and far == "destination" else anybody
        conditions.add(Named("destination", holders, frozenset({name})))
    everywhere = ALL_ADDRESSES[family]
    return Box(
        family,
        protocols=ALL_PROTOCOLS if protocols is None else protocols,
        destination_ports=numbers,
        sources=addresses if far == "source" else everywhere,
        destinations=everywhere if far == "source" else addresses,
        conditions=frozenset(conditions),
    )


def covered(box: Box, others: Iterable[Box]) -> bool:
    """Report whether everything in a box is certainly in one of the others."""
    pieces = [box.numbers]
    for other in others:
        if other.family != box.family or not conditions_follow(box, other):
            continue
        pieces = [part for piece in pieces for part in _minus(piece, other.numbers)]
        if not pieces:
            return True
        if len(pieces) > _MOST_PIECES:
            return False
    return False


def _minus(piece: tuple[Spans, ...], other: tuple[Spans, ...]) -> Iterator[tuple[Spans, ...]]:
    """What is left of a product without another: one product per field that sticks out."""
    head: tuple[Spans, ...] = ()
    rest = piece
    if not all(common(mine, theirs) for mine, theirs in zip(piece, other, strict=True)):
        yield piece
        return
    for theirs in other:
        outside = without(rest[0], theirs)
        if outside:
            yield (*head, outside, *rest[1:])
        head, rest = (*head, common(rest[0], theirs)), rest[1:]


def conditions_follow(box: Box, other: Box) -> bool:
    """Report whether each condition of the other is implied by one of the box's."""
    return all(any(_follows(mine, theirs) for mine in box.conditions) for theirs in other.conditions)


def _follows(mine: Condition, theirs: Condition) -> bool:
    if mine == theirs:
        return True
    if mine.end != theirs.end:
        return False
    match mine, theirs:
        case ((Owned() | Named()), Owned()):
            return implies(mine.who, theirs.who)
        case Named(), Named():
            return mine.names <= theirs.names and implies(mine.who, theirs.who)
        case NotOwned(), NotOwned():
            return implies(theirs.who, mine.who)
        case NotNamed(), NotNamed():
            return theirs.names <= mine.names and implies(theirs.who, mine.who)
        case _:
            return False


def may_overlap(one: Box, other: Box) -> bool:
    """Report whether a packet may be in both boxes, as far as their header fields say."""
    if one.family != other.family:
        return False
    return all(common(mine, theirs) for mine, theirs in zip(one.numbers, other.numbers, strict=True))


def is_possible(box: Box) -> bool:
    """Report whether any labels could satisfy the box's conditions."""
    return all(satisfiable(part.who) for part in box.conditions if isinstance(part, Owned | Named))
