"""From a Match to the matches of xtables: one rule where they can say it in one, several where they cannot. Pure.

Several are needed for more than one protocol, for more ports than `multiport` takes (15 slots, a range is two), and
for "these ports or those named ports" (RULE-5). Together they match what the Match matches (IPT-3). Lists of nets are
sets, so they need no rules of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

from emulator.dataplane.iptables.names import digest, set_name
from emulator.dataplane.iptables.parts import Content, SetSpec, SetType, Side
from emulator.dataplane.nftables.matching import merge, merge_ports
from reference.endpoints import Family
from reference.errors import EnvironmentLacksError
from reference.packet import PORTED
from reference.program.types import Match, NodeProgram, PortRange

MULTIPORT_SLOTS = 15
_ICMP: dict[Family, int] = {4: 1, 6: 58}
_HALVES: dict[str, tuple[str, str]] = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
_SIDES: tuple[Side, Side] = ("src", "dst")


def storable(nets: frozenset[str]) -> frozenset[str]:
    """The same addresses in nets that hash:net can hold: it has no place for a prefix of length 0."""
    for whole, halves in _HALVES.items():
        if whole in nets:
            nets = (nets - {whole}) | frozenset(halves)
    return nets


class Needs:
    """What the conditions refer to, gathered while they are written."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.lookups: set[tuple[SetSpec, Side]] = set()
        self.literals: set[Content] = set()

    def in_set(self, base: str, kind: SetType, side: Side, *, positive: bool) -> str:
        """Look an address, or an address and port, up in a set of the program; one it lacks exists and is empty."""
        return self._look(_set_spec(base, kind, self.family), side, positive)

    def in_nets(self, nets: Sequence[str], side: Side, *, positive: bool) -> str:
        """Look an address up in a set with these members for ever, shared by every rule that lists the same."""
        members = storable(frozenset(nets))
        spec = SetSpec(set_name(f"lit-{digest(' '.join(sorted(members)), 20)}", self.family), "hash:net")
        self.literals.add((spec, members))
        return self._look(spec, side, positive)

    def _look(self, spec: SetSpec, side: Side, positive: bool) -> str:
        self.lookups.add((spec, side))
        sides = f"{side},{side}" if spec.type == "hash:ip,port" else side
        return f"-m set {_not(positive)}--match-set {spec.name} {sides}"


@lru_cache(maxsize=65536)
def _set_spec(base: str, kind: SetType, family: Family) -> SetSpec:
    return SetSpec(set_name(base, family), kind)


def conditions(match: Match, needs: Needs) -> Iterator[str]:
    """The conditions of each kernel rule that a Match needs in a family; none when it can match nothing there."""
    if match.family not in (None, needs.family):
        return
    addresses = _addresses(match, needs)
    if addresses is None:
        return
    alternatives = (
        list(_protocols(match, needs.family)),
        _ports(match.source_ports, match.source_port_sets, "src", needs),
        _ports(match.destination_ports, match.destination_port_sets, "dst", needs),
    )
    always = [*_forbidden_ports(match, needs), *addresses]
    for chosen in product(*alternatives):
        yield " ".join([part for part in (*chosen, *always) if part])


def refuse_unsayable(program: NodeProgram) -> None:
    """Refuse a program with a rule that cannot be said, in either family, before any rule of it is written.

    Raises:
        EnvironmentLacksError: there is one.
    """
    for policy in program.policies.values():
        for rule in (*policy.ingress, *policy.egress):
            if rule.match.not_icmp is not None and rule.match.not_protocol is not None:
                for family in _ICMP:
                    list(conditions(rule.match, Needs(family)))


def _protocols(match: Match, family: Family) -> Iterator[str]:
    """The protocol conditions, one for each alternative; an ICMP protocol of the other family has none (RULE-4)."""
    if match.protocol in PORTED and match.not_protocol is None:
        yield f"-p {match.protocol}"
        return
    icmp = _ICMP[family]
    wanted: Sequence[int | None] = [match.protocol]
    if match.protocol is None:
        if match.icmp is not None:
            wanted = [icmp]
        elif _names_ports(match):
            wanted = sorted(PORTED)
    for protocol in wanted:
        if protocol is None:
            yield from _any_protocol(match, icmp)
        elif protocol not in (match.not_protocol, *(number for number in _ICMP.values() if number != icmp)):
            yield _of_protocol(match, protocol, icmp)


