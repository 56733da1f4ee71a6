"""Calico and Kubernetes policies, tiers and profiles, valid by construction and biased to boundaries."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from property_tests.strategies.choices import Choices, drawn
from property_tests.strategies.rules import rule
from property_tests.strategies.vocabulary import (
    ACCOUNT_LABELS,
    ENDPOINT_LABELS,
    NAMESPACE_SELECTOR_LABELS,
    NAMESPACES,
    POD_LABELS,
    selector,
)
from reference.resources import GlobalNetworkPolicy, Metadata, NetworkPolicy, Profile, Tier
from reference.resources.calico import (
    Direction,
    GlobalNetworkPolicySpec,
    NetworkPolicySpec,
    ProfileSpec,
    Rule,
    TierSpec,
)

OWN_TIERS = ("t0", "t1")
MISSING_TIER = "missing"  # nobody makes it; its policies are enforced all the same (POL-4)
BUILT_IN_TIERS = ("default", "kube-admin", "kube-baseline")
_ORDERS = (None, None, 1.0, 1.0, 1.0, 1000.0, 1000.0, 999.5)  # few, for ties
_TYPES: tuple[tuple[Direction, ...], ...] = (("Ingress",), ("Egress",), ("Ingress", "Egress"), ("Ingress", "Egress"))


def tier(choices: Choices, name: str) -> Tier:
    """A tier; orders collide and may be absent (POL-1)."""
    order = choices.pick((None, 5.0, 5.0, 1_000_000.0, 2_000_000.0))
    return Tier(
        metadata=Metadata(name=name), spec=TierSpec(order=order, default_action=choices.pick(("Deny", "Pass", "Pass")))
    )


def _rules(choices: Choices, direction: Direction, namespace: str | None, high: int = 3) -> tuple[Rule, ...]:
    return tuple(rule(choices, direction, namespace) for _ in range(choices.integer(0, high)))


def network_policy(choices: Choices, name: str, tiers: Sequence[str]) -> NetworkPolicy:
    """A Calico NetworkPolicy. Rules of a direction its types leave out may be there too (POL-8)."""
    namespace = choices.pick(NAMESPACES)
    return NetworkPolicy(
        metadata=Metadata(name=name, namespace=namespace),
        spec=NetworkPolicySpec(
            tier=choices.pick(tiers),
            order=choices.pick(_ORDERS),
            selector=selector(choices, POD_LABELS, 1) if choices.chance(50) else "",
            service_account_selector=selector(choices, ACCOUNT_LABELS, 1) if choices.chance(10) else "",
            types=choices.pick(_TYPES),
            ingress=_rules(choices, "Ingress", namespace),
            egress=_rules(choices, "Egress", namespace),
            performance_hints=("AssumeNeededOnEveryNode",) if choices.chance(5) else (),
        ),
    )


def global_network_policy(choices: Choices, name: str, tiers: Sequence[str]) -> GlobalNetworkPolicy:
    """A GlobalNetworkPolicy; now and then one that is inert for pods (POL-10)."""
    place = choices.pick(("normal",) * 7 + ("forward", "pre_dnat", "untracked"))
    types: tuple[Direction, ...] = ("Ingress",) if place == "pre_dnat" else choices.pick(_TYPES)
    return GlobalNetworkPolicy(
        metadata=Metadata(name=name),
        spec=GlobalNetworkPolicySpec(
            tier=choices.pick(tiers),
            order=choices.pick(_ORDERS),
            selector=selector(choices, ENDPOINT_LABELS, 1) if choices.chance(50) else "",
            namespace_selector=_policy_namespaces(choices) if choices.chance(25) else "",
            service_account_selector=selector(choices, ACCOUNT_LABELS, 1) if choices.chance(15) else "",
            types=types,
            ingress=_rules(choices, "Ingress", None),
            egress=() if place == "pre_dnat" else _rules(choices, "Egress", None),
            do_not_track=place == "untracked",
            pre_dnat=place == "pre_dnat",
            apply_on_forward=place != "normal",
        ),
    )


def _policy_namespaces(choices: Choices) -> str:
    """`global()` has no place at policy level (2b.2)."""
    return selector(choices, NAMESPACE_SELECTOR_LABELS, 1)


def profile(choices: Choices, name: str) -> Profile:
    """A profile of the user's own; no pod of this issue lists one, so it must change nothing."""
    return Profile(
        metadata=Metadata(name=name),
        spec=ProfileSpec(
            labels_to_apply={"app": "web"},
            ingress=_rules(choices, "Ingress", None, 1),
            egress=_rules(choices, "Egress", None, 1),
        ),
    )


def network_policies(name: str = "np0", tiers: Sequence[str] = ("default",)) -> st.SearchStrategy[NetworkPolicy]:
    """Calico NetworkPolicies of one name, in one of the tiers."""
    return drawn(network_policy, name, tiers)


def global_network_policies(
    name: str = "gnp0", tiers: Sequence[str] = ("default",)
) -> st.SearchStrategy[GlobalNetworkPolicy]:
    """GlobalNetworkPolicies of one name, in one of the tiers."""
    return drawn(global_network_policy, name, tiers)
