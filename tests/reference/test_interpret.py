"""The second reading: marks, sets, guards and traffic facts, on programs written by hand or compiled."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from typing import Any

import pytest
import yaml
from immutables import Map

from reference.endpoints import Host, WorkloadEndpoint
from reference.loading import load_state
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.interpret import Decision, decide
from reference.program.types import (
    EndpointProgram,
    IPSet,
    Match,
    NodeProgram,
    PolicyProgram,
    PortRange,
    ProgramRule,
    RuleAction,
    TierStep,
    Walk,
)
from reference.state import State

WEB, PEER = "10.0.0.1", "10.0.0.9"
ENDPOINT = WorkloadEndpoint(
    namespace="shop", pod="web", node="n", interface="cali1", addresses=(WEB, "fd00::1"), labels={}, profiles=()
)
ALLOW: RuleAction = "allow"
DENY: RuleAction = "deny"
PASS: RuleAction = "pass"
LOG: RuleAction = "log"
SETS = [
    IPSet(id="s4", kind="nets", family=4, members=frozenset({"10.0.0.9/32", "10.1.0.0/16"})),
    IPSet(id="s6", kind="nets", family=6, members=frozenset({"fd00::9/128"})),
    IPSet(id="e4", kind="nets", family=4, members=frozenset()),
    IPSet(id="e6", kind="nets", family=6, members=frozenset()),
    IPSet(id="p4", kind="ports", family=4, members=frozenset({"10.0.0.1,6,8080", "10.0.0.9,17,53"})),
    IPSet(id="p6", kind="ports", family=6, members=frozenset({"fd00::1,6,8080"})),
]


def rule(action: RuleAction, **match: Any) -> ProgramRule:
    """A rule with these fields of a match."""
    return ProgramRule(action=action, index=0, match=Match(**match))


def node(
    tiers: list[tuple[str, list[list[ProgramRule]]]], profiles: list[list[ProgramRule]] | None = None
) -> tuple[Map[str, NodeProgram], State]:
    """One node with one pod: tiers as (default action, policies as lists of ingress rules), then profiles."""
    policies: dict[str, PolicyProgram] = {}

    def named(id_: str, rules: list[ProgramRule]) -> str:
        policies[id_] = PolicyProgram(id=id_, tier="t", ingress=tuple(rules))
        return id_

    steps = tuple(
        TierStep(
            tier=f"t{place}",
            default_action="pass" if default == "pass" else "deny",
            policies=tuple(named(f"gnp:p{place}{number}", rules) for number, rules in enumerate(of_tier)),
        )
        for place, (default, of_tier) in enumerate(tiers)
    )
    names = tuple(named(f"pro:{number}", rules) for number, rules in enumerate(profiles or []))
    walk = Walk(id="w", direction="ingress", tiers=steps, profiles=names)
    attached = EndpointProgram(name="shop/web", interface="cali1", addresses=(WEB,), ingress="w", egress="w")
    program = NodeProgram(
        node="n",
        seq=1,
        sets=Map({each.id: each for each in SETS}),
        policies=Map(policies),
        walks=Map({"w": walk}),
        endpoints=Map({"cali1": attached}),
    )
    key = ("shop", "web")
    state = State(
        endpoints=Map({key: ENDPOINT}),
        addresses=Map(dict.fromkeys(ENDPOINT.addresses, (key,))),
        hosts=Map({"n": Host(name="n", addresses=("172.16.0.1",), subnet="a", is_node=True)}),
    )
    return Map({"n": program}), state


def packet(text: str = "") -> Packet:
    """TCP from the peer to port 80 of the pod, but for these fields."""
    fields = {"source": PEER, "destination": WEB, "protocol": 6, "destination_port": 80, **yaml.safe_load(text or "{}")}
    return Packet(**fields)


WALKS = [
    ("POL-15 nothing at all: deny", [], [], False),
    ("a profile allows", [], [[rule(ALLOW)]], True),
    ("a profile denies", [], [[rule(DENY)], [rule(ALLOW)]], False),
    ("an empty profile is no decision", [], [[], [rule(ALLOW)]], True),
    ("POL-14 a pass in a profile goes to the next", [], [[rule(PASS), rule(ALLOW)], [rule(DENY)]], False),
    ("POL-14 a pass in the last profile denies", [], [[rule(PASS), rule(ALLOW)]], False),
    ("POL-12 the first match decides", [(DENY, [[rule(ALLOW), rule(DENY)]])], [], True),
    ("POL-12 a log goes on", [(DENY, [[rule(LOG), rule(DENY)]])], [[rule(ALLOW)]], False),
    ("POL-12 a rule that misses goes on", [(DENY, [[rule(DENY, protocol=17), rule(ALLOW)]])], [], True),
    ("the next policy of a tier", [(DENY, [[rule(DENY, protocol=17)], [rule(ALLOW)]])], [], True),
    ("POL-13 the end of a tier denies", [(DENY, [[rule(ALLOW, protocol=17)]])], [[rule(ALLOW)]], False),
    ("POL-7 a policy without rules brings the end of its tier", [(DENY, [[]])], [[rule(ALLOW)]], False),
    ("POL-13 the end of a Pass tier goes on", [(PASS, [[]])], [[rule(ALLOW)]], True),
    ("a pass leaves the tier, not only the policy", [(DENY, [[rule(PASS)], [rule(DENY)]])], [[rule(ALLOW)]], True),
    ("a pass does not spare the next tier its end", [(DENY, [[rule(PASS)]]), (DENY, [[]])], [[rule(ALLOW)]], False),
    ("an allow in a tier ends the walk", [(DENY, [[rule(ALLOW)]]), (DENY, [[rule(DENY)]])], [[rule(DENY)]], True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tiers", "profiles", "allowed"), [case[1:] for case in WALKS], ids=[case[0] for case in WALKS]
)
def test_walks(tiers: list[Any], profiles: list[Any], allowed: bool) -> None:
    """2a.4: tiers, policies and rules in order, then profiles, then deny."""
    assert decide(*node(tiers, profiles), packet()).allowed is allowed


LOW, HIGH = PortRange(low=1, high=79), PortRange(low=80, high=90)
MATCHES = [
    ("nothing asked", {}, "", True),
    ("family", {"family": 4}, "", True),
    ("the other family", {"family": 6}, "", False),
    ("protocol", {"protocol": 6}, "", True),
    ("another protocol", {"protocol": 17}, "", False),
    ("not_protocol", {"not_protocol": 6}, "", False),
    ("not_protocol, another", {"not_protocol": 17}, "", True),
    ("icmp type", {"icmp": (8, None)}, "{protocol: 1, icmp_type: 8, icmp_code: 3}", True),
    ("icmp type and code", {"icmp": (8, 0)}, "{protocol: 1, icmp_type: 8, icmp_code: 3}", False),
    ("icmp of TCP", {"icmp": (8, None)}, "", False),
    ("not_icmp", {"not_icmp": (8, None)}, "{protocol: 1, icmp_type: 8, icmp_code: 0}", False),
    ("not_icmp, another code", {"not_icmp": (8, 1)}, "{protocol: 1, icmp_type: 8, icmp_code: 0}", True),
    ("source nets OR", {"source_nets": ("10.9.0.0/16", "10.0.0.8/30")}, "", True),
    ("source nets miss", {"source_nets": ("10.9.0.0/16",)}, "", False),
    ("source nets of the other family", {"source_nets": ("::/0",)}, "", False),
    ("not_source_nets", {"not_source_nets": ("0.0.0.0/0",)}, "", False),
    ("destination nets", {"destination_nets": ("10.0.0.1/32",)}, "", True),
    ("not_destination_nets", {"not_destination_nets": ("10.0.0.2/32",)}, "", True),
    ("source set, an address", {"source_sets": ("s",)}, "", True),
    ("source set, inside a net", {"source_sets": ("s",)}, "{source: 10.1.2.3}", True),
    ("source set of the packet's family", {"source_sets": ("s",)}, "{source: 'fd00::9', destination: 'fd00::1'}", True),
    ("source set, another spelling of an address", {"source_sets": ("s",)}, "{source: 'FD00:0::9', destination: 'fd00::1'}", True),
    ("source sets AND", {"source_sets": ("s", "e")}, "", False),
    ("not_source_sets", {"not_source_sets": ("e",)}, "", True),
    ("none of not_source_sets may hold", {"not_source_sets": ("e", "s")}, "", False),
    ("destination set misses", {"destination_sets": ("s",)}, "", False),
    ("not_destination_sets", {"not_destination_sets": ("s",)}, "", True),
    ("port ranges OR", {"destination_ports": (LOW, HIGH)}, "", True),
    ("port ranges miss", {"destination_ports": (LOW,)}, "", False),
    ("numeric ports of ICMP match nothing", {"destination_ports": (PortRange(low=0, high=65535),)}, "{protocol: 1}", False),
    ("not_destination_ports", {"not_destination_ports": (HIGH,)}, "", False),
    ("source ports", {"source_ports": (PortRange(low=40000, high=40000),)}, "", True),
    ("not_source_ports", {"not_source_ports": (LOW,)}, "", True),
    ("port set", {"destination_port_sets": ("p",)}, "{destination_port: 8080}", True),
    ("port set, another port", {"destination_port_sets": ("p",)}, "", False),
    ("port set, another protocol", {"destination_port_sets": ("p",)}, "{destination_port: 8080, protocol: 17}", False),
    ("port set of the source", {"source_port_sets": ("p",)}, "{source_port: 53, protocol: 17}", True),
    ("ranges or port sets, by range", {"destination_ports": (HIGH,), "destination_port_sets": ("p",)}, "", True),
    ("ranges or port sets, by set", {"destination_ports": (HIGH,), "destination_port_sets": ("p",)}, "{destination_port: 8080}", True),
    ("neither range nor port set", {"not_destination_ports": (LOW,), "not_destination_port_sets": ("p",)}, "{destination_port: 8080}", False),
    ("not_source_port_sets", {"not_source_port_sets": ("p",)}, "", True),
    ("fields AND", {"protocol": 6, "source_sets": ("e",)}, "", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("match", "text", "matches"), [case[1:] for case in MATCHES], ids=[case[0] for case in MATCHES]
)
def test_matches(match: dict[str, Any], text: str, matches: bool) -> None:
    """RULE-1: every field of a match, on a packet from the peer to the pod."""
    assert decide(*node([(DENY, [[rule(ALLOW, **match)]])]), packet(text)).allowed is matches


def test_where_names_what_decided() -> None:
    """A decision says which rule of which policy, or which end, at whose end of the connection."""
    cases = [
        (node([(DENY, [[rule(ALLOW)]])]), "allow by rule 0 of gnp:p00 (ingress of shop/web, tier t0)"),
        (node([(DENY, [[]])]), "deny by end of tier (ingress of shop/web, tier t0)"),
        (node([]), "no profile matched (ingress of shop/web, tier __PROFILE__)"),
    ]
    for (programs, state), where in cases:
        assert decide(programs, state, packet()).where == where


def test_an_interface_no_program_knows_lets_nothing_through() -> None:
    """POL-19: a pod whose node has no program for it is cut off."""
    _, state = node([])
    assert decide(Map(), state, packet()) == Decision(False, "unknown interface (ingress of shop/web)")


CLUSTER = """
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 172.30.1.11}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 172.30.1.12}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: shut, namespace: a, labels: {app: shut}},
 spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: open, namespace: a},
 spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: mute, namespace: a, labels: {app: mute}},
 spec: {nodeName: n2, containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.3}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: shut}, spec: {selector: app == 'shut', types: [Ingress]}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: mute}, spec: {selector: app == 'mute', types: [Egress]}}
