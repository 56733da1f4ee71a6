"""Edits of a cluster whose effect on verdicts is known beforehand (semantics section 6).

Each takes the resources of a cluster and gives the edited ones; the tests compare verdicts before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import TypeVar

from msgspec.structs import replace

from property_tests.strategies.choices import Choices
from property_tests.strategies.clusters import Cluster
from property_tests.strategies.policies import MISSING_TIER, OWN_TIERS, global_network_policy, network_policy
from property_tests.strategies.rules import rule
from property_tests.strategies.staged import staged_policy
from property_tests.strategies.vocabulary import ENDPOINT_LABELS, selector
from reference.resources import AnyResource, GlobalNetworkPolicy, Metadata, NetworkPolicy, Tier
from reference.resources.calico import (
    Direction,
    EntityRule,
    GlobalNetworkPolicySpec,
    NetworkPolicySpec,
    Rule,
    ServiceAccountMatch,
    TierSpec,
)

Policy = TypeVar("Policy", NetworkPolicy, GlobalNetworkPolicy)
Rules = tuple[Rule, ...]

BOTH: tuple[Direction, ...] = ("Ingress", "Egress")
_NEW_TIER = "new"
_NOBODY = "has(nobody-has-this)"


def with_rules(resource: AnyResource, change: Callable[[Rules, Direction], Rules]) -> AnyResource:
    """The resource with the rules of each direction changed, when it is a Calico policy."""
    match resource:
        case NetworkPolicy(spec=spec) | GlobalNetworkPolicy(spec=spec):
            return replace(
                resource,
                spec=replace(spec, ingress=change(spec.ingress, "Ingress"), egress=change(spec.egress, "Egress")),
            )
        case _:
            return resource


def with_log_rules(choices: Choices, resources: Cluster) -> Cluster:
    """Invariant 2: Log rules in random places, with and without conditions; no verdict changes."""

    def logged(rules: Rules, direction: Direction) -> Rules:
        if not rules:  # a first egress rule would forbid preDNAT, and types are given anyway
            return rules
        place = choices.integer(0, len(rules))
        log = Rule(action="Log") if choices.chance(50) else replace(rules[-1], action="Log", http=None)
        return (*rules[:place], log, *rules[place:])

    return [with_rules(resource, logged) for resource in resources]


def with_idle_policy(choices: Choices, resources: Cluster) -> Cluster:
    """Invariant 3: one more policy, of any content and in any tier, that selects nothing; no verdict changes."""
    tiers = ("default", *OWN_TIERS)
    if choices.chance(50):
        namespaced = network_policy(choices, "idle", tiers)
        return [*resources, replace(namespaced, spec=replace(namespaced.spec, selector=_NOBODY))]
    everywhere = global_network_policy(choices, "idle", tiers)
    return [*resources, replace(everywhere, spec=replace(everywhere.spec, selector=_NOBODY))]


def with_policy_elsewhere(choices: Choices, resources: Cluster) -> tuple[Cluster, str]:
    """Invariant 3: one more namespaced policy, and its namespace: no endpoint outside it answers differently."""
    policy = network_policy(choices, "elsewhere", ("default", *OWN_TIERS))
    return [*resources, policy], policy.namespace


def with_allow_appended(choices: Choices, resources: Cluster) -> Cluster:
    """Invariant 4: an Allow rule at the end of every Calico policy; nothing allowed becomes denied."""

    def appended(resource: AnyResource) -> AnyResource:
        namespace = resource.namespace or None

        def change(rules: Rules, direction: Direction) -> Rules:
            if isinstance(resource, GlobalNetworkPolicy) and resource.spec.pre_dnat and direction == "Egress":
                return rules
            return (*rules, replace(rule(choices, direction, namespace), action="Allow"))

        return with_rules(resource, change)

    return [appended(resource) for resource in resources]


def with_empty_policy(choices: Choices, resources: Cluster) -> Cluster:
    """Invariant 4: one more policy without rules, in any tier; nothing denied becomes allowed."""
    spec = GlobalNetworkPolicySpec(
        tier=choices.pick(("default", "kube-admin", "kube-baseline", *OWN_TIERS)),
        order=choices.pick((None, 0.0, 1.0)),
        selector=selector(choices, ENDPOINT_LABELS, 1),
        types=choices.pick((("Ingress",), ("Egress",), BOTH)),
    )
    return [*resources, GlobalNetworkPolicy(metadata=Metadata(name="empty"), spec=spec)]


def with_passing_tier(choices: Choices, resources: Cluster) -> Cluster:
    """Invariant 6: one more tier, anywhere, all of whose policies pass everything on; no verdict changes."""
    order = choices.pick((None, 0.0, 5.0, 999_999.0, 1_000_000.0, 1e9))
    tier = Tier(metadata=Metadata(name=_NEW_TIER), spec=TierSpec(order=order, default_action="Deny"))
    spec = NetworkPolicySpec(
        tier=_NEW_TIER,
        selector=selector(choices, ENDPOINT_LABELS, 1),
        types=BOTH,
        ingress=(Rule(action="Pass"),),
        egress=(Rule(action="Pass"),),
    )
    global_spec = GlobalNetworkPolicySpec(
        tier=_NEW_TIER, selector=spec.selector, types=spec.types, ingress=spec.ingress, egress=spec.egress
    )
    return [
        *resources,
        tier,
        GlobalNetworkPolicy(metadata=Metadata(name="pass-on"), spec=global_spec),
        NetworkPolicy(metadata=Metadata(name="pass-on", namespace="a"), spec=spec),
    ]


def with_staged_policies(choices: Choices, resources: Cluster) -> Cluster:
    """Invariant 2: staged policies of any content, in any tier, some named like enforced ones; no verdict changes."""
    tiers = ("default", "kube-admin", "kube-baseline", MISSING_TIER, *OWN_TIERS)
    names = ("staged", "p", "q")  # the last two may be those of enforced policies
    found = [staged_policy(choices, choices.pick(names), tiers) for _ in range(choices.integer(1, 3))]
    return [*resources, *found]


def with_staged_tier(choices: Choices, resources: Cluster) -> Cluster:
    """Invariant 6: one more tier, anywhere, with staged policies alone; no verdict changes (POL-13)."""
    order = choices.pick((None, 0.0, 5.0, 999_999.0, 1_000_000.0, 1e9))
    tier = Tier(metadata=Metadata(name=_NEW_TIER), spec=TierSpec(order=order, default_action="Deny"))
    return [*resources, tier, *(staged_policy(choices, name, (_NEW_TIER,)) for name in ("one", "two"))]


def with_single_element_rules(resources: Cluster) -> Cluster:
    """Invariant 8: rules with positive lists as the cross product of rules with one entry each; no verdict changes."""

    def change(rules: Rules, direction: Direction) -> Rules:
        del direction
        return tuple(single for one in rules for single in _singles(one))

    return [with_rules(resource, change) for resource in resources]


def _singles(one: Rule) -> Iterable[Rule]:
    for source, destination in product(_entities(one.source), _entities(one.destination)):
        yield replace(one, source=source, destination=destination)


def _entities(entity: EntityRule) -> list[EntityRule]:
    accounts = entity.service_accounts
    matches: Sequence[ServiceAccountMatch | None] = [accounts]
    if accounts is not None and accounts.names:
        matches = [replace(accounts, names=(name,)) for name in accounts.names]
    nets: list[tuple[str, ...]] = [(net,) for net in entity.nets] or [()]
    ports: list[tuple[int | str, ...]] = [(port,) for port in entity.ports] or [()]
    return [
        replace(entity, nets=net, ports=port, service_accounts=match)
        for net, port, match in product(nets, ports, matches)
    ]
