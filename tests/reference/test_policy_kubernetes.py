"""Kubernetes NetworkPolicies by their own definition (K8S-6 … K8S-10), one line per packet."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import yaml

from reference.loading import load_state
from reference.naming import packet_between, parse_port
from reference.policy import allowed, evaluate
from reference.state import State

CLUSTER = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: lab, labels: {team: b}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web, level: "1"}},
 spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}, status: {podIP: 10.244.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {containers: [{name: c, image: i, ports: [{name: sql, containerPort: 5432}]}]},
 status: {podIPs: [{ip: 10.244.0.2}, {ip: "fd00:10:244::2"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: tool, namespace: lab, labels: {app: web}},
 spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 9090}]}]}, status: {podIP: 10.244.0.3}}
---
{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: s, namespace: shop, labels: {app: web}},
 spec: {nets: [192.0.2.0/24]}}
"""
WEB, DB, TOOL = "shop/web", "shop/db", "lab/tool"


@lru_cache
def cluster(spec: str) -> State:
    """The cluster with one policy in namespace shop; it selects db unless it says otherwise."""
    body = {"podSelector": {"matchLabels": {"app": "db"}}} | yaml.safe_load(f"{{{spec}}}")
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
              "metadata": {"name": "p", "namespace": "shop"}, "spec": body}  # fmt: skip
    return load_state(*yaml.safe_load_all(CLUSTER), policy)


def expressions(*requirements: str) -> str:
    """A podSelector of matchExpressions."""
    return f"podSelector: {{matchExpressions: [{', '.join(requirements)}]}}"


CASES = [
    # id, spec, source, destination, port, allowed
    ("K8S-6 isolates what it selects", "", WEB, DB, "80", False),
    ("K8S-6 leaves the rest alone", "", DB, WEB, "80", True),
    ("K8S-6 only its own namespace", "podSelector: {}", WEB, TOOL, "80", True),
    ("K8S-7 an empty selector is every pod", "podSelector: {}", DB, WEB, "80", False),
    ("K8S-7 In", expressions("{key: app, operator: In, values: [x, db]}"), WEB, DB, "80", False),
    ("K8S-7 In, another value", expressions("{key: app, operator: In, values: [x]}"), WEB, DB, "80", True),
    ("K8S-7 NotIn", expressions("{key: app, operator: NotIn, values: [db]}"), WEB, DB, "80", True),
    ("K8S-7 NotIn holds when absent", expressions("{key: level, operator: NotIn, values: ['1']}"), WEB, DB, "80", False),
    ("K8S-7 Exists", expressions("{key: level, operator: Exists}"), WEB, DB, "80", True),
    ("K8S-7 DoesNotExist", expressions("{key: level, operator: DoesNotExist}"), WEB, DB, "80", False),
    ("K8S-7 requirements AND", expressions("{key: app, operator: Exists}, {key: level, operator: Exists}"), WEB, DB, "1", True),
    ("K8S-8 absent types mean ingress", "", DB, WEB, "80", True),
    ("K8S-8 egress rules mean egress too", "egress: [{to: [{ipBlock: {cidr: 10.9.0.0/16}}]}]", DB, WEB, "80", False),
    ("K8S-8 and ingress still", "egress: [{}]", WEB, DB, "80", False),
    ("K8S-8 listed egress without rules", "policyTypes: [Egress]", DB, WEB, "80", False),
    ("K8S-8 listed egress leaves ingress", "policyTypes: [Egress]", WEB, DB, "80", True),
    ("K8S-9 empty from is anybody", "ingress: [{from: []}]", "9.9.9.9", DB, "80", True),
    ("K8S-9 absent from is anybody", "ingress: [{}]", "9.9.9.9", DB, "80", True),
    ("K8S-9 podSelector here", "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]", WEB, DB, "80", True),
    ("K8S-9 podSelector not there", "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]", TOOL, DB, "1", False),
    ("K8S-9 namespaceSelector", "ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]", TOOL, DB, "80", True),
    ("K8S-9 another namespace", "ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]", WEB, DB, "80", False),
    ("K8S-9 empty namespaceSelector", "ingress: [{from: [{namespaceSelector: {}}]}]", TOOL, DB, "80", True),
    ("K8S-9 which is pods only", "ingress: [{from: [{namespaceSelector: {}}]}]", "9.9.9.9", DB, "80", False),
    ("K8S-9 both AND", "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {level: '1'}}}]}]", TOOL, DB, "1", False),
    ("K8S-9 both AND, met", "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]", TOOL, DB, "1", True),
    ("K8S-9 two peers OR", "ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}, {podSelector: {}}]}]", WEB, DB, "1", True),
    ("K8S-9 network sets are no peers", "ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]", "192.0.2.1", DB, "1", False),
    ("K8S-9 ipBlock", "ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]", "192.0.2.1", DB, "80", True),
    ("K8S-9 ipBlock sees pods", "ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/24}}]}]", TOOL, DB, "80", True),
    ("K8S-9 except", "ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/28]}}]}]", "192.0.2.1", DB, "80", False),
    ("K8S-9 past except", "ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/28]}}]}]", "192.0.2.16", DB, "1", True),
    ("K8S-9 ipBlock of one family", "ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]", "fd00::9", DB, "80", False),
    ("K8S-10 absent ports are all", "ingress: [{}]", WEB, DB, "icmp", True),
    ("K8S-10 protocol defaults to TCP", "ingress: [{ports: [{port: 80}]}]", WEB, DB, "80/UDP", False),
    ("K8S-10 port", "ingress: [{ports: [{port: 80}]}]", WEB, DB, "80/TCP", True),
    ("K8S-10 another port", "ingress: [{ports: [{port: 80}]}]", WEB, DB, "81/TCP", False),
    ("K8S-10 range", "ingress: [{ports: [{port: 80, endPort: 90}]}]", WEB, DB, "90/TCP", True),
    ("K8S-10 past the range", "ingress: [{ports: [{port: 80, endPort: 90}]}]", WEB, DB, "91/TCP", False),
    ("K8S-10 no port is the whole protocol", "ingress: [{ports: [{protocol: UDP}]}]", WEB, DB, "53/UDP", True),
    ("K8S-10 an empty entry is all TCP", "ingress: [{ports: [{}]}]", WEB, DB, "80/TCP", True),
    ("K8S-10 and not everything", "ingress: [{ports: [{}]}]", WEB, DB, "80/UDP", False),
    ("K8S-10 ports are not for ICMP", "ingress: [{ports: [{}]}]", WEB, DB, "icmp", False),
    ("K8S-10 named, here", "ingress: [{ports: [{port: sql}]}]", WEB, DB, "5432/TCP", True),
    ("K8S-10 named elsewhere", "ingress: [{ports: [{port: http}]}]", WEB, DB, "8080/TCP", False),
    ("K8S-10 named at the destination", "egress: [{ports: [{port: http}]}]", DB, TOOL, "9090/TCP", True),
    ("K8S-10 by the peer's own number", "egress: [{ports: [{port: http}]}]", DB, TOOL, "8080/TCP", False),
    ("K8S-10 ports AND peers", "egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]", DB, TOOL, "9090/TCP", False),
    ("K8S-10 peer by selector, port by name", "egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]", DB, WEB, "8080/TCP", True),
    ("K8S-10 peer by block, port by name", "egress: [{to: [{ipBlock: {cidr: 10.244.0.0/24}}], ports: [{port: http}]}]", DB, TOOL, "9090", True),
    ("additive: any rule", "ingress: [{ports: [{port: 1}]}, {ports: [{port: 2}]}]", WEB, DB, "2/TCP", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "spec", "source", "destination", "port", "expected"), CASES, ids=[c[0] for c in CASES]
)
def test_policy(case: str, spec: str, source: str, destination: str, port: str, expected: bool) -> None:
    """One policy in namespace shop, one packet."""
    state = cluster(spec)
    number, protocol = parse_port(port)
    packet = packet_between(state, source, destination, protocol, number)
    verdict = evaluate(state, packet)

    assert expected == verdict.allowed, verdict.explain()
    assert expected == allowed(state, packet)