def _any_protocol(match: Match, icmp: int) -> Iterator[str]:
    """No protocol asked for; a packet of another protocol is not the ICMP a rule excludes (RULE-3)."""
    if match.not_icmp is None:
        yield "" if match.not_protocol is None else f"! -p {match.not_protocol}"
    elif match.not_protocol in (None, icmp):
        yield f"! -p {icmp}"
        if match.not_protocol is None:
            yield _of_protocol(match, icmp, icmp)
    else:
        raise EnvironmentLacksError(
            f"iptables cannot say 'neither protocol {match.not_protocol} nor ICMP {match.not_icmp}' in one rule; "
            "name the rule's protocol, or use the nftables dataplane"
        )


def _of_protocol(match: Match, protocol: int, icmp: int) -> str:
    found = [f"-p {protocol}"]
    if protocol == icmp:
        found.extend(
            _icmp(pair, icmp, positive) for pair, positive in ((match.icmp, True), (match.not_icmp, False)) if pair
        )
    return " ".join(found)


def _icmp(pair: tuple[int, int | None], icmp: int, positive: bool) -> str:
    icmp_type, code = pair
    module, option = ("icmp", "--icmp-type") if icmp == _ICMP[4] else ("icmp6", "--icmpv6-type")
    return f"-m {module} {_not(positive)}{option} {icmp_type}" + ("" if code is None else f"/{code}")


def _names_ports(match: Match) -> bool:
    """Report whether bytes of the transport header are read as ports: then the protocol must have some."""
    return bool(match.source_ports or match.destination_ports or match.not_source_ports or match.not_destination_ports)


def _ports(ports: Sequence[PortRange], sets: Sequence[str], side: Side, needs: Needs) -> list[str]:
    """RULE-5: numbers or named ports; each alternative is a rule of its own."""
    if not ports and not sets:
        return [""]
    option = "--sports" if side == "src" else "--dports"
    found = [f"-m multiport {option} {words}" for words in slots(ports)]
    found.extend(needs.in_set(base, "hash:ip,port", side, positive=True) for base in sets)
    return found


def _forbidden_ports(match: Match, needs: Needs) -> Iterator[str]:
    """None of these numbers and named ports: conditions of one rule, however many."""
    if not (
        match.not_source_ports
        or match.not_source_port_sets
        or match.not_destination_ports
        or match.not_destination_port_sets
    ):
        return
    for side, ports, sets in (
        ("src", match.not_source_ports, match.not_source_port_sets),
        ("dst", match.not_destination_ports, match.not_destination_port_sets),
    ):
        option = "--sports" if side == "src" else "--dports"
        for words in slots(ports):
            yield f"-m multiport ! {option} {words}"
        for base in sets:
            yield needs.in_set(base, "hash:ip,port", _SIDES[side == "dst"], positive=False)


def slots(ports: Sequence[PortRange]) -> Iterator[str]:
    """Ports in as many lists as multiport needs; every port is in one of them only."""
    begun: list[str] = []
    used = 0
    for low, high in merge_ports(ports) if len(ports) > 1 else ((port.low, port.high) for port in ports):
        size = 1 if low == high else 2
        if used + size > MULTIPORT_SLOTS:
            yield ",".join(begun)
            begun, used = [], 0
        begun.append(str(low) if low == high else f"{low}:{high}")
        used += size
    if begun:
        yield ",".join(begun)


def _addresses(match: Match, needs: Needs) -> list[str] | None:
    """The address conditions; None where a list cut down to nothing takes the rule out of the family (RULE-13)."""
    found: list[str] = []
    for side, positive, nets, sets in _asked(match):
        if nets:
            mine = merge(nets, needs.family)
            if not mine or (not positive and mine[0].endswith("/0")):
                return None
            found.append(_nets(mine, side, positive, needs))
        for base in sets:
            found.append(needs.in_set(base, "hash:net", side, positive=positive))
    return found


def _asked(match: Match) -> Iterator[tuple[Side, bool, tuple[str, ...], tuple[str, ...]]]:
    """(side, whether an address must be in them, nets, sets) of what a Match asks of addresses."""
    if match.source_nets or match.source_sets:
        yield "src", True, match.source_nets, match.source_sets
    if match.not_source_nets or match.not_source_sets:
        yield "src", False, match.not_source_nets, match.not_source_sets
    if match.destination_nets or match.destination_sets:
        yield "dst", True, match.destination_nets, match.destination_sets
    if match.not_destination_nets or match.not_destination_sets:
        yield "dst", False, match.not_destination_nets, match.not_destination_sets


def _nets(nets: Sequence[str], side: Side, positive: bool, needs: Needs) -> str:
    """One net is an option, which a rule has once for each side and so is kept for nets a packet must be in."""
    if len(nets) > 1 or not positive:
        return needs.in_nets(nets, side, positive=positive)
    return "" if nets[0].endswith("/0") else f"{'-s' if side == 'src' else '-d'} {nets[0]}"


def _not(positive: bool) -> str:
    return "" if positive else "! "
