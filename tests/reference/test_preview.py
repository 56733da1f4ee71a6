"""What committing staged policies comes to, and what it would change."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reference.analysis.ports import named_ports
from reference.analysis.preview import committed, preview
from reference.errors import InvalidInputError
from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import allowed
from reference.resources import KubernetesNetworkPolicy, NetworkPolicy
from reference.state import State

ROOT = Path(__file__).parents[2]
PODS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: ops}, spec: {order: 10}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {containers: [{name: c, image: i}]}, status: {podIPs: [{ip: 10.244.0.1}, {ip: "fd00:10:244::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {containers: [{name: c, image: i, ports: [{name: sql, containerPort: 5432}]}]},
 status: {podIPs: [{ip: 10.244.0.2}, {ip: "fd00:10:244::2"}]}}
"""


def manifest(kind: str, name: str = "p", **spec: Any) -> dict[str, Any]:
    """A policy about shop/db."""
    api = "networking.k8s.io/v1" if kind == "KubernetesNetworkPolicy" else "projectcalico.org/v3"
    metadata = {"name": name} | ({} if "Global" in kind else {"namespace": "shop"})
    chosen = {"podSelector": {"matchLabels": {"app": "db"}}} if "Kubernetes" in kind else {"selector": "app == 'db'"}
    body = spec if spec.get("stagedAction") == "Delete" else chosen | spec
    return {"apiVersion": api, "kind": kind.removeprefix("Kubernetes"), "metadata": metadata, "spec": body}


def rules(*actions: str, **fields: Any) -> list[dict[str, Any]]:
    """Rules that differ in their action only."""
    return [{"action": action, **fields} for action in actions]


def state_of(*manifests: dict[str, Any]) -> State:
    """Two pods and the policies."""
    return load_state(*yaml.safe_load_all(PODS), *manifests)


NP, SNP = "NetworkPolicy", "StagedNetworkPolicy"
COMMITS: list[tuple[str, list[dict[str, Any]], str]] = [
    # id, policies, what is said of the staged one
    ("Set creates", [manifest(SNP, ingress=rules("Deny"))],
     "StagedNetworkPolicy shop/p (Set): NetworkPolicy shop/p created"),
    ("Set replaces", [manifest(NP), manifest(SNP, ingress=rules("Deny"))],
     "StagedNetworkPolicy shop/p (Set): NetworkPolicy shop/p replaced"),
    ("Set of the same", [manifest(NP, ingress=rules("Deny")), manifest(SNP, ingress=rules("Deny"))],
     "StagedNetworkPolicy shop/p (Set): NetworkPolicy shop/p unchanged"),
    ("Set of another tier moves", [manifest(NP), manifest(SNP, tier="ops")],
     "StagedNetworkPolicy shop/p (Set): NetworkPolicy shop/p replaced, and moved from tier default to ops"),
    ("Set of the same name and another kind", [manifest("GlobalNetworkPolicy"), manifest(SNP)],
     "StagedNetworkPolicy shop/p (Set): NetworkPolicy shop/p created"),
    ("Delete deletes", [manifest(NP), manifest(SNP, stagedAction="Delete")],
     "StagedNetworkPolicy shop/p (Delete): NetworkPolicy shop/p deleted"),
    ("Delete of nothing", [manifest(SNP, stagedAction="Delete")],
     "StagedNetworkPolicy shop/p (Delete): nothing happens, there is no such policy"),
    ("Delete of another tier", [manifest(NP, tier="ops"), manifest(SNP, stagedAction="Delete")],
     "StagedNetworkPolicy shop/p (Delete): nothing happens, that policy is in tier ops, not default"),
    ("Delete of its tier", [manifest(NP, tier="ops"), manifest(SNP, stagedAction="Delete", tier="ops")],
     "StagedNetworkPolicy shop/p (Delete): NetworkPolicy shop/p deleted"),
    ("Learn", [manifest(NP), manifest(SNP, stagedAction="Learn", ingress=rules("Deny"))],
     "StagedNetworkPolicy shop/p (Learn): nothing happens, Learn proposes no change"),
    ("Ignore", [manifest(NP), manifest(SNP, stagedAction="Ignore", ingress=rules("Deny"))],
     "StagedNetworkPolicy shop/p (Ignore): nothing happens, Ignore proposes no change"),
    ("global", [manifest("GlobalNetworkPolicy"), manifest("StagedGlobalNetworkPolicy", ingress=rules("Deny"))],
     "StagedGlobalNetworkPolicy p (Set): GlobalNetworkPolicy p replaced"),
    ("global Delete", [manifest("GlobalNetworkPolicy"), manifest("StagedGlobalNetworkPolicy", stagedAction="Delete")],
     "StagedGlobalNetworkPolicy p (Delete): GlobalNetworkPolicy p deleted"),
    ("Kubernetes", [manifest("KubernetesNetworkPolicy"), manifest("StagedKubernetesNetworkPolicy", ingress=[{}])],
     "StagedKubernetesNetworkPolicy shop/p (Set): KubernetesNetworkPolicy shop/p replaced"),
    ("Kubernetes Delete", [manifest("KubernetesNetworkPolicy"), manifest("StagedKubernetesNetworkPolicy", stagedAction="Delete")],
     "StagedKubernetesNetworkPolicy shop/p (Delete): KubernetesNetworkPolicy shop/p deleted"),
]  # fmt: skip


