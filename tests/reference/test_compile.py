"""Node programs: what is in them, and in which order (2a, NS-1, NAT-1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from reference.loading import load_state
from reference.program.compile import Compiler
from reference.program.types import FlowDirection, NodeProgram, Walk
from reference.state import State

CLUSTER = """
{apiVersion: v1, kind: Node, metadata: {name: n1},
 status: {addresses: [{type: InternalIP, address: 172.30.1.11}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2},
 status: {addresses: [{type: InternalIP, address: 172.30.1.12}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: empty},
 status: {addresses: [{type: InternalIP, address: 172.30.1.13}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: lab, labels: {team: b}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]},
 status: {podIPs: [{ip: 10.244.0.1}, {ip: "fd00:10:244::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {nodeName: n2, containers: [{name: c, image: i, ports: [{name: dns, containerPort: 53, protocol: UDP}]}]},
 status: {podIPs: [{ip: 10.244.0.2}, {ip: "fd00:10:244::2"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: tool, namespace: lab, labels: {app: web}},
 spec: {nodeName: n2, containers: [{name: c, image: i}]},
 status: {podIPs: [{ip: 10.244.0.3}, {ip: "fd00:10:244::3"}]}}
"""


def cluster(*texts: str) -> State:
    """The cluster, with more manifests."""
    return load_state(*yaml.safe_load_all(CLUSTER), *map(yaml.safe_load, texts))


def compiled(*texts: str) -> dict[str, NodeProgram]:
    """The programs of the cluster with more manifests."""
    return dict(Compiler().compile(cluster(*texts)))


def policy(name: str, spec: str = "", kind: str = "GlobalNetworkPolicy", namespace: str = "") -> str:
    """The manifest of a Calico policy; without `types` in its spec it has no rules, so it governs ingress."""
    place = f", namespace: {namespace}" if namespace else ""
    return f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}{place}}}, spec: {{{spec}}}}}"


def tier(name: str, spec: str) -> str:
    """The manifest of a tier."""
    return f"{{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {{name: {name}}}, spec: {{{spec}}}}}"


def walk(programs: dict[str, NodeProgram], name: str, direction: FlowDirection = "ingress") -> Walk:
    """The walk of an endpoint."""
    for program in programs.values():
        for endpoint in program.endpoints.values():
            if endpoint.name == name:
                return program.walks[endpoint.ingress if direction == "ingress" else endpoint.egress]
    raise LookupError(name)


def order(programs: dict[str, NodeProgram], name: str, direction: FlowDirection = "ingress") -> list[str]:
    """The policies on an endpoint's way, in order, as their names."""
    return [id_.partition(":")[2] for step in walk(programs, name, direction).tiers for id_ in step.policies]


def members(program: NodeProgram, family: int = 4) -> list[set[str]]:
    """The members of a node's sets of one family."""
    return [set(each.members) for each in program.sets.values() if each.family == family]


def test_every_node_has_a_program_with_its_own_endpoints() -> None:
    """A node's program holds its pods by interface; a node without pods has an empty one; outside hosts have none."""
    programs = compiled()
    names = {node: sorted(each.name for each in program.endpoints.values()) for node, program in programs.items()}
    assert names == {"n1": ["shop/web"], "n2": ["lab/tool", "shop/db"], "empty": []}
    assert all(
        interface == endpoint.interface
        for program in programs.values()
        for interface, endpoint in program.endpoints.items()
    )


def test_a_pod_no_policy_selects_has_only_its_profiles() -> None:
    """K8S-3: without policies a walk has no tier, and the namespace's profile first."""
    programs = compiled()
    for direction in ("ingress", "egress"):
        way = walk(programs, "shop/web", direction)
        assert way.tiers == ()
        assert way.profiles[0] == "pro:kns.shop"
    profile = programs["n1"].policies["pro:kns.shop"]
    assert [rule.action for rule in (*profile.ingress, *profile.egress)] == ["allow", "allow"]


ORDERS = [
    ("POL-3 order, null last", [("a", ""), ("b", "order: 2"), ("c", "order: 1")], ["c", "b", "a"]),
    ("POL-3 ties by name", [("b", "order: 1"), ("a", "order: 1")], ["a", "b"]),
    ("POL-3 ties are bytewise", [("a0", "order: 1"), ("a", "order: 1"), ("a-b", "order: 1")], ["a-b", "a", "a0"]),
    ("POL-1 tiers by order", [("late.a", "tier: late"), ("early.z", "tier: early")], ["early.z", "late.a"]),
    ("POL-1 null orders last, by name", [("y.a", "tier: y"), ("x.a", "tier: x"), ("d", "")], ["d", "x.a", "y.a"]),
]


@pytest.mark.parametrize(("policies", "expected"), [case[1:] for case in ORDERS], ids=[case[0] for case in ORDERS])
def test_order_of_policies(policies: list[tuple[str, str]], expected: list[str]) -> None:
    """Policies stand on the walk in the order of their tiers, then their own."""
    tiers = [tier("late", "order: 20"), tier("early", "order: 10"), tier("y", ""), tier("x", "")]
    assert order(compiled(*tiers, *(policy(name, spec) for name, spec in policies)), "shop/web") == expected


def test_equal_orders_fall_back_to_name_namespace_and_kind() -> None:
    """POL-3: `a//GlobalNetworkPolicy` sorts before `a/shop/NetworkPolicy`."""
    programs = compiled(policy("a", kind="NetworkPolicy", namespace="shop"), policy("a"))
    assert walk(programs, "shop/web").tiers[0].policies == ("gnp:a", "np:shop/a")


def test_kubernetes_policies_stand_at_order_1000() -> None:
    """K8S-6, K8S-13: Kubernetes and Calico policies of the default tier interleave by order."""
    kubernetes = (
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: k, namespace: shop}, "
        "spec: {podSelector: {}}}"
    )
    programs = compiled(kubernetes, policy("before", "order: 999"), policy("after", "order: 1001"))
    assert order(programs, "shop/web") == ["before", "shop/k", "after"]


def test_a_tier_that_does_not_exist_comes_last_and_denies() -> None:
    """POL-4: a policy whose tier is missing is enforced, after all real tiers."""
    state = cluster(tier("t", "defaultAction: Pass"), policy("t.a", "tier: t"), policy("z"))
    kinds = state.resources
    tiers = kinds["Tier"]
    gone = next(key for key in tiers if key.name == "t")
    without = replace(state, resources=kinds.set("Tier", tiers.delete(gone)))
    steps = walk(dict(Compiler().compile(without)), "shop/web").tiers
    assert [(step.tier, step.default_action) for step in steps] == [("default", "deny"), ("t", "deny")]


def test_default_actions_of_tiers() -> None:
    """POL-2: the built-in tiers end in Pass, Deny and Pass."""
    programs = compiled(
        policy("kube-baseline.c", "tier: kube-baseline"),
        policy("b"),
        policy("kube-admin.a", "tier: kube-admin"),
    )
    steps = walk(programs, "shop/web").tiers
    assert [(step.tier, step.default_action) for step in steps] == [
        ("kube-admin", "pass"),
        ("default", "deny"),
        ("kube-baseline", "pass"),
    ]


def test_a_tier_is_on_the_way_only_in_directions_its_policies_govern() -> None:
    """POL-7, POL-11: an egress policy does not put its tier on the ingress walk; one without rules counts."""
    programs = compiled(policy("e", "types: [Egress]"), policy("i", "types: [Ingress]"))
    assert order(programs, "shop/web", "ingress") == ["i"]
    assert order(programs, "shop/web", "egress") == ["e"]


def test_rules_of_a_direction_not_governed_are_left_out() -> None:
    """POL-8: ingress rules of an egress policy are in no program."""
    programs = compiled(policy("e", "types: [Egress], ingress: [{action: Allow}], egress: [{action: Deny}]"))
    program = programs["n1"].policies["gnp:e"]
    assert program.ingress == ()
    assert [rule.action for rule in program.egress] == ["deny"]


@pytest.mark.parametrize("flag", ["doNotTrack: true", "preDNAT: true"])
def test_untracked_and_prednat_policies_are_inert_for_pods(flag: str) -> None:
    """POL-10: they are in no program and bring no tier."""
    programs = compiled(policy("p", f"{flag}, applyOnForward: true, types: [Ingress]"))
    assert walk(programs, "shop/web").tiers == ()
    assert all("gnp:p" not in program.policies for program in programs.values())


SCOPES = [
    ("RULE-11 GNP without selector: all", policy("p"), {"shop/web", "shop/db", "lab/tool"}),
    ("RULE-11 GNP selector", policy("p", "selector: app == 'web'"), {"shop/web", "lab/tool"}),
    ("RULE-11 NP is its namespace's", policy("p", "", "NetworkPolicy", "shop"), {"shop/web", "shop/db"}),
    ("RULE-11 namespaceSelector", policy("p", "namespaceSelector: team == 'b'"), {"lab/tool"}),
    ("RULE-11 namespaceSelector all()", policy("p", "namespaceSelector: all()"), {"shop/web", "shop/db", "lab/tool"}),
    ("RULE-11 serviceAccountSelector", policy("p", "serviceAccountSelector: has(none)"), set()),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in SCOPES], ids=[case[0] for case in SCOPES])
def test_whom_a_policy_selects(text: str, expected: set[str]) -> None:
    """The endpoints that have the policy on their way."""
    programs = compiled(text)
    assert {name for name in ("shop/web", "shop/db", "lab/tool") if walk(programs, name).tiers} == expected


def test_a_node_gets_only_what_its_endpoints_need() -> None:
    """Policies, profiles and sets that no local endpoint needs are not in a node's program."""
    programs = compiled(policy("p", "ingress: [{action: Allow, source: {selector: has(x)}}]", "NetworkPolicy", "lab"))
    assert "np:lab/p" in programs["n2"].policies
    assert len(programs["n2"].sets) == 2
    assert "np:lab/p" not in programs["n1"].policies
    assert "pro:kns.lab" not in programs["n1"].policies
    assert not programs["n1"].sets
    assert not programs["empty"].policies


def test_a_hint_puts_a_policy_and_its_sets_on_every_node() -> None:
    """AssumeNeededOnEveryNode keeps a policy active where nothing needs it."""
    spec = "selector: has(none), performanceHints: [AssumeNeededOnEveryNode], ingress: [{action: Allow, source: {selector: has(app)}}]"  # noqa: E501
    programs = compiled(policy("p", spec))
    for program in programs.values():
        assert "gnp:p" in program.policies
        assert {"10.244.0.1/32", "10.244.0.2/32", "10.244.0.3/32"} in members(program)


def sourced(entity: str) -> str:
    """A policy for every pod whose one rule has this source."""
    return policy("p", f"ingress: [{{action: Allow, source: {{{entity}}}}}]")


NETS = (
    "{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: s, namespace: shop, labels: {app: web}}, "
    "spec: {nets: [10.0.0.0/8, 10.9.0.0/16, 192.0.2.1, 'fd00::/8']}}"
)
GLOBAL_NETS = (
    "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: g, labels: {app: far}}, "
    "spec: {nets: [198.51.100.7/24, 0.0.0.0/0]}}"
)
NARROWED = {"10.0.0.0/8", "192.0.2.1/32"}  # of the network set and the pods
W, D, T = "10.244.0.1/32", "10.244.0.2/32", "10.244.0.3/32"
MEMBERS: list[tuple[str, str, set[str], list[str]]] = [
    ("RULE-8 endpoints of all nodes", "selector: app == 'web'", {W, T}, []),
    ("RULE-8 no endpoint: empty", "selector: has(none)", set(), []),
    ("RULE-9 by namespace label", "namespaceSelector: team == 'a'", {W, D}, []),
    ("RULE-9 by namespace name", "namespaceSelector: projectcalico.org/name == 'lab'", {T}, []),
    ("RULE-10 by service account label that nobody has", "serviceAccounts: {selector: has(x)}", set(), []),
    ("NS-1 contained nets and addresses are left out", "selector: app == 'web'", NARROWED, [NETS]),
    ("NS-3 a set inherits its namespace's labels", "namespaceSelector: team == 'a'", NARROWED, [NETS]),
    ("RULE-9 global() is what has no namespace", "namespaceSelector: global()", {"0.0.0.0/0"}, [GLOBAL_NETS, NETS]),
    ("2f a global set has no namespace", "selector: app == 'far'", {"0.0.0.0/0"}, [GLOBAL_NETS]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("entity", "expected", "more"), [case[1:] for case in MEMBERS], ids=[case[0] for case in MEMBERS]
)
def test_members_of_address_sets(entity: str, expected: set[str], more: list[str]) -> None:
    """The IPv4 members of the set a rule's source stands for."""
    assert members(compiled(sourced(entity), *more)["n1"]) == [expected]


def test_both_families_of_a_set_are_there() -> None:
    """NS-3: each family has its own set, ending in its digit."""
    program = compiled(sourced("selector: app == 'web'"), NETS)["n1"]
    assert members(program, 6) == [{"fd00::/8"}]
    assert sorted(id_[-1] for id_ in program.sets) == ["4", "6"]


PORTS: list[tuple[str, str, set[str]]] = [
    ("of the rule's protocol", "protocol: UDP, destination: {ports: [dns]}", {"10.244.0.2,17,53"}),
    ("of another protocol: none", "protocol: TCP, destination: {ports: [dns]}", set()),
    ("of any, if the rule has none", "destination: {ports: [dns]}", {"10.244.0.2,17,53"}),
    ("of endpoints the selector matches", "protocol: TCP, destination: {ports: [http], selector: app == 'db'}", set()),
]


@pytest.mark.parametrize(("rule", "expected"), [case[1:] for case in PORTS], ids=[case[0] for case in PORTS])
def test_members_of_port_sets(rule: str, expected: set[str]) -> None:
    """RULE-6: the endpoints that declare the port, of the protocol, among those that match."""
    programs = compiled(policy("p", f"ingress: [{{action: Allow, {rule}}}]"))
    assert members(programs["n1"]) == [expected]


def test_a_service_nobody_stands_behind() -> None:
    """RULE-12: a service without EndpointSlices is an empty set."""
    rule = "{action: Allow, destination: {services: {name: s, namespace: shop}}}"
    programs = compiled(policy("p", f"types: [Egress], egress: [{rule}]"))
    assert members(programs["n1"]) == [set()]


def test_endpoints_with_the_same_way_share_it() -> None:
    """Two pods with the same policies and profiles have one walk, which is one object on all nodes."""
    more = (
        "{apiVersion: v1, kind: Pod, metadata: {name: two, namespace: shop, labels: {app: web}}, "
        "spec: {nodeName: n2, containers: [{name: c, image: i}]}}"
    )
    programs = compiled(more, policy("p", "selector: app == 'web'"))
    assert walk(programs, "shop/web") is walk(programs, "shop/two")
    assert walk(programs, "shop/web") is not walk(programs, "shop/db")


def pool(name: str, cidr: str, more: str = "") -> dict[str, Any]:
    """The manifest of a pool."""
    spec = yaml.safe_load(f"{{cidr: {cidr}{', ' + more if more else ''}}}")
    return {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name}, "spec": spec}


def test_pools() -> None:
    """NAT-1: natOutgoing pools are sources, all pools exceptions, disabled or not; load balancer pools are neither."""
    pools = (
        pool("a", "10.244.0.0/16", "natOutgoing: true"),
        pool("b", "10.245.0.0/16"),
        pool("c", "10.246.0.0/16", "natOutgoing: true, disabled: true"),
        pool("d", "10.247.0.0/16", "allowedUses: [LoadBalancer]"),
    )
    program = Compiler().compile(load_state(*yaml.safe_load_all(CLUSTER), *pools))["empty"]
    assert program.nat_sources == {"10.244.0.0/16", "10.246.0.0/16"}
    assert program.pools == {"10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/16"}
