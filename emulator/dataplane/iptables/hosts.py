"""Host endpoints: the lists that guard the machine itself, by hook. Pure.

Every root chain is always there, and empty while nothing guards the machine; the fixed chains jump to it. An early list
that accepts leaves the ACCEPT mark for the chains behind it (HEP-5, HEP-6).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from emulator.dataplane.iptables.chains import ACCEPTED, CLEAR, guard_rules, policy_chains, walk_to_chain
from emulator.dataplane.iptables.matching import slots
from emulator.dataplane.iptables.names import WORKLOAD_PREFIX, chain_name, walk_chain
from emulator.dataplane.iptables.parts import Chain, Rule, Table
from reference.endpoints import Family
from reference.program.types import Failsafe, FlowDirection, HostEndpointProgram, NodeProgram, PortRange

ALL_INTERFACES = "*"
FROM_UNTRACKED, FROM_HOST = "cali-from-hep-untracked", "cali-from-host-endpoint"
FROM_FORWARD, TO_FORWARD = "cali-from-hep-forward", "cali-to-hep-forward"
NEIGHBOURS = (130, 131, 132, 133, 135, 136)
_EARLY: tuple[Table, Table] = ("raw", "mangle")
_RETURN_ESTABLISHED = Rule("-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN", "established and related (CT-2)")
_ESTABLISHED = Rule("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "established and related (CT-2)")
_INVALID = "-m conntrack --ctstate INVALID"


def link_rules(family: Family, target: str) -> tuple[Rule, ...]:
    """What neighbours on a link must say to each other (HEP-12)."""
    if family == 4:
        return ()
    words = "listeners and neighbours on the link"
    return tuple(Rule(f"-p 58 -m icmp6 --icmpv6-type {number} -j {target}", words) for number in NEIGHBOURS)


def host_chains(program: NodeProgram, family: Family) -> tuple[Chain, ...]:
    """The root chains of all hooks, with what the machine's host endpoints need behind them."""
    by_name = sorted(program.host_endpoints.items(), key=lambda item: (item[0] == ALL_INTERFACES, item[0]))
    return (*_Machine(program, [guard for _, guard in by_name], family).chains(), *_early_chains(program, family))


def _early_chains(program: NodeProgram, family: Family) -> Iterator[Chain]:
    """A table has only chains of its own: walks of early lists, and their policies, are in those tables as well."""
    wanted: dict[Table, set[str]] = {table: set() for table in _EARLY}
    for guard in program.host_endpoints.values():
        wanted["raw"].update({guard.untracked_ingress, guard.untracked_egress} - {""})
        wanted["mangle"].update({guard.pre_dnat} - {""})
    for table, ids in wanted.items():
        policies: set[str] = set()
        for walk in (program.walks[walk_id] for walk_id in sorted(ids)):
            yield walk_to_chain(walk, table)
            policies.update(walk.profiles, *(tier.policies for tier in walk.tiers))
        for policy_id in sorted(policies & set(program.policies)):
            yield from policy_chains(program.policies[policy_id], family, table)