@pytest.mark.parametrize(("policies", "said"), [case[1:] for case in COMMITS], ids=[case[0] for case in COMMITS])
def test_committing(policies: list[dict[str, Any]], said: str) -> None:
    """Committing replaces, creates or deletes the policy of the same name, in the tier the staged one names."""
    state = state_of(*policies)
    (commit,) = preview(state, ["80/TCP"]).commits
    staged_kind, enforced_kind = commit.staged.split()[0], commit.policy.split()[0]
    after = committed(state)

    assert str(commit) == said
    carried_out = commit.action in ("Set", "Delete")
    assert (staged_kind in after.resources) == (not carried_out)
    was, is_now = state.resources.get(enforced_kind), after.resources.get(enforced_kind)
    assert (is_now is None) == (commit.result == "deleted" or (commit.result == "nothing" and was is None))
    if commit.result in ("unchanged", "nothing"):
        assert is_now == was


def test_what_is_committed_is_the_policy_the_user_would_apply() -> None:
    """The enforced policy is the one its own manifest would make, defaults included, and none of the staged object's identity."""
    spec = {"ingress": rules("Allow", protocol="TCP", destination={"ports": ["80"]}), "order": 7}
    staged = manifest(SNP, **spec)
    staged["metadata"] |= {"uid": "u-1", "resourceVersion": "5", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    plain = manifest(NP, **spec)
    plain["metadata"] |= {"labels": {"a": "b"}, "annotations": {"c": "d"}}

    found = committed(state_of(staged)).get(NetworkPolicy, "p", "shop")
    assert found == state_of(plain).get(NetworkPolicy, "p", "shop")


def test_a_kubernetes_policy_gets_its_types() -> None:
    """K8S-8 holds for what is committed too."""
    state = committed(state_of(manifest("StagedKubernetesNetworkPolicy", egress=[{}])))
    found = state.get(KubernetesNetworkPolicy, "p", "shop")
    assert found is not None

    assert found.spec.policy_types == ("Ingress", "Egress")


def test_committing_nothing_gives_the_very_state() -> None:
    """Without staged policies there is nothing to commit, and nothing changes."""
    state = state_of(manifest(NP, ingress=rules("Deny")))
    answer = preview(state)

    assert committed(state) is state
    assert (answer.commits, answer.changes) == ((), ())
    assert answer.text() == "no policy is staged\n\nno flow between these would change (2 pods; ports 80/TCP)\n"


def test_changes_carry_the_deciding_lines() -> None:
    """A flow that would change is told once for both families, with what decides before and after."""
    state = state_of(manifest(NP, ingress=rules("Allow")), manifest(SNP, ingress=rules("Deny")))
    (change,) = preview(state).changes

    assert (change.source, change.destination, change.port, change.allowed) == ("shop/web", "shop/db", "80/TCP", False)
    assert change.families == (4, 6)
    assert change.before.endswith("; ingress of shop/db allowed by rule 0 of np:shop/p in tier default")
    assert change.after == "ingress of shop/db denied by rule 0 of np:shop/p in tier default"


def test_a_change_in_one_family_only() -> None:
    """A rule for IPv6 changes IPv6 only, and is not overlooked where pods have both."""
    only_six = [{"action": "Deny", "ipVersion": 6}, {"action": "Allow"}]
    (change,) = preview(state_of(manifest(SNP, ingress=only_six))).changes

    assert change.families == (6,)
    assert (change.port, change.allowed) == ("80/TCP", False)


def test_replacing_differs_from_the_pending_walk() -> None:
    """Trap 26: the staged policy takes the enforced one's place, where a pending trace lets the enforced one decide first."""
    state = state_of(manifest(NP, ingress=rules("Allow")), manifest(SNP, ingress=rules("Deny")))
    packet = packet_between(state, "shop/web", "shop/db")

    assert allowed(state, packet)
    assert not allowed(committed(state), packet)


PORTS: list[tuple[str, dict[str, Any], list[str]]] = [
    # id, a policy, the ports named beside 80/TCP
    ("a number", manifest(NP, ingress=rules("Allow", protocol="TCP", destination={"ports": [443]})), ["443/TCP"]),
    ("a range", manifest(NP, ingress=rules("Allow", protocol="UDP", destination={"ports": ["100:200"]})), ["100/UDP", "200/UDP"]),
    ("notPorts", manifest(NP, ingress=rules("Allow", protocol="SCTP", destination={"notPorts": [99]})), ["99/SCTP"]),
    ("a name", manifest(NP, ingress=rules("Allow", destination={"ports": ["sql"]})), ["5432/TCP"]),
    ("a name of no protocol", manifest(NP, ingress=rules("Allow", protocol="UDP", destination={"ports": ["sql"]})), []),
    ("egress", manifest(NP, egress=rules("Allow", protocol="TCP", destination={"ports": [25]})), ["25/TCP"]),
    ("a source port is asked for nowhere", manifest(NP, ingress=rules("Allow", protocol="TCP", source={"ports": [25]})), []),
    ("ICMP", manifest(NP, ingress=rules("Allow", protocol="ICMP")), ["ICMP"]),
    ("ICMPv6", manifest(NP, ingress=rules("Allow", protocol="ICMPv6")), ["ICMP"]),
    ("a protocol without ports", manifest(NP, ingress=rules("Allow", notProtocol="udp")), ["80/UDP"]),
    ("a protocol by number", manifest(NP, ingress=rules("Allow", protocol=47)), ["0/47"]),
    ("staged", manifest(SNP, ingress=rules("Allow", protocol="TCP", destination={"ports": [443]})), ["443/TCP"]),
    ("Kubernetes", manifest("KubernetesNetworkPolicy", ingress=[{"ports": [{"port": 1, "endPort": 9}, {"port": 53, "protocol": "UDP"}]}]), ["1/TCP", "9/TCP", "53/UDP"]),
    ("Kubernetes by name", manifest("KubernetesNetworkPolicy", ingress=[{"ports": [{"port": "sql"}]}]), ["5432/TCP"]),
    ("Kubernetes without a number", manifest("KubernetesNetworkPolicy", ingress=[{"ports": [{"protocol": "SCTP"}]}]), ["80/SCTP"]),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "named"), [case[1:] for case in PORTS], ids=[case[0] for case in PORTS])
