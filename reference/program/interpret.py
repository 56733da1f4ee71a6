"""The second reading: what node programs say of a packet, executed in pure Python as a dataplane would.

Nothing here knows of the user's resources. From the state it takes only what the network itself knows: which address
sits behind which interface, and which belongs to a host. It must agree with the oracle on every packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from reference.endpoints import Family, Host, WorkloadEndpoint
from reference.packet import Packet
from reference.program.matches import ByIdentity, Facts, Test, tests
from reference.program.types import EndpointProgram, FlowDirection, NodeProgram, PolicyProgram, ProgramRule, RuleAction
from reference.state import State


class Decision(NamedTuple):
    """What became of a packet, and the place that decided: the last one it met."""

    allowed: bool
    where: str  # "deny by rule 0 of np:shop/web (ingress of shop/web, tier default)"


class _Hit(NamedTuple):
    action: RuleAction
    rule: int


class _Place(NamedTuple):
    """What the network knows of an address."""

    endpoint: WorkloadEndpoint | None
    host: Host | None


def decide(programs: Mapping[str, NodeProgram], state: State, packet: Packet) -> Decision:
    """What the nodes' programs do with the first packet of a flow.

    A pod to itself, a node to its own pod (CT-1), and host to host meet no policy. A pod's packet to its own node
    passes its egress policy and is then dropped (HEP-12). Between pods both ends decide (POL-18).
    """
    facts = _facts(packet)
    source, destination = _place(state, facts.source), _place(state, facts.destination)
    if source.endpoint is None:
        return _from_outside(programs, source, destination, facts)
    if source.endpoint is destination.endpoint:
        return Decision(True, f"{source.endpoint.name} to itself: never leaves the pod")
    decision = _walk(programs, source.endpoint, "egress", facts)
    if not decision.allowed:
        return decision
    if destination.endpoint is not None:
        return _walk(programs, destination.endpoint, "ingress", facts)
    host = destination.host
    if host is not None and host.is_node and host.name == source.endpoint.node:
        return Decision(False, f"to host (egress of {source.endpoint.name})")
    return decision


def _from_outside(programs: Mapping[str, NodeProgram], source: _Place, destination: _Place, facts: Facts) -> Decision:
    """A packet that no pod sent: only the ingress policy of a pod can stop it, and not for the pod's own node."""
    endpoint, host = destination.endpoint, source.host
    if endpoint is None:
        return Decision(True, "neither end is a pod: no policy")
    if host is not None and host.is_node and host.name == endpoint.node:
        return Decision(True, f"from the own node of {endpoint.name}: no policy")
    return _walk(programs, endpoint, "ingress", facts)


def _walk(
    programs: Mapping[str, NodeProgram], endpoint: WorkloadEndpoint, direction: FlowDirection, facts: Facts
) -> Decision:
    """One endpoint chain: tiers in order, then profiles, then drop. Marks as the kernel's chains keep them."""
    program = programs.get(endpoint.node)
    attached = None if program is None else program.endpoints.get(endpoint.interface)
    if program is None or attached is None:
        return Decision(False, f"unknown interface ({direction} of {endpoint.name})")
    return _Chain(program, attached, direction, facts).run()


class _Chain:
    """The run of one packet through one endpoint's chain."""

    def __init__(self, program: NodeProgram, endpoint: EndpointProgram, direction: FlowDirection, facts: Facts) -> None:
        self._program = program
        self._endpoint = endpoint
        self._direction = direction
        self._facts = facts

    def run(self) -> Decision:
        ingress = self._direction == "ingress"
        walk = self._program.walks[self._endpoint.ingress if ingress else self._endpoint.egress]
        for step in walk.tiers:
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
        for id_ in walk.profiles:
            hit = self._policy(id_)
            if hit is not None and hit.action != "pass":  # a pass moves on to the next profile (POL-14)
                return self._decision(hit, id_, "__PROFILE__")
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
        return f"{self._direction} of {self._endpoint.name}, tier {tier}"


_Rules = tuple[tuple[_Hit, tuple[Test, ...]], ...]


def _prepared(rules: tuple[ProgramRule, ...]) -> _Rules:
    return tuple((_Hit(rule.action, rule.index), tests(rule.match)) for rule in rules if rule.action != "log")


def _both(policy: PolicyProgram) -> dict[FlowDirection, _Rules]:
    return {"ingress": _prepared(policy.ingress), "egress": _prepared(policy.egress)}


_rules: ByIdentity[PolicyProgram, dict[FlowDirection, _Rules]] = ByIdentity(_both)


@lru_cache(maxsize=65536)
def _address(text: str) -> tuple[Family, str, int]:
    """The family, canonical text and number of an address."""
    parsed = ip_address(text)
    return 4 if parsed.version == 4 else 6, str(parsed), int(parsed)


def _facts(packet: Packet) -> Facts:
    family, source, source_number = _address(packet.source)
    _, destination, destination_number = _address(packet.destination)
    return Facts(
        family=family,
        protocol=packet.protocol,
        source=source,
        source_number=source_number,
        source_port=packet.source_port,
        destination=destination,
        destination_number=destination_number,
        destination_port=packet.destination_port,
        icmp_type=packet.icmp_type,
        icmp_code=packet.icmp_code,
    )


def _place(state: State, address: str) -> _Place:
    """Of several endpoints that hold an address, the first to have it; of several hosts, the first by name."""
    keys = state.addresses.get(address)
    if keys:
        return _Place(state.endpoints[keys[0]], None)
    return _Place(None, _hosts(state.hosts).get(address))


def _by_address(hosts: Mapping[str, Host]) -> dict[str, Host]:
    return {address: host for _, host in sorted(hosts.items(), reverse=True) for address in host.addresses}


_hosts: ByIdentity[Mapping[str, Host], dict[str, Host]] = ByIdentity(_by_address, most=64)
