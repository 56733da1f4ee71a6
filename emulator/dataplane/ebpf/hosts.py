"""Host endpoints as lists of walks for interfaces, failsafe ports as rules (HEP-1 to HEP-4, HEP-9, HEP-11). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reference.packet import PROTOCOLS
from reference.program.nets import net
from reference.program.types import Failsafe, FlowDirection, Match, NodeProgram, PolicyProgram, PortRange, ProgramRule

ALL_INTERFACES = "*"
WORKLOAD_PREFIX = "cali"
SAFE_PREFIX = "failsafe ports: "


class Lists(NamedTuple):
    """The walks of one interface and direction, by id, and the failsafe lists they are under; "" for none."""

    untracked: str = ""
    early: str = ""
    normal: str = ""
    forward: str = ""
    safe_untracked: str = ""
    safe_early: str = ""
    safe_normal: str = ""

    @property
    def walks(self) -> tuple[str, str, str, str]:
        """The ids of its walks, in the order of the map's value."""
        return self.untracked, self.early, self.normal, self.forward

    @property
    def safes(self) -> tuple[str, str, str]:
        """The ids of its failsafe lists, in the order of the map's value."""
        return self.safe_untracked, self.safe_early, self.safe_normal


def lists(program: NodeProgram, interface: str, direction: FlowDirection) -> Lists | None:
    """What guards an interface; None where nothing does. On pods' interfaces only what `*` says of all (HEP-11)."""
    own = program.host_endpoints.get(interface)
    guard = own or program.host_endpoints.get(ALL_INTERFACES)
    if guard is None:
        return None
    of_pod = interface.startswith(WORKLOAD_PREFIX)
    if direction == "ingress":
        return Lists(
            untracked=guard.untracked_ingress if own else "",  # HEP-4
            early=guard.pre_dnat,
            normal="" if of_pod else guard.ingress,
            forward=guard.forward_ingress,
            safe_untracked="in, answers too",
            safe_early="in",
            safe_normal="in, open ports too",
        )
    return Lists(
        untracked=guard.untracked_egress if own else "",
        normal="" if of_pod else guard.egress,
        forward=guard.forward_egress,
        safe_untracked="out, answers too",
        safe_normal="out, open ports too",
    )


def guarded(program: NodeProgram, interfaces: Mapping[str, int]) -> dict[str, int]:
    """The interfaces that a host endpoint guards."""
    if not program.host_endpoints:
        return {}
    return {name: index for name, index in interfaces.items() if lists(program, name, "ingress")}


def asks_for_origins(program: NodeProgram) -> bool:
    """Report whether policy looks at packets whose source may have been translated: at another pod, or on the way out.

    A workload's address need not be in a pool, so that traffic between workloads of one node is translated too.
    """
    return bool(program.nat_sources)


def safe_ports(program: NodeProgram) -> Iterator[PolicyProgram]:
    """The ports that lists leave alone, as policies whose only action is to allow; each by the id `Lists` uses."""
    if not program.host_endpoints:
        return
    ways: tuple[tuple[str, FlowDirection, tuple[Failsafe, ...], tuple[Failsafe, ...]], ...] = (
        ("in", "ingress", program.failsafes.inbound, program.failsafes.outbound),
        ("out", "egress", program.failsafes.outbound, program.failsafes.inbound),
    )
    opened = [_allow(Match(protocol=PROTOCOLS["UDP"], destination_ports=_port(port))) for port in program.open_ports]
    for name, direction, forth, back in ways:
        rules = [_allow(_match(entry, direction, answers=False)) for entry in forth]
        answers = [_allow(_match(entry, direction, answers=True)) for entry in back]
        yield _policy(name, rules)
        yield _policy(f"{name}, answers too", rules + answers)  # without tracking they are not implied (HEP-3)
        yield _policy(f"{name}, open ports too", opened + rules)  # HEP-13


def _policy(name: str, rules: list[ProgramRule]) -> PolicyProgram:
    return PolicyProgram(id=f"{SAFE_PREFIX}{name}", tier="", ingress=tuple(rules))


def _allow(match: Match) -> ProgramRule:
    return ProgramRule(action="allow", index=0, match=match)


def _match(entry: Failsafe, direction: FlowDirection, *, answers: bool) -> Match:
    peers = (entry.net,) if entry.net else ()
    return Match(
        family=net(entry.net).family if entry.net else None,
        protocol=entry.protocol,
        source_nets=peers if direction == "ingress" else (),
        destination_nets=peers if direction == "egress" else (),
        source_ports=_port(entry.port) if answers else (),
        destination_ports=() if answers else _port(entry.port),
    )


def _port(port: int) -> tuple[PortRange, ...]:
    return (PortRange(low=port, high=port),)
