"""All pairs × ports, answered by the oracle's own walk once per pair of equivalence classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reference.analysis.classes import Columns, facing, rules_in_question
from reference.analysis.table import Matrix, bits_of
from reference.endpoints import Family
from reference.naming import addresses_of, packet_between, parse_port
from reference.packet import PORTED, protocol_number
from reference.policy.oracle import answer
from reference.policy.peers import Party
from reference.policy.question import End, Question, ask
from reference.policy.verdict import SideName
from reference.policy.view import View, Way, view_of
from reference.policy.walk import walk
from reference.state import State

Parties = dict[End, tuple[Party | None, ...]]  # by place; None where a name has no address of the family
_FAMILIES: tuple[Family, ...] = (4, 6)
_POLICED: dict[SideName, End] = {"egress": "source", "ingress": "destination"}


def matrix(
    state: State,
    ports: Iterable[str] = ("80/TCP",),
    sources: Iterable[str] | None = None,
    destinations: Iterable[str] | None = None,
) -> Matrix:
    """Who may open a flow to whom: every source × destination × port ("80/TCP", "53/UDP", "ICMP").

    Sources and destinations default to every pod; any name `addresses_of` knows is welcome. IPv4 is used when both
    ends have it, else IPv6.

    Raises:
        InvalidInputError: a name or a port is not understood.
    """
    everyone = tuple("/".join(key) for key in sorted(state.endpoints))
    names: dict[End, tuple[str, ...]] = {
        "source": everyone if sources is None else tuple(dict.fromkeys(sources)),
        "destination": everyone if destinations is None else tuple(dict.fromkeys(destinations)),
    }
    wanted = dict(map(_labelled, ports))
    view = view_of(state)
    crowds = _crowds(view, names)
    rows = {label: _rows(view, crowds, len(names["source"]), port) for label, port in wanted.items()}
    whole = (1 << len(names["destination"])) - 1
    apart = tuple(whole & ~sum(crowd.pairs[row] for crowd in crowds) for row in range(len(names["source"])))
    return Matrix(names["source"], names["destination"], tuple(wanted), rows, apart)


@dataclass(frozen=True, slots=True, eq=False)
class _Crowd:
    """Those who talk over one address family."""

    family: Family
    parties: Parties
    present: dict[End, int]  # masks of those who have such an address
    pairs: tuple[int, ...]  # for each source, the destinations it talks to over this family
    ways: dict[SideName, dict[Way, int]]  # who is policed by which way
    columns: Columns


def _crowds(view: View, names: dict[End, tuple[str, ...]]) -> list[_Crowd]:
    """IPv4 for pairs that both have it, IPv6 for the rest that can."""
    taken = [0] * len(names["source"])
    crowds = []
    for family in _FAMILIES:
        parties: Parties = {end: tuple(_party(view, family, name) for name in names[end]) for end in names}
        present = {end: _mask(party is not None for party in parties[end]) for end in parties}
        pairs = [
            present["destination"] & ~used if party is not None else 0
            for used, party in zip(taken, parties["source"], strict=True)
        ]
        taken = [old | new for old, new in zip(taken, pairs, strict=True)]
        if any(pairs):
            ways = {direction: _ways(view, direction, parties[end]) for direction, end in _POLICED.items()}
            crowds.append(_Crowd(family, parties, present, tuple(pairs), ways, Columns(parties)))
    return crowds


def _ways(view: View, direction: SideName, parties: tuple[Party | None, ...]) -> dict[Way, int]:
    groups: dict[Way, int] = {}
    for place, party in enumerate(parties):
        if party is not None and party.endpoint is not None:
            way = view.way(party.endpoint, direction)
            groups[way] = groups.get(way, 0) | 1 << place
    return groups


def _rows(view: View, crowds: list[_Crowd], count: int, port: tuple[int, str]) -> tuple[int, ...]:
    """For every source, the destinations it may reach on a port."""
    total = [0] * count
    for crowd in crowds:
        question = _first_question(view, crowd, port)
        rows = _policed_rows(view, crowd, question)
        _settle_by_hand(view, crowd, question, rows)
        total = [known | row & pairs for known, row, pairs in zip(total, rows, crowd.pairs, strict=True)]
    return tuple(total)


def _policed_rows(view: View, crowd: _Crowd, question: Question) -> list[int]:
    """What both ends leave: a source's node and its own egress policy, and the ingress policy of each destination."""
    rows = [-1] * len(crowd.parties["source"])
    for direction, groups in crowd.ways.items():
        for way, users in groups.items():
            concerned = users if direction == "ingress" else -1
            for sources, reachable in _class_rows(crowd, way, users, question):
                closed = concerned & ~reachable
                if closed:
                    for row in bits_of(sources):
                        rows[row] &= ~closed
    for place, party in enumerate(crowd.parties["source"]):
        if party is not None and party.endpoint is not None and view.hosts.encapsulation(party.endpoint.node, question):
            rows[place] = 0
    return rows


