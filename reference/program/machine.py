"""One machine's kernel as its program makes it, for one packet: the hooks in their order, and the mark between them.

An early list of a host endpoint that accepts leaves the accept mark, and later hooks look at it (HEP-5, HEP-6).
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import NamedTuple

from reference.program.matches import ByIdentity, Facts, Test, tests
from reference.program.types import (
    EndpointProgram,
    Failsafe,
    FlowDirection,
    HostEndpointProgram,
    NodeProgram,
    PolicyProgram,
    ProgramRule,
    RuleAction,
)

WORKLOADS = "cali"
_IPIP, _ICMPV6, _UDP = 4, 58, 17
_LINK_MESSAGES = frozenset({130, 131, 132, 133, 135, 136})  # accepted before policy (HEP-12)


class Decision(NamedTuple):
    """What became of a packet, and the place that decided: the last one it met."""

    allowed: bool
    where: str  # "deny by rule 0 of np:shop/web (ingress of shop/web, tier default)"


class Machine:
    """A packet's way through one machine. Each hook returns what drops the packet there, or None."""

    def __init__(self, program: NodeProgram, facts: Facts) -> None:
        self.last = Decision(True, f"no policy at {program.node}")  # what was decided last
        self._program = program
        self._facts = facts
        self._accepted = False  # the mark
        self._link = facts.protocol == _ICMPV6 and facts.icmp_type in _LINK_MESSAGES

    def prerouting(self, interface: str) -> Decision | None:
        """Raw, then mangle: untracked policy of the interface's own guard, preDNAT policy of whichever it has."""
        own = self._program.host_endpoints.get(interface)
        dropped = None if own is None else self._early(own, own.untracked_ingress, "ingress", untracked=True)
        guard = self._guard(interface)
        if dropped is not None or guard is None or self._accepted:
            return dropped
        return self._early(guard, guard.pre_dnat, "ingress", untracked=False)

    def input(self, interface: str) -> Decision | None:
        """To a process of the machine itself."""
        return None if self._accepted else self._local(interface, "ingress")

    def output(self, interface: str) -> Decision | None:
        """From a process of the machine itself; to a pod of its there is no policy (CT-1)."""
        if interface == WORKLOADS:
            return None
        own = self._program.host_endpoints.get(interface)
        dropped = None if own is None else self._early(own, own.untracked_egress, "egress", untracked=True)
        return dropped if dropped is not None or self._accepted else self._local(interface, "egress")

    def forward_in(self, interface: str) -> Decision | None:
        """The guard of the interface a forwarded packet came by, unless an early list has accepted."""
        guard = self._guard(interface)
        return None if guard is None or self._accepted else self._forwarded(guard, guard.forward_ingress, "ingress")

    def forward_out(self, interface: str) -> Decision | None:
        """The guard of the interface a forwarded packet leaves by; it does not look at the mark."""
        guard = self._guard(interface)
        return None if guard is None else self._forwarded(guard, guard.forward_egress, "egress")

    def from_workload(self, interface: str, name: str) -> Decision | None:
        """The egress walk of a pod."""
        return self._workload(interface, name, "egress")

    def to_workload(self, interface: str, name: str) -> Decision | None:
        """The ingress walk of a pod."""
        return self._workload(interface, name, "ingress")

    def from_workload_to_host(self, interface: str, name: str) -> Decision | None:
        """HEP-12: link messages, then the pod's egress walk, then the endpoint-to-host action."""
        if self._link:
            return None
        dropped = self.from_workload(interface, name)
        if dropped is None and self._program.to_host == "drop":
            return Decision(False, f"to host (egress of {name})")
        return dropped

    # -- what the hooks are made of --------------------------------------------------------------------------------

    def _guard(self, interface: str) -> HostEndpointProgram | None:
        guards = self._program.host_endpoints
        return guards.get(interface) or guards.get("*")

    def _early(
        self, guard: HostEndpointProgram, walk: str, direction: FlowDirection, *, untracked: bool
    ) -> Decision | None:
        """A list before conntrack or routing; only an allow in it leaves the mark, a failsafe port does not."""
        if not walk or self._link or self._is_safe(direction, answers=untracked):
            return None
        found = self._run(walk, direction, _name(self._program, guard))
        self._accepted = found is not None and found.allowed
        return found if found is not None and not found.allowed else None

    def _local(self, interface: str, direction: FlowDirection) -> Decision | None:
        guard = self._guard(interface)
        is_open = self._facts.protocol == _UDP and self._facts.destination_port in self._program.open_ports
        if guard is None or self._link or is_open or self._is_safe(direction, answers=False):
            return None
        walk = guard.ingress if direction == "ingress" else guard.egress
        return _if_dropped(self._run(walk, direction, _name(self._program, guard)))

    def _forwarded(self, guard: HostEndpointProgram, walk: str, direction: FlowDirection) -> Decision | None:
        return _if_dropped(self._run(walk, direction, _name(self._program, guard))) if walk else None

    def _workload(self, interface: str, name: str, direction: FlowDirection) -> Decision | None:
        attached: EndpointProgram | None = self._program.endpoints.get(interface)
        if attached is None:
            return Decision(False, f"unknown interface ({direction} of {name})")
        if direction == "egress" and self._is_encapsulated():
            return Decision(False, f"encapsulated (egress of {name})")
        walk = attached.ingress if direction == "ingress" else attached.egress
        return _if_dropped(self._run(walk, direction, attached.name))

    def _is_encapsulated(self) -> bool:
        """CT-6."""
        encapsulation, facts = self._program.encapsulation, self._facts
        if facts.protocol == _UDP:
            return facts.destination_port == encapsulation.vxlan_port != 0
        return encapsulation.ipip and facts.protocol == _IPIP

    def _is_safe(self, direction: FlowDirection, *, answers: bool) -> bool:
        """A failsafe port; without conntrack the answers from the other direction's are named too (HEP-3)."""
        failsafes, facts = self._program.failsafes, self._facts
        forth, back = failsafes.inbound, failsafes.outbound
        peer = facts.source_number
        if direction == "egress":
            forth, back, peer = back, forth, facts.destination_number
        return any(_fits(entry, facts, facts.destination_port, peer) for entry in forth) or (
            answers and any(_fits(entry, facts, facts.source_port, peer) for entry in back)
        )

    def _run(self, walk: str, direction: FlowDirection, name: str) -> Decision | None:
        """One chain: tiers in order, then profiles, then drop; or None where the walk goes on to what comes next."""
        found = _Chain(self._program, walk, direction, self._facts, name).run()
        self.last = found or self.last
        return found


