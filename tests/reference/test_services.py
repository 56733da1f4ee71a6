"""`services` in rules, by the oracle and by the second reading (RULE-12, trap 8), one line per packet."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from reference import commands
from reference.errors import InvalidInputError
from reference.loading import load_state
from reference.naming import packet_between, parse_port, service_address
from reference.policy import allowed, evaluate
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.resources import EndpointSlice, Key
from reference.resources.services import Backend
from reference.state import State

CLUSTER = """
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]},
 status: {podIPs: [{ip: 10.244.0.1}, {ip: "fd00:10:244::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: sick, namespace: shop, labels: {app: web}},
 spec: {containers: [{name: c, ports: [{name: http, containerPort: 8081}]}]},
 status: {podIP: 10.244.0.2, conditions: [{type: Ready, status: "False"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, status: {podIPs: [{ip: 10.244.0.3}, {ip: "fd00:10:244::3"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: lab, labels: {app: web}}, status: {podIP: 10.244.0.4}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop},
 spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{port: 80, targetPort: http}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: lab},
 spec: {selector: {app: web}, ports: [{name: tcp, port: 80}, {name: udp, port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: dual, namespace: shop},
 spec: {ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 9000}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: outside, namespace: shop}, spec: {ports: [{port: 443}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
 metadata: {name: outside-1, namespace: shop, labels: {kubernetes.io/service-name: outside}},
 endpoints: [{addresses: [192.0.2.7, 192.0.2.8]}], ports: [{port: 443}, {name: any}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
 metadata: {name: outside-2, namespace: shop, labels: {kubernetes.io/service-name: outside}},
 endpoints: [{addresses: [192.0.2.8]}], ports: [{port: 8443}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
 metadata: {name: portless, namespace: shop, labels: {kubernetes.io/service-name: portless}},
 endpoints: [{addresses: [192.0.2.9]}], ports: [{}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: FQDN,
 metadata: {name: fqdn, namespace: shop, labels: {kubernetes.io/service-name: fqdn}}, endpoints: [{addresses: [example.com]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
 metadata: {name: nameless, namespace: shop}, endpoints: [{addresses: [192.0.2.10]}], ports: [{port: 80}]}
"""
WEB, SICK, DB, OTHER = "shop/web", "shop/sick", "shop/db", "lab/web"


@lru_cache
def cluster(text: str) -> State:
    """The cluster with one policy on shop/db: `egress` or `ingress`, `np` or `gnp`, then the rule."""
    direction, kind, rule = text.split(" ", 2)
    namespaced: dict[str, Any] = {"namespace": "shop"} if kind == "np" else {}
    spec = {
        "selector": "app == 'db'",
        "types": [direction.capitalize()],
        direction: [{"action": "Allow", **yaml.safe_load(rule)}],
    }
    policy = {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy" if namespaced else "GlobalNetworkPolicy",
              "metadata": {"name": "p", **namespaced}, "spec": spec}  # fmt: skip
    return load_state(*yaml.safe_load_all(CLUSTER), policy)


TO_WEB = "egress np {destination: {services: {name: web}}}"
TO_DUAL = "egress np {destination: {services: {name: dual}}}"
TO_OUTSIDE = "egress np {destination: {services: {name: outside}}}"
FROM_WEB = "ingress np {source: {services: {name: web}}}"
CASES = [
    # id, policy, the other end of shop/db, port, does the rule match
    ("RULE-12 target port by name", TO_WEB, WEB, "8080/TCP", True),
    ("RULE-12 not the service's port", TO_WEB, WEB, "80/TCP", False),
    ("RULE-12 the name as each pod has it", TO_WEB, SICK, "8081/TCP", True),
    ("RULE-12 not as another has it", TO_WEB, SICK, "8080/TCP", False),
    ("RULE-12 another protocol", TO_WEB, WEB, "8080/UDP", False),
    ("RULE-12 no protocol without ports", TO_WEB, WEB, "icmp", False),
    ("RULE-12 never the cluster IP", TO_WEB, "10.96.0.10", "80/TCP", False),
    ("RULE-12 the policy's own namespace", TO_WEB, OTHER, "80/TCP", False),
    ("RULE-12 another namespace by name", "egress np {destination: {services: {name: web, namespace: lab}}}", OTHER, "80/TCP", True),
    ("RULE-12 several ports", "egress gnp {destination: {services: {name: web, namespace: lab}}}", OTHER, "53/UDP", True),
    ("RULE-12 fields AND", "egress gnp {protocol: TCP, destination: {services: {name: web, namespace: lab}}}", OTHER, "53/UDP", False),
    ("RULE-12 global", "egress gnp {destination: {services: {name: web, namespace: shop}}}", WEB, "8080/TCP", True),
    ("RULE-12 one family unless it asks for two", TO_WEB, "fd00:10:244::1", "8080/TCP", False),
    ("RULE-12 dual stack, IPv6", TO_DUAL, "fd00:10:244::1", "9000/TCP", True),
    ("RULE-12 dual stack, IPv4", TO_DUAL, WEB, "9000/TCP", True),
    ("trap 8 readiness is ignored", TO_DUAL, SICK, "9000/TCP", True),
    ("RULE-12 slices by hand", TO_OUTSIDE, "192.0.2.7", "443/TCP", True),
    ("RULE-12 a port is its slice's", TO_OUTSIDE, "192.0.2.7", "8443/TCP", False),
    ("RULE-12 slices of one service add up", TO_OUTSIDE, "192.0.2.8", "8443/TCP", True),
    ("RULE-12 nobody's address", TO_OUTSIDE, "192.0.2.9", "443/TCP", False),
    ("RULE-12 a nil port adds no member", "egress np {destination: {services: {name: portless}}}", "192.0.2.9", "80/TCP", False),
    ("RULE-12 but its address is a source", "ingress np {source: {services: {name: portless}}}", "192.0.2.9", "80/TCP", True),
    ("RULE-12 names of hosts are no addresses", "ingress np {source: {services: {name: fqdn}}}", "192.0.2.9", "80/TCP", False),
    ("RULE-12 a slice of no service", "ingress np {source: {services: {name: nameless}}}", "192.0.2.10", "80/TCP", False),
    ("RULE-12 no such service", "ingress np {source: {services: {name: none}}}", WEB, "80/TCP", False),
    ("RULE-12 source: any port", FROM_WEB, WEB, "5432/TCP", True),
    ("RULE-12 source: any protocol", FROM_WEB, SICK, "icmp", True),
    ("RULE-12 source: nobody else", FROM_WEB, OTHER, "5432/TCP", False),
    ("RULE-12 source beside destination ports", "ingress np {protocol: TCP, source: {services: {name: web}}, destination: {ports: [5432]}}", WEB, "5432/TCP", True),
    ("RULE-12 and their miss", "ingress np {protocol: TCP, source: {services: {name: web}}, destination: {ports: [5432]}}", WEB, "5433/TCP", False),
    ("RULE-12 a selector never sees slices", "egress np {destination: {selector: has(service)}}", "192.0.2.7", "443/TCP", False),
]  # fmt: skip


@pytest.mark.parametrize(("case", "policy", "peer", "port", "expected"), CASES, ids=[case[0] for case in CASES])
def test_services(case: str, policy: str, peer: str, port: str, expected: bool) -> None:
    """A packet passes exactly when the only rule of the only policy matches, on both roads."""
    state = cluster(policy)
    number, protocol = parse_port(port)
    ends = (DB, peer) if policy.startswith("egress") else (peer, DB)
    packet = packet_between(state, *ends, protocol, number, family=6 if ":" in peer else 4)

    assert allowed(state, packet) == expected, evaluate(state, packet).explain()
    assert decide(Compiler().compile(state), state, packet).allowed == expected


REASONS = [
    (TO_WEB, WEB, "80/TCP", "destination 10.244.0.1 (shop/web) stands behind service shop/web, but not with port 80"),
    (TO_WEB, OTHER, "80/TCP", "destination 10.244.0.4 (lab/web) is in no EndpointSlice of service shop/web"),
    (FROM_WEB, "192.0.2.7", "80/TCP", "source 192.0.2.7 is in no EndpointSlice of service shop/web"),
]


@pytest.mark.parametrize(("policy", "peer", "port", "reason"), REASONS)
def test_a_miss_says_why(policy: str, peer: str, port: str, reason: str) -> None:
    """A rule with services that misses says whether the address or its port is none of the service's."""
    state = cluster(policy)
    number, protocol = parse_port(port)
    verdict = evaluate(
        state, packet_between(state, *((DB, peer) if policy == TO_WEB else (peer, DB)), protocol, number)
    )

    assert f"rule 0 (Allow) misses: {reason}" in [step.text for side in verdict.trace for step in side.steps]


def test_a_moved_backend_renews_only_its_set() -> None:
    """A slice that changes renews the set of its service on the nodes that ask for it, and nothing else."""
    before = cluster(TO_OUTSIDE)
    compiler = Compiler()
    (old,) = compiler.compile(before).values()
    old_slice = before.get(EndpointSlice, "outside-1", "shop")
    assert old_slice is not None
    moved = replace(old_slice, endpoints=(Backend(addresses=("192.0.2.77",)),))
    after = commands.apply(before, [moved], now=1.0, offline=True).state
    (new,) = compiler.compile(after).values()

    assert (new.policies is old.policies, new.walks is old.walks, new.endpoints is old.endpoints) == (True, True, True)
    changed = [part for id_, part in new.sets.items() if old.sets[id_] is not part]
    assert [sorted(part.members) for part in changed] == [["192.0.2.77,6,443", "192.0.2.8,6,8443"]]


def test_a_slice_nobody_asks_for_renews_nothing() -> None:
    """EndpointSlices of services that no rule names are in no program."""
    before = cluster(TO_WEB)
    compiler = Compiler()
    (old,) = compiler.compile(before).values()
    after = commands.delete(before, [Key("EndpointSlice", "shop", "outside-1")], now=1.0).state
    (new,) = compiler.compile(after).values()

    assert new.sets is old.sets


NAMES = [
    ("shop/dual", "'shop/dual' is a Service; there is no service address translation yet, policy is about backends; name one of its backends: 10.244.0.1, 10.244.0.2, fd00:10:244::1"),
    ("outside", "'outside' is a Service; there is no service address translation yet, policy is about backends; name one of its backends: 192.0.2.7, 192.0.2.8"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "message"), NAMES)
def test_a_service_is_no_end_of_a_packet(name: str, message: str) -> None:
    """Whoever names a Service where a pod is wanted is told what a Service is here, and whom to name instead."""
    with pytest.raises(InvalidInputError) as caught:
        packet_between(cluster(TO_WEB), DB, name)

    assert str(caught.value) == message


def test_the_address_of_a_service_is_pointed_out() -> None:
    """An answer about a cluster IP is about an address that nobody has; what to ask instead is said."""
    state = cluster(TO_WEB)
    assert service_address(state, "10.96.0.10") == (
        "10.96.0.10 is the address of Service shop/web; there is no service address translation yet, policy is about "
        "backends; name one of its backends: 10.244.0.1, 10.244.0.2"
    )
    assert service_address(state, "10.244.0.1") == ""


def test_a_pod_named_like_a_service_is_the_pod() -> None:
    """`shop/web` is a pod and a Service; the pod is meant."""
    assert packet_between(cluster(TO_WEB), DB, WEB).destination == "10.244.0.1"