def _class_rows(crowd: _Crowd, way: Way, users: int, question: Question) -> Iterable[tuple[int, int]]:
    """For every class of sources, the destinations this way lets them reach: one walk per pair of classes."""
    members = {**crowd.present, _POLICED[way.direction]: users}
    rules = rules_in_question(way, question)
    destinations = crowd.columns.partition(members["destination"], rules, "destination", question)
    for sources in crowd.columns.partition(members["source"], rules, "source", question):
        asked = facing(question, "source", _any(crowd, "source", sources))
        reachable = 0
        for group in destinations:
            if walk(way, facing(asked, "destination", _any(crowd, "destination", group))):
                reachable |= group
        yield sources, reachable


def _settle_by_hand(view: View, crowd: _Crowd, question: Question, rows: list[int]) -> None:
    """Pairs whose verdict is not simply both ends' policies: a pod and itself, and all with an end that is no pod.

    So are those with a workload outside every pool, which may see another source than the pod (NAT-1). Where there are
    host endpoints that is every pair, for they stand between pods too.
    """
    own: dict[str, int] = {}  # by name: the destinations that are this very pod; "" for all that are none
    for place, party in enumerate(crowd.parties["destination"]):
        if party is not None:
            name = "" if view.hosts.translates_to(party) else _pod(party)
            own[name] = own.get(name, 0) | 1 << place
    for row, party in enumerate(crowd.parties["source"]):
        if party is None:
            continue
        by_hand = own.get("", 0) | own.get(_pod(party), 0) if _pod(party) and not view.hosts else crowd.pairs[row]
        asked = facing(question, "source", party)
        for place in bits_of(by_hand & crowd.pairs[row]):
            bit = 1 << place
            fine = answer(view, facing(asked, "destination", _any(crowd, "destination", bit)))
            rows[row] = rows[row] | bit if fine else rows[row] & ~bit


def _first_question(view: View, crowd: _Crowd, port: tuple[int, str]) -> Question:
    """The packet of a port, between any two; the ends are put in later."""
    number, protocol = port
    source, destination = (_any(crowd, end, crowd.present[end]).address for end in crowd.present)
    return ask(view.peers, packet_between(view.state, source, destination, protocol, number or 1, crowd.family))


def _party(view: View, family: Family, name: str) -> Party | None:
    found = (address for address in addresses_of(view.state, name) if (":" in address) == (family == 6))
    address = next(found, None)
    return None if address is None else view.peers.at(address)


def _any(crowd: _Crowd, end: End, members: int) -> Party:
    """One of the members: they are all the same to the walk."""
    party = crowd.parties[end][(members & -members).bit_length() - 1]
    assert party is not None, "classes are made of those present"
    return party


def _pod(party: Party) -> str:
    return "" if party.endpoint is None else party.endpoint.name


def _mask(flags: Iterable[bool]) -> int:
    return sum(1 << place for place, flag in enumerate(flags) if flag)


def _labelled(text: str) -> tuple[str, tuple[int, str]]:
    """A port as the matrix names it, and what it means. ICMP is each family's own."""
    number, protocol = parse_port(text)
    if protocol_number(protocol) in PORTED:
        return f"{number}/{protocol}", (number, protocol)
    name = "ICMP" if protocol == "ICMPv6" else protocol
    return name, (number, name)