"""
SHUT, OPEN, MUTE, N1, N2, FAR = "10.244.0.1", "10.244.0.2", "10.244.0.3", "172.30.1.11", "172.30.1.12", "203.0.113.9"
TRAFFIC = [
    ("a pod to itself meets no policy", SHUT, SHUT, True),
    ("also one that may send nothing", MUTE, MUTE, True),
    ("POL-18 both ends decide: open to open", MUTE, OPEN, False),
    ("POL-18 the destination denies, on the same node", OPEN, SHUT, False),
    ("POL-18 both allow, across nodes", OPEN, MUTE, True),
    ("CT-1 a node to its own pod", N1, SHUT, True),
    ("another node is an outsider", N2, SHUT, False),
    ("an outside host meets ingress policy", FAR, SHUT, False),
    ("an outside host to an open pod", FAR, OPEN, True),
    ("HEP-12 a pod to its own node", OPEN, N1, False),
    ("a pod to another node: egress policy only", OPEN, N2, True),
    ("a mute pod to another node", MUTE, N1, False),
    ("a pod to an address nobody holds", SHUT, FAR, True),
    ("a mute pod to an address nobody holds", MUTE, FAR, False),
    ("host to host meets no policy", N1, N2, True),
    ("nobody to nobody meets no policy", FAR, "203.0.113.10", True),
]


@pytest.mark.parametrize(
    ("source", "destination", "allowed"), [case[1:] for case in TRAFFIC], ids=[case[0] for case in TRAFFIC]
)
def test_traffic_facts(source: str, destination: str, allowed: bool) -> None:
    """CT-1, HEP-12, POL-18: which ends consult policy at all."""
    state = load_state(*yaml.safe_load_all(CLUSTER))
    question = Packet(source=source, destination=destination, protocol=6, destination_port=80)
    assert decide(Compiler().compile(state), state, question).allowed is allowed
