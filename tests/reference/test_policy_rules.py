"""Every field of a Calico rule, one line per packet (semantics 2b.1)."""

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
{apiVersion: v1, kind: ServiceAccount, metadata: {name: keeper, namespace: shop, labels: {role: keeper}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {serviceAccountName: clerk, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]},
 status: {podIPs: [{ip: 10.244.0.1}, {ip: "fd00:10:244::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {serviceAccountName: keeper, containers: [{name: c, image: i, ports: [
   {name: sql, containerPort: 5432}, {name: dns, containerPort: 53, protocol: UDP}]}]},
 status: {podIPs: [{ip: 10.244.0.2}, {ip: "fd00:10:244::2"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: tool, namespace: lab, labels: {app: web}},
 spec: {containers: [{name: c, image: i, ports: [{name: sql, containerPort: 3306}]}]},
 status: {podIPs: [{ip: 10.244.0.3}, {ip: "fd00:10:244::3"}]}}
---
{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: partners, namespace: shop, labels: {kind: set}},
 spec: {nets: [192.0.2.0/24, 192.0.2.64/26, "2001:db8::/64"]}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: world, labels: {kind: set}},
 spec: {nets: [198.51.100.0/24, 198.51.100.7]}}
"""
GLOBAL, SHOP = "GlobalNetworkPolicy", "NetworkPolicy"


def cluster(kind: str, rule: dict[str, Any], direction: str = "ingress") -> State:
    """The cluster, with one policy whose one rule governs shop/db, and a denial after it."""
    metadata = {"name": "p"} | ({"namespace": "shop"} if kind == SHOP else {})
    spec = {"selector": "app == 'db'", "types": [direction.capitalize()], direction: [{"action": "Allow", **rule}]}
    policy = {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}
    return load_state(*yaml.safe_load_all(CLUSTER), policy)


@lru_cache
def cluster_of(text: str) -> State:
    """The cluster of a case: `global`, `shop` or either with `-egress`, then the rule."""
    kind, _, rule = text.partition(" ")
    direction = "egress" if kind.endswith("-egress") else "ingress"
    return cluster({"global": GLOBAL, "shop": SHOP}[kind.partition("-")[0]], yaml.safe_load(rule), direction)


WEB, DB, TOOL = "shop/web", "shop/db", "lab/tool"
INGRESS_CASES = [
    # id, kind of policy and rule, source, port, does the rule match
    ("RULE-1 an empty rule matches all", "global {}", TOOL, "80/TCP", True),
    ("RULE-1 fields AND: both hold", "global {protocol: TCP, source: {nets: [10.244.0.1/32]}}", WEB, "80/TCP", True),
    ("RULE-1 fields AND: one fails", "global {protocol: UDP, source: {nets: [10.244.0.1/32]}}", WEB, "80/TCP", False),
    ("RULE-1 entries OR", "global {source: {nets: [10.9.0.0/16, 10.244.0.0/30]}}", WEB, "80/TCP", True),
    ("RULE-1 a negated list means none", "global {source: {notNets: [10.9.0.0/16, 10.244.0.0/30]}}", WEB, "1/TCP", False),
    ("RULE-1 a negated list lets the rest", "global {source: {notNets: [10.9.0.0/16]}}", WEB, "1/TCP", True),
    ("RULE-2 any case", "global {protocol: uDp}", WEB, "53/UDP", True),
    ("RULE-2 by number", "global {protocol: 17}", WEB, "53/UDP", True),
    ("RULE-2 another number", "global {protocol: 132}", WEB, "53/UDP", False),
    ("RULE-2 notProtocol excludes", "global {notProtocol: UDP}", WEB, "53/UDP", False),
    ("RULE-2 notProtocol lets the rest", "global {notProtocol: UDP}", WEB, "53/TCP", True),
    ("RULE-3 type", "global {protocol: ICMP, icmp: {type: 8}}", WEB, "icmp", True),
    ("RULE-3 another type", "global {protocol: ICMP, icmp: {type: 0}}", WEB, "icmp", False),
    ("RULE-3 type and code", "global {protocol: ICMP, icmp: {type: 8, code: 0}}", WEB, "icmp", True),
    ("RULE-3 another code", "global {protocol: ICMP, icmp: {type: 8, code: 1}}", WEB, "icmp", False),
    ("RULE-3 notICMP excludes", "global {protocol: ICMP, notICMP: {type: 8}}", WEB, "icmp", False),
    ("RULE-3 notICMP negates the pair", "global {protocol: ICMP, notICMP: {type: 8, code: 1}}", WEB, "icmp", True),
    ("RULE-4 ipVersion 4", "global {ipVersion: 4}", WEB, "80/TCP", True),
    ("RULE-4 ipVersion 6", "global {ipVersion: 6}", WEB, "80/TCP", False),
    ("RULE-4 ipVersion 6 on IPv6", "global {ipVersion: 6}", "fd00:10:244::1", "80/TCP", True),
    ("RULE-4 ICMPv6 is not ICMP", "global {protocol: ICMP}", "fd00:10:244::1", "icmp", False),
    ("RULE-4 ICMPv6", "global {protocol: ICMPv6, icmp: {type: 128}}", "fd00:10:244::1", "icmp", True),
    ("RULE-5 number", "global {protocol: TCP, destination: {ports: [80]}}", WEB, "80/TCP", True),
    ("RULE-5 range", "global {protocol: TCP, destination: {ports: ['8080:8090', 5]}}", WEB, "8090/TCP", True),
    ("RULE-5 past the range", "global {protocol: TCP, destination: {ports: ['8080:8090', 5]}}", WEB, "8091/TCP", False),
    ("RULE-5 number or name", "global {protocol: TCP, destination: {ports: [80, sql]}}", WEB, "5432/TCP", True),
    ("RULE-5 notPorts", "global {protocol: TCP, destination: {notPorts: [80]}}", WEB, "80/TCP", False),
    ("RULE-5 notPorts lets the rest", "global {protocol: TCP, destination: {notPorts: [80]}}", WEB, "81/TCP", True),
    ("RULE-5 source ports", "global {protocol: TCP, source: {ports: ['40000:40001']}}", WEB, "80/TCP", True),
    ("RULE-6 named", "global {protocol: TCP, destination: {ports: [sql]}}", WEB, "5432/TCP", True),
    ("RULE-6 declared by another pod", "global {protocol: TCP, destination: {ports: [sql]}}", WEB, "3306/TCP", False),
    ("RULE-6 another protocol", "global {protocol: TCP, destination: {ports: [dns]}}", WEB, "53/TCP", False),
    ("RULE-6 any protocol without one", "global {destination: {ports: [dns]}}", WEB, "53/UDP", True),
    ("RULE-6 not in notPorts", "global {protocol: TCP, destination: {notPorts: [sql]}}", WEB, "3306/TCP", True),
    ("RULE-6 in notPorts", "global {protocol: TCP, destination: {notPorts: [sql]}}", WEB, "5432/TCP", False),
    ("RULE-7 both", "global {source: {selector: has(app), notSelector: app == 'db'}}", WEB, "80/TCP", True),
    ("RULE-7 both, excluded", "global {source: {selector: has(app), notSelector: app == 'web'}}", WEB, "80/TCP", False),
    ("RULE-7 both, nobody's address", "global {source: {selector: all(), notSelector: app == 'web'}}", "9.9.9.9", "1", False),
    ("RULE-7 lone notSelector", "global {source: {notSelector: app == 'web'}}", WEB, "80/TCP", False),
    ("RULE-7 lone, nobody's address matches", "global {source: {notSelector: app == 'web'}}", "9.9.9.9", "80/TCP", True),
    ("RULE-7 lone in a namespace is positive", "shop {source: {notSelector: app == 'x'}}", "9.9.9.9", "80/TCP", False),
    ("RULE-7 lone in a namespace", "shop {source: {notSelector: app == 'x'}}", WEB, "80/TCP", True),
    ("RULE-7 lone, other namespace", "shop {source: {notSelector: app == 'x'}}", TOOL, "80/TCP", False),
    ("RULE-8 by address", "global {source: {selector: app == 'web'}}", "10.244.0.1", "80/TCP", True),
    ("RULE-8 all() needs an owner", "global {source: {selector: all()}}", "9.9.9.9", "80/TCP", False),
    ("RULE-8 a set by label", "global {source: {selector: kind == 'set'}}", "198.51.100.9", "80/TCP", True),
    ("RULE-8 outside the set", "global {source: {selector: kind == 'set'}}", "198.51.101.9", "80/TCP", False),
    ("NS-1 nested nets of one set", "global {source: {selector: kind == 'set'}}", "192.0.2.65", "80/TCP", True),
    ("NS-3 both families", "shop {source: {selector: kind == 'set'}}", "2001:db8::9", "80/TCP", True),
    ("RULE-9 selector stays in the namespace", "shop {source: {selector: app == 'web'}}", TOOL, "80/TCP", False),
    ("RULE-9 selector in the namespace", "shop {source: {selector: app == 'web'}}", WEB, "80/TCP", True),
    ("RULE-9 a set of the namespace", "shop {source: {selector: kind == 'set'}}", "192.0.2.1", "80/TCP", True),
    ("RULE-9 a global set is outside", "shop {source: {selector: kind == 'set'}}", "198.51.100.9", "80/TCP", False),
    ("RULE-9 nets do not trigger it", "shop {source: {nets: [10.244.0.3/32]}}", TOOL, "80/TCP", True),
    ("RULE-9 namespaceSelector", "shop {source: {namespaceSelector: team == 'b'}}", TOOL, "80/TCP", True),
    ("RULE-9 another namespace", "shop {source: {namespaceSelector: team == 'b'}}", WEB, "80/TCP", False),
    ("RULE-9 AND selector", "shop {source: {namespaceSelector: team == 'b', selector: app == 'db'}}", TOOL, "1", False),
    ("RULE-9 by name", "shop {source: {namespaceSelector: projectcalico.org/name == 'lab'}}", TOOL, "80/TCP", True),
    ("RULE-9 by metadata.name", "shop {source: {namespaceSelector: kubernetes.io/metadata.name == 'lab'}}", TOOL, "1", True),
    ("RULE-9 all() is any namespace", "shop {source: {namespaceSelector: all()}}", TOOL, "80/TCP", True),
    ("RULE-9 all() is not none", "shop {source: {namespaceSelector: all()}}", "198.51.100.9", "80/TCP", False),
    ("RULE-9 global() is none", "shop {source: {namespaceSelector: global()}}", "198.51.100.9", "80/TCP", True),
    ("RULE-9 global() is no pod", "shop {source: {namespaceSelector: global()}}", TOOL, "80/TCP", False),
    ("RULE-9 global() is not nobody", "shop {source: {namespaceSelector: global()}}", "9.9.9.9", "80/TCP", False),
    ("RULE-9 negative selects none too", "global {source: {namespaceSelector: '!has(x)'}}", "198.51.100.9", "80/TCP", True),
    ("RULE-9 all() inside", "global {source: {namespaceSelector: '!has(x) && all()'}}", "198.51.100.9", "1", False),
    ("RULE-9 makes notSelector positive", "global {source: {namespaceSelector: all(), notSelector: app == 'x'}}", "9.9.9.9", "1", False),
    ("RULE-10 by name", "global {source: {serviceAccounts: {names: [clerk, other]}}}", WEB, "80/TCP", True),
    ("RULE-10 another name", "global {source: {serviceAccounts: {names: [other]}}}", WEB, "80/TCP", False),
    ("RULE-10 by label", "global {destination: {serviceAccounts: {selector: role == 'keeper'}}}", WEB, "80/TCP", True),
    ("RULE-10 both AND", "global {destination: {serviceAccounts: {selector: role == 'keeper', names: [x]}}}", WEB, "1", False),
    ("RULE-10 undeclared account has no labels", "global {source: {serviceAccounts: {selector: has(role)}}}", WEB, "1", False),
    ("RULE-9 accounts stay in the namespace", "shop {source: {serviceAccounts: {selector: '!has(role)'}}}", TOOL, "1", False),
    ("RULE-12 no slices, no match", "shop {source: {services: {name: s}}}", WEB, "80/TCP", False),
    ("RULE-13 nets of the other family", "global {source: {nets: ['fd00::/8']}}", WEB, "80/TCP", False),
    ("RULE-13 notNets of the other family", "global {source: {notNets: ['2001:db8::/32']}}", WEB, "80/TCP", False),
    ("RULE-13 notNets of this family", "global {source: {notNets: ['2001:db8::/32']}}", "fd00:10:244::1", "80/TCP", True),
    ("RULE-15 http is not seen", "global {protocol: TCP, http: {methods: [GET]}}", WEB, "80/TCP", True),
    ("SEL-9 inherited labels", "global {source: {selector: pcns.team == 'b'}}", TOOL, "80/TCP", True),
    ("SEL-9 a set inherits its namespace's", "global {source: {selector: pcns.team == 'a' && kind == 'set'}}", "192.0.2.1", "1", True),
]  # fmt: skip


@pytest.mark.parametrize(("case", "rule", "peer", "port", "expected"), INGRESS_CASES, ids=[c[0] for c in INGRESS_CASES])
def test_ingress_rule(case: str, rule: str, peer: str, port: str, expected: bool) -> None:
    """A packet to shop/db is allowed exactly when the only rule of its only policy matches."""
    state = cluster_of(rule)
    number, protocol = parse_port(port)
    packet = packet_between(state, peer, DB, protocol, number)

    assert expected == allowed(state, packet), evaluate(state, packet).explain()


EGRESS_CASES = [
    ("RULE-1 destination nets", "global-egress {destination: {nets: [9.9.9.0/24]}}", "9.9.9.9", "80/TCP", True),
    ("RULE-6 named port elsewhere", "global-egress {protocol: TCP, destination: {ports: [http]}}", WEB, "8080/TCP", True),
    ("RULE-6 named port of the selected", "global-egress {protocol: TCP, destination: {selector: app == 'web', ports: [sql]}}", TOOL, "3306", True),
    ("RULE-6 of others only", "global-egress {protocol: TCP, destination: {selector: app == 'db', ports: [sql]}}", TOOL, "3306", False),
    ("RULE-6 all endpoints without a selector", "shop-egress {protocol: TCP, destination: {ports: [sql]}}", TOOL, "3306", True),
    ("RULE-6 nobody declares", "global-egress {protocol: TCP, destination: {ports: [sql]}}", "9.9.9.9", "5432", False),
    ("RULE-7 lone notSelector", "global-egress {destination: {notSelector: app == 'web'}}", "9.9.9.9", "80/TCP", True),
    ("RULE-9 all() is any namespace", "shop-egress {destination: {namespaceSelector: all()}}", TOOL, "80/TCP", True),
]  # fmt: skip


@pytest.mark.parametrize(("case", "rule", "peer", "port", "expected"), EGRESS_CASES, ids=[c[0] for c in EGRESS_CASES])
def test_egress_rule(case: str, rule: str, peer: str, port: str, expected: bool) -> None:
    """A packet from shop/db is allowed exactly when the only rule of its only policy matches."""
    state = cluster_of(rule)
    number, protocol = parse_port(port)
    packet = packet_between(state, DB, peer, protocol, number)

    assert expected == allowed(state, packet), evaluate(state, packet).explain()


REASONS = [
    ("global {ipVersion: 6}", WEB, "80", "the packet is IPv4, the rule is for IPv6"),
    ("global {protocol: UDP}", WEB, "80", "protocol TCP is not UDP"),
    ("global {notProtocol: TCP}", WEB, "80", "protocol TCP is excluded by notProtocol"),
    ("global {protocol: ICMP, icmp: {type: 3}}", WEB, "icmp", "ICMP type 8 code 0 is not type 3"),
    ("global {protocol: TCP, destination: {ports: [80, '8080:8090']}}", WEB, "443", "destination port 443 is not in 80, 8080-8090"),
    ("global {source: {nets: [10.9.0.0/16]}}", WEB, "80", "source 10.244.0.1 (shop/web) is not in 10.9.0.0/16"),
    ("global {source: {notNets: ['fd00::/8']}}", WEB, "80", "notNets fd00::/8 has no IPv4 net, so the rule says nothing of IPv4"),
    ("global {source: {selector: app == 'x'}}", WEB, "80", "source 10.244.0.1 (shop/web) does not match app == 'x'"),
    ("shop {source: {selector: app == 'web'}}", TOOL, "80", "source 10.244.0.3 (lab/tool) is not in the policy's namespace"),
    ("global {source: {selector: all()}}", "9.9.9.9", "80", "source 9.9.9.9 is no endpoint and in no network set, so no selector matches it"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "peer", "port", "reason"), REASONS)
def test_miss_names_the_field(rule: str, peer: str, port: str, reason: str) -> None:
    """A rule that misses says which field made it miss, and what was found."""
    state = cluster_of(rule)
    number, protocol = parse_port(port)
    verdict = evaluate(state, packet_between(state, peer, DB, protocol, number))
    assert verdict.ingress is not None
    misses = [step.text for step in verdict.ingress.steps if step.outcome == "miss" and step.rule == 0]

    assert [f"rule 0 (Allow) misses: {reason}"] == misses


def test_shared_address_is_indistinguishable() -> None:
    """An address of two endpoints has the labels of both (RULE-8)."""
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
         "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"podIP": address}}
        for name, address in (("one", "10.244.0.1"), ("two", "10.244.0.2"), ("db", "10.244.0.9"))
    ]  # fmt: skip
    policy = {"apiVersion": "projectcalico.org/v3", "kind": GLOBAL, "metadata": {"name": "p"},
              "spec": {"selector": "app == 'db'", "ingress": [{"action": "Allow", "source": {"selector": "app == 'two'"}}]}}  # fmt: skip
    state = load_state(*pods, policy)
    shared = (("shop", "one"), ("shop", "two"))
    both = State(
        resources=state.resources,
        endpoints=state.endpoints,
        addresses=state.addresses.set("10.244.0.1", shared),
        hosts=state.hosts,
    )

    packet = packet_between(state, "shop/one", "shop/db")
    assert not allowed(state, packet)
    assert allowed(both, packet)