def test_named_ports(policy: dict[str, Any], named: list[str]) -> None:
    """80/TCP comes first, then what the policies name, each in the terms of a matrix."""
    state = state_of(policy)

    assert named_ports(state) == ("80/TCP", *named)
    assert preview(state).ports == ("80/TCP", *named)


def test_cluster_policies_name_ports_too() -> None:
    """So do the rules of a ClusterNetworkPolicy."""
    rule = {
        "action": "Deny",
        "from": [{"namespaces": {}}],
        "protocols": [{"udp": {"destinationPort": {"range": {"start": 5, "end": 7}}}}],
    }
    policy = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "g"},
              "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": [rule]}}  # fmt: skip

    assert named_ports(state_of(policy)) == ("80/TCP", "5/UDP", "7/UDP")


@pytest.mark.parametrize("port", ["ICMP", "0/47", "80/UDP", "0/UDPLite"])
def test_ports_without_numbers_are_answered(port: str) -> None:
    """Protocols without ports are asked and explained like any other."""
    (change,) = preview(state_of(manifest(SNP, ingress=rules("Deny"))), [port]).changes

    assert change.port == port
    assert change.after == "ingress of shop/db denied by rule 0 of np:shop/p in tier default"


def test_other_ends_are_asked_when_named() -> None:
    """A policy about traffic with the outside changes no flow between pods; the outside is asked when it is named."""
    outside = rules("Deny", destination={"nets": ["203.0.113.0/24"]}) + rules("Allow")
    state = state_of(manifest(SNP, egress=outside))

    assert preview(state).changes == ()
    answer = preview(state, ["80/TCP"], ["203.0.113.10"])
    assert [(c.source, c.destination, c.allowed, c.families) for c in answer.changes] == [
        ("shop/db", "203.0.113.10", False, (4,))
    ]
    assert "(2 pods, 203.0.113.10; ports 80/TCP)" in answer.text()
    with pytest.raises(InvalidInputError, match="nowhere"):
        preview(state, ["80/TCP"], ["nowhere"])


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("80", "80/TCP"),
        ("53/udp", "53/UDP"),
        ("icmpv6", "ICMP"),
        ("0/47", "0/47"),
        ("0/17", None),
        ("udplite", "0/UDPLite"),
    ],
)
def test_ports_are_spelled_in_one_way(given: str, asked: str | None) -> None:
    """Ports of the user's are told as they could be given again."""
    if asked is None:
        with pytest.raises(InvalidInputError):
            preview(state_of(), [given])
    else:
        assert preview(state_of(), [given, asked]).ports == (asked,)


def test_the_documents_example() -> None:
    """The answer in the documentation is the answer."""
    files = ("scenarios/manifests/shop.yaml", "docs/examples/db-from-api-only.yaml", "docs/examples/staged.yaml")
    text = preview(load_state(*(ROOT / file for file in files))).text()

    assert f"```text\n{text}```" in (ROOT / "docs" / "staged.md").read_text()