def manifest(name: str, ingress: list[dict[str, Any]]) -> dict[str, Any]:
    """A policy for every pod of shop."""
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress}}  # fmt: skip


def test_policies_add_up() -> None:
    """What any policy allows is allowed, whatever the others say (K8S-6)."""
    policies = manifest("a", []), manifest("b", [{"ports": [{"port": 80}]}]), manifest("c", [])
    state = load_state(*yaml.safe_load_all(CLUSTER), *policies)

    assert allowed(state, packet_between(state, TOOL, DB))
    assert not allowed(state, packet_between(state, TOOL, DB, "TCP", 81))


def test_order_is_1000_in_tier_default() -> None:
    """A Kubernetes policy sits at order 1000 among the Calico policies of tier default (K8S-6, K8S-13)."""
    for order, expected in ((999, False), (1001, True)):
        deny = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "deny"},
                "spec": {"order": order, "selector": "app == 'db'", "ingress": [{"action": "Deny"}]}}  # fmt: skip
        state = load_state(*yaml.safe_load_all(CLUSTER), manifest("a", [{}]), deny)

        assert expected == allowed(state, packet_between(state, WEB, DB))


REASONS = [
    ("ingress: [{ports: [{port: 443}, {port: 80, endPort: 90}, {protocol: UDP}]}]",
     "destination port 8080/TCP is not in 443/TCP, 80-90/TCP, any UDP port"),
    ("ingress: [{from: [{podSelector: {matchLabels: {app: x}}}]}]", "source 10.244.0.1 (shop/web) is none of the 1 peers in from"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "reason"), REASONS)
def test_miss_says_why(spec: str, reason: str) -> None:
    """A Kubernetes rule that misses says whether its peers or its ports did."""
    state = cluster(spec)
    side = evaluate(state, packet_between(state, WEB, DB, "TCP", 8080)).ingress
    assert side is not None

    assert f"rule 0 (Allow) misses: {reason}" in [step.text for step in side.steps]
