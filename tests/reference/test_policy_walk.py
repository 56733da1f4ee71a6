"""The walk over tiers, policies and profiles (semantics 2a), one line per cluster and packet."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import Verdict, allowed, evaluate
from reference.state import State

PODS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: keeper, namespace: shop, labels: {role: keeper}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {serviceAccountName: keeper, containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.2}}
"""
ALLOW, DENY, PASS, LOG = ({"action": action} for action in ("Allow", "Deny", "Pass", "Log"))


def gnp(name: str, *ingress: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A GlobalNetworkPolicy for shop/db, with ingress rules."""
    body = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": list(ingress), **spec}
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": body,
    }


def np(name: str, *ingress: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A NetworkPolicy for shop/db, with ingress rules."""
    policy = gnp(name, *ingress, **spec)
    return policy | {"kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "shop"}}


def tier(name: str, order: float | None, action: str = "Deny") -> dict[str, Any]:
    """A tier."""
    spec = {"defaultAction": action} | ({} if order is None else {"order": order})
    return {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": name}, "spec": spec}


def knp(name: str) -> dict[str, Any]:
    """A Kubernetes policy that allows all ingress to shop/db."""
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec}  # fmt: skip


def verdict_of(*policies: dict[str, Any]) -> Verdict:
    """The verdict on web -> db:80/TCP, told with and without words."""
    state = load_state(*yaml.safe_load_all(PODS), *policies)
    packet = packet_between(state, "shop/web", "shop/db")
    verdict = evaluate(state, packet)
    assert verdict.allowed == allowed(state, packet)
    return verdict


CASES: list[tuple[str, list[dict[str, Any]], list[str]]] = [
    # id, tiers and policies, the whole enforced trace of shop/db's ingress
    ("POL-1 tiers by order", [tier("b", 1), tier("a", 2), gnp("y", ALLOW, tier="b"), gnp("x", DENY, tier="a")],
     ["b|gnp:y|allow|0"]),
    ("POL-1 no order last", [tier("a", None), tier("b", 2e9), gnp("x", DENY, tier="a"), gnp("y", ALLOW, tier="b")],
     ["b|gnp:y|allow|0"]),
    ("POL-1 ties by name", [tier("b", 5), tier("a", 5), gnp("x", DENY, tier="b"), gnp("y", ALLOW, tier="a")],
     ["a|gnp:y|allow|0"]),
    ("POL-1 unordered ties by name", [tier("b", None), tier("a", None), gnp("x", DENY, tier="b"), gnp("y", ALLOW, tier="a")],
     ["a|gnp:y|allow|0"]),
    ("POL-2 kube-admin passes at its end", [gnp("x", tier="kube-admin")],
     ["kube-admin|gnp:x|pass|-1", "__PROFILE__|pro:kns.shop|allow|0"]),
    ("POL-2 kube-baseline passes at its end", [gnp("x", tier="kube-baseline")],
     ["kube-baseline|gnp:x|pass|-1", "__PROFILE__|pro:kns.shop|allow|0"]),
    ("POL-2 kube-baseline after default", [gnp("x", DENY, tier="kube-baseline"), gnp("y", PASS)],
     ["default|gnp:y|pass|0", "kube-baseline|gnp:x|deny|0"]),
    ("POL-3 by order", [gnp("a", DENY, order=2), gnp("b", ALLOW, order=1)], ["default|gnp:b|allow|0"]),
    ("POL-3 no order last", [gnp("a", DENY), gnp("b", ALLOW, order=1e9)], ["default|gnp:b|allow|0"]),
    ("POL-3 ties by name", [gnp("b", DENY, order=1), gnp("a", ALLOW, order=1)], ["default|gnp:a|allow|0"]),
    ("POL-3 global before namespaced", [np("a", DENY, order=1), gnp("a", ALLOW, order=1)], ["default|gnp:a|allow|0"]),
    ("POL-3 kind is last", [np("a", DENY, order=1000), knp("a")], ["default|knp:shop/a|allow|0"]),
    ("POL-4 missing tier is enforced, last", [gnp("x", ALLOW, tier="default"), gnp("y", DENY, tier="aaa")],
     ["default|gnp:x|allow|0"]),
    ("POL-4 missing tier denies at its end", [gnp("x", PASS), gnp("y", tier="aaa")],
     ["default|gnp:x|pass|0", "aaa|gnp:y|deny|-1"]),
    ("POL-7 no rules activate the end", [gnp("x")], ["default|gnp:x|deny|-1"]),
    ("POL-8 rules of a direction not in types", [gnp("x", DENY, types=["Egress"], egress=[])],
     ["__PROFILE__|pro:kns.shop|allow|0"]),
    ("POL-9 applyOnForward is in the normal list", [gnp("x", DENY, applyOnForward=True)], ["default|gnp:x|deny|0"]),
    ("POL-10 doNotTrack is inert", [gnp("x", DENY, doNotTrack=True, applyOnForward=True)],
     ["__PROFILE__|pro:kns.shop|allow|0"]),
    ("POL-10 preDNAT is inert", [gnp("x", DENY, preDNAT=True, applyOnForward=True)],
     ["__PROFILE__|pro:kns.shop|allow|0"]),
    ("POL-11 a tier that does not select", [tier("a", 1), gnp("x", DENY, tier="a", selector="app == 'web'")],
     ["__PROFILE__|pro:kns.shop|allow|0"]),
    ("POL-11 a tier that governs the other direction", [gnp("x", types=["Egress"])],
     ["__PROFILE__|pro:kns.shop|allow|0"]),
    ("POL-12 first match decides", [gnp("x", ALLOW, DENY)], ["default|gnp:x|allow|0"]),
    ("POL-12 deny stops", [gnp("x", DENY, order=1), gnp("y", ALLOW, order=2)], ["default|gnp:x|deny|0"]),
    ("POL-12 pass leaves the tier", [tier("a", 1), gnp("x", PASS, DENY, tier="a", order=1), gnp("y", DENY, tier="a", order=2), gnp("z", ALLOW)],
     ["a|gnp:x|pass|0", "default|gnp:z|allow|0"]),
    ("POL-12 log goes on", [gnp("x", LOG, ALLOW)], ["default|gnp:x|allow|1"]),
    ("POL-12 log alone decides nothing", [gnp("x", LOG)], ["default|gnp:x|deny|-1"]),
    ("POL-12 next policy when none matches", [gnp("x", {"action": "Deny", "protocol": "UDP"}, order=1), gnp("y", ALLOW, order=2)],
     ["default|gnp:y|allow|0"]),
    ("POL-13 end of a passing tier", [tier("a", 1, "Pass"), gnp("x", tier="a"), gnp("y", ALLOW)],
     ["a|gnp:x|pass|-1", "default|gnp:y|allow|0"]),
    ("FL-6 end of tier names the last policy", [gnp("x", order=1), gnp("y", order=2)], ["default|gnp:y|deny|-1"]),
    ("POL-14 pass in the last tier comes to the profiles", [gnp("x", PASS)],
     ["default|gnp:x|pass|0", "__PROFILE__|pro:kns.shop|allow|0"]),
    ("RULE-11 no selector is everything", [gnp("x", DENY, selector="")], ["default|gnp:x|deny|0"]),
    ("RULE-11 no selector in the namespace", [np("x", DENY, selector="")], ["default|np:shop/x|deny|0"]),
    ("RULE-11 another namespace", [np("x", DENY) | {"metadata": {"name": "x", "namespace": "lab"}}],
     ["__PROFILE__|pro:kns.shop|allow|0"]),
    ("RULE-11 namespaceSelector", [gnp("x", DENY, namespaceSelector="team == 'a'")], ["default|gnp:x|deny|0"]),
    ("RULE-11 another namespaceSelector", [gnp("x", DENY, namespaceSelector="team == 'b'")],
     ["__PROFILE__|pro:kns.shop|allow|0"]),
    ("RULE-11 serviceAccountSelector", [np("x", DENY, serviceAccountSelector="role == 'keeper'")],
     ["default|np:shop/x|deny|0"]),
    ("RULE-11 another serviceAccountSelector", [gnp("x", DENY, serviceAccountSelector="role == 'clerk'")],
     ["__PROFILE__|pro:kns.shop|allow|0"]),
    ("RULE-11 all() accounts", [gnp("x", DENY, serviceAccountSelector="all()")], ["default|gnp:x|deny|0"]),
]  # fmt: skip


@pytest.mark.parametrize(("case", "policies", "expected"), CASES, ids=[case[0] for case in CASES])
def test_walk(case: str, policies: list[dict[str, Any]], expected: list[str]) -> None:
    """The ingress of shop/db decides exactly by these hits."""
    verdict = verdict_of(*policies)
    assert verdict.ingress is not None
    hits = verdict.ingress.hit_strings()

    assert [f"{index}|{hit}" for index, hit in enumerate(expected)] == list(hits)
    assert verdict.ingress.allowed == ("|allow|" in expected[-1])


def test_no_types_govern_both() -> None:
    """A policy that has no types governs both directions (POL-6)."""
    state = load_state(*yaml.safe_load_all(PODS), gnp("x", DENY, egress=[DENY]))
    kinds = state.resources["GlobalNetworkPolicy"]
    key, policy = next(iter(kinds.items()))
    bare = type(policy)(
        metadata=policy.metadata, spec=type(policy.spec)(selector="app == 'db'", ingress=policy.spec.ingress)
    )
    state = replace(state, resources=state.resources.set("GlobalNetworkPolicy", kinds.set(key, bare)))

    assert not allowed(state, packet_between(state, "shop/web", "shop/db"))
    assert not allowed(state, packet_between(state, "shop/db", "shop/web"))


def with_profiles(profiles: dict[str, list[dict[str, Any]]], *names: str) -> State:
    """The two pods, db with these profiles instead of its own."""
    objects = [
        {
            "apiVersion": "projectcalico.org/v3",
            "kind": "Profile",
            "metadata": {"name": name},
            "spec": {"ingress": rules},
        }
        for name, rules in profiles.items()
    ]
    state = load_state(*yaml.safe_load_all(PODS), *objects)
    pod = state.endpoints["shop", "db"]
    values = {name: getattr(pod, name) for name in pod.__struct_fields__} | {"profiles": names}
    return replace(state, endpoints=state.endpoints.set(("shop", "db"), type(pod)(**values)))


PROFILE_CASES = [
    ("POL-14 first decides", {"a": [ALLOW], "b": [DENY]}, ("a", "b"), "pro:a", True),
    ("POL-14 in the listed order", {"a": [ALLOW], "b": [DENY]}, ("b", "a"), "pro:b", False),
    ("POL-14 pass moves to the next profile", {"a": [PASS, DENY], "b": [ALLOW]}, ("a", "b"), "pro:b", True),
    ("POL-14 log decides nothing", {"a": [LOG], "b": [ALLOW]}, ("a", "b"), "pro:b", True),
    ("POL-15 no rule matched", {"a": [{"action": "Allow", "protocol": "UDP"}]}, ("a",), "pro:__PROFILE__", False),
    ("POL-15 no profiles", {}, (), "pro:__PROFILE__", False),
    ("POL-16 a missing one denies", {"b": [ALLOW]}, ("a", "b"), "pro:a", False),
    ("K8S-1 a namespace allows", {}, ("kns.shop",), "pro:kns.shop", True),
    ("K8S-2 an account has no rules", {}, ("ksa.shop.keeper", "kns.shop"), "pro:kns.shop", True),
    ("POL-16 a namespace that is not", {}, ("kns.gone",), "pro:kns.gone", False),
]


@pytest.mark.parametrize(("case", "profiles", "names", "decider", "expected"), PROFILE_CASES, ids=[c[0] for c in PROFILE_CASES])  # fmt: skip
def test_profiles(case: str, profiles: dict[str, Any], names: tuple[str, ...], decider: str, expected: bool) -> None:
    """Without tiers the profiles decide, in their order, and else it is a denial."""
    state = with_profiles(profiles, *names)
    packet = packet_between(state, "shop/web", "shop/db")
    verdict = evaluate(state, packet)
    assert verdict.ingress is not None

    assert (decider, expected) == (verdict.ingress.hits[-1].policy, verdict.allowed)
    assert expected == allowed(state, packet)


def test_both_ends_must_allow() -> None:
    """Pod to pod is checked at both ends, and accepted only by both (POL-18)."""
    closed = gnp("x", selector="app == 'web'", types=["Egress"])
    out = verdict_of(closed)
    both = verdict_of(closed, gnp("y", DENY))

    assert [out.allowed, both.allowed] == [False, False]
    assert [side.allowed for side in out.trace] == [False, True]
    assert [side.allowed for side in both.trace] == [False, False]
    assert out.reason == "egress of shop/web denied at the end of tier default: no rule of gnp:x matched"