class _Machine:
    """The chains of one machine."""

    def __init__(self, program: NodeProgram, guards: list[HostEndpointProgram], family: Family) -> None:
        self._guards, self._family, self._failsafes = guards, family, program.failsafes
        self._open = tuple(
            Rule(f"-p 17 -m multiport --dports {port} -j ACCEPT", "WireGuard (HEP-13)") for port in program.open_ports
        )

    def chains(self) -> Iterator[Chain]:
        """Each root, and the lists it sends guarded interfaces to."""
        link, final_link = link_rules(self._family, "RETURN"), link_rules(self._family, "ACCEPT")
        skip = Rule(f"{ACCEPTED} -j RETURN", "accepted by an early list (HEP-5)")
        yield from self._root("raw", FROM_UNTRACKED, "raw-in", (Rule(CLEAR, "nothing decided"), *link))
        yield from self._root("raw", "cali-OUTPUT", "raw-out", (Rule(CLEAR, "nothing decided"), *link))
        yield from self._root("mangle", "cali-PREROUTING", "pre-dnat", (_RETURN_ESTABLISHED, skip, *link))
        early = Rule(f"{ACCEPTED} -j ACCEPT", "accepted by an early list (HEP-5)")
        yield from self._root("filter", FROM_HOST, "in", (_ESTABLISHED, early, *final_link, *self._open))
        own_pod = Rule(f"-o {WORKLOAD_PREFIX}+ -j RETURN", "to a pod of its own (CT-1)")
        yield from self._root("filter", "cali-OUTPUT", "out", (_ESTABLISHED, early, own_pod, *final_link, *self._open))
        yield from self._root("filter", FROM_FORWARD, "forward-in", (_RETURN_ESTABLISHED, skip))
        yield from self._root("filter", TO_FORWARD, "forward-out", (_RETURN_ESTABLISHED,))

    def _root(self, table: Table, name: str, stage: str, before: tuple[Rule, ...]) -> Iterator[Chain]:
        """A chain that sends each guarded interface to its list; empty where there is nothing to do."""
        direction: FlowDirection = "egress" if stage in ("raw-out", "out", "forward-out") else "ingress"
        option = "-i" if direction == "ingress" else "-o"
        rules: list[Rule] = []
        some = stage == "raw-in" and self._leaves_marks()
        for guard in self._guards:
            every = guard.interface == ALL_INTERFACES
            if every and table == "raw":
                continue  # HEP-4
            chain = self._list(table, stage, direction, guard)
            act = f"-g {chain.name}" if chain else "-j RETURN"
            rules.append(Rule(act if every else f"{option} {guard.interface} {act}", f"host endpoint {guard.name}"))
            if chain is not None:
                some = True
                yield chain
        yield Chain(name=name, table=table, rules=(*before, *rules) if some else ())

    def _leaves_marks(self) -> bool:
        """Report whether an untracked list may mark what leaves: over loopback it comes in with the mark still on."""
        return any(guard.untracked_egress and guard.interface != ALL_INTERFACES for guard in self._guards)

    def _list(self, table: Table, stage: str, direction: FlowDirection, guard: HostEndpointProgram) -> Chain | None:
        """One list of one guard; None when nothing in it governs the direction."""
        walk, after = {
            "raw-in": (guard.untracked_ingress, _NOTRACK),
            "raw-out": (guard.untracked_egress, _NOTRACK),
            "pre-dnat": (guard.pre_dnat, ()),
            "in": (guard.ingress, _DONE),
            "out": (guard.egress, _DONE),
            "forward-in": (guard.forward_ingress, ()),
            "forward-out": (guard.forward_egress, ()),
        }[stage]
        if not walk:
            return None
        prefix = f"cali-{'f' if direction == 'ingress' else 't'}h{'fw' if stage.startswith('forward') else ''}-"
        invalid = () if table == "raw" else guard_rules(_INVALID, "invalid", direction)
        safe = () if stage.startswith("forward") else self._safe(direction, "ACCEPT" if table == "filter" else "RETURN")
        answers = self._answers(direction) if table == "raw" else ()
        jump = Rule(f"-j {walk_chain(walk, direction)}", f"policies of host endpoint {guard.name}")
        return Chain(
            name=chain_name(prefix, guard.interface), table=table, rules=(*invalid, *safe, *answers, jump, *after)
        )

    def _safe(self, direction: FlowDirection, target: str) -> Iterator[Rule]:
        """Failsafe ports (HEP-9)."""
        ports = self._failsafes.inbound if direction == "ingress" else self._failsafes.outbound
        return self._ports(ports, direction, "--dports", target)

    def _answers(self, direction: FlowDirection) -> Iterator[Rule]:
        """Without connection tracking, the answers to the other direction's failsafe ports (HEP-3)."""
        ports = self._failsafes.outbound if direction == "ingress" else self._failsafes.inbound
        return self._ports(ports, direction, "--sports", "RETURN")

    def _ports(
        self, failsafes: tuple[Failsafe, ...], direction: FlowDirection, option: str, target: str
    ) -> Iterator[Rule]:
        """A rule for each protocol and peer, with all their ports."""
        ordered = sorted(failsafes, key=lambda entry: (entry.protocol, entry.net, entry.port))
        for (protocol, net), entries in groupby(ordered, key=lambda entry: (entry.protocol, entry.net)):
            if net and (":" in net) != (self._family == 6):
                continue
            peer = f"{'-s' if direction == 'ingress' else '-d'} {net} " if net and not net.endswith("/0") else ""
            for ports in slots([PortRange(entry.port, entry.port) for entry in entries]):
                words = "failsafe ports" if option == "--dports" else "answers from failsafe ports"
                yield Rule(f"{peer}-p {protocol} -m multiport {option} {ports} -j {target}", words)


_NOTRACK = (Rule(f"{ACCEPTED} -j CT --notrack", "accepted and not tracked (HEP-4)"),)
_DONE = (Rule(CLEAR, "accepted"), Rule("-j ACCEPT", "accepted"))