class _Chain:
    """The run of one packet through one walk. Marks as the kernel's chains keep them."""

    def __init__(self, program: NodeProgram, walk: str, direction: FlowDirection, facts: Facts, name: str) -> None:
        self._program = program
        self._walk = program.walks[walk]
        self._direction = direction
        self._facts = facts
        self._name = name

    def run(self) -> Decision | None:
        for step in self._walk.tiers:
            passed = False  # the pass mark, cleared at the head of each tier
            for id_ in step.policies:
                hit = self._policy(id_)
                if hit is None:
                    continue
                if hit.action != "pass":
                    return self._decision(hit, id_, step.tier)
                passed = True
                break
            if not passed and step.default_action == "deny":
                return Decision(False, f"deny by end of tier ({self._where(step.tier)})")
        for id_ in self._walk.profiles:
            hit = self._policy(id_)
            if hit is not None and hit.action != "pass":  # a pass moves on to the next profile (POL-14)
                return self._decision(hit, id_, "__PROFILE__")
        if self._walk.end == "continue":
            return None
        return Decision(False, f"no profile matched ({self._where('__PROFILE__')})")

    def _policy(self, id_: str) -> _Hit | None:
        """The first rule that matches and decides; a log rule never does (POL-12)."""
        sets, facts = self._program.sets, self._facts
        for hit, checks in _rules(self._program.policies[id_])[self._direction]:
            if all(check(facts, sets) for check in checks):
                return hit
        return None

    def _decision(self, hit: _Hit, id_: str, tier: str) -> Decision:
        return Decision(hit.action == "allow", f"{hit.action} by rule {hit.rule} of {id_} ({self._where(tier)})")

    def _where(self, tier: str) -> str:
        return f"{self._direction} of {self._name}, tier {tier}"


class _Hit(NamedTuple):
    action: RuleAction
    rule: int


_Rules = tuple[tuple[_Hit, tuple[Test, ...]], ...]


def _prepared(rules: tuple[ProgramRule, ...]) -> _Rules:
    return tuple((_Hit(rule.action, rule.index), tests(rule.match)) for rule in rules if rule.action != "log")


def _both(policy: PolicyProgram) -> dict[FlowDirection, _Rules]:
    return {"ingress": _prepared(policy.ingress), "egress": _prepared(policy.egress)}


_rules: ByIdentity[PolicyProgram, dict[FlowDirection, _Rules]] = ByIdentity(_both)


def _if_dropped(decision: Decision | None) -> Decision | None:
    return None if decision is None or decision.allowed else decision


def _name(program: NodeProgram, guard: HostEndpointProgram) -> str:
    return f"host {program.node} {guard.interface}"


def _fits(entry: Failsafe, facts: Facts, port: int, peer: int) -> bool:
    return facts.protocol == entry.protocol and port == entry.port and (not entry.net or _holds(entry, facts, peer))


def _holds(entry: Failsafe, facts: Facts, peer: int) -> bool:
    net = ip_network(entry.net)
    return net.version == facts.family and int(net.network_address) <= peer <= int(net.broadcast_address)
