"""Invariant 5: what neither the order of policies nor their names may decide."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from property_tests.properties.edits import BOTH, with_rules
from property_tests.strategies.choices import Choices
from property_tests.strategies.clusters import Cluster
from property_tests.strategies.policies import OWN_TIERS, global_network_policy, network_policy
from reference.resources import AnyResource, GlobalNetworkPolicy, KubernetesNetworkPolicy, Metadata, NetworkPolicy
from reference.resources.calico import Direction, GlobalNetworkPolicySpec, ProtocolName, Rule

_FIRST, _SECOND = 7.25, 7.5  # no generated policy has its order here or between
_STEP = 300.0  # so that some come before Kubernetes' 1000 and some after


def with_disjoint_pair(choices: Choices, resources: Cluster) -> tuple[Cluster, Cluster]:
    """Two more policies, next to each other in a tier, of whose rules no packet matches one of each: both ways round.

    One speaks of TCP alone, the other of UDP alone. No verdict differs.
    """
    tiers = (choices.pick(("default", *OWN_TIERS)),)
    one, other = _speaking_of(choices, "one", tiers, "TCP"), _speaking_of(choices, "other", tiers, "UDP")
    return (
        [*resources, _at(one, _FIRST), _at(other, _SECOND)],
        [*resources, _at(one, _SECOND), _at(other, _FIRST)],
    )


def _speaking_of(choices: Choices, name: str, tiers: tuple[str, ...], protocol: ProtocolName) -> AnyResource:
    """A policy for every endpoint, most of whose rules take anything of the protocol, whoever sends it."""
    namespaced = choices.chance(50)
    drawn: AnyResource = (
        network_policy(choices, name, tiers) if namespaced else global_network_policy(choices, name, tiers)
    )

    def narrowed(rules: tuple[Rule, ...], direction: Direction) -> tuple[Rule, ...]:
        del direction
        bare = [Rule(action=one.action) if choices.chance(70) else one for one in rules]
        return tuple(replace(one, protocol=protocol, icmp=None, not_icmp=None, http=None) for one in bare)

    return _everywhere(with_rules(drawn, narrowed))


def _everywhere(resource: AnyResource) -> AnyResource:
    match resource:
        case NetworkPolicy(spec=spec):
            return replace(resource, spec=replace(spec, selector="", service_account_selector=""))
        case GlobalNetworkPolicy(spec=spec):
            everyone = replace(spec, selector="", service_account_selector="", namespace_selector="")
            return replace(resource, spec=everyone)
        case _:
            return resource


def with_opponents(choices: Choices, resources: Cluster) -> Cluster:
    """Two more policies of one tier of which one allows everything to everybody, and the other denies it."""
    tier = choices.pick(("default", *OWN_TIERS))
    return [*resources, *(_opponent(action, tier) for action in ("Allow", "Deny"))]


def _opponent(action: Literal["Allow", "Deny"], tier: str) -> GlobalNetworkPolicy:
    rules = (Rule(action=action),)
    spec = GlobalNetworkPolicySpec(tier=tier, types=BOTH, ingress=rules, egress=rules)
    return GlobalNetworkPolicy(metadata=Metadata(name=f"to-{action.lower()}"), spec=spec)


def _at(resource: AnyResource, order: float) -> AnyResource:
    match resource:
        case NetworkPolicy(spec=spec) | GlobalNetworkPolicy(spec=spec):
            return replace(resource, spec=replace(spec, order=order))
        case _:
            return resource


def without_ties(resources: Cluster) -> Cluster:
    """Every Calico policy with an order that no other policy has."""
    return [_at(resource, number * _STEP + 0.5) for number, resource in enumerate(resources)]


def renamed(choices: Choices, resources: Cluster) -> Cluster:
    """Policies under other names, which sort otherwise. Without ties no verdict changes.

    Kubernetes policies all have one order, but only ever allow: theirs are ties that decide nothing.
    """
    return [_renamed(choices, number, resource) for number, resource in enumerate(resources)]


def _renamed(choices: Choices, number: int, resource: AnyResource) -> AnyResource:
    if not isinstance(resource, NetworkPolicy | GlobalNetworkPolicy | KubernetesNetworkPolicy):
        return resource
    name = f"{choices.pick(('a', 'p-1', 'z'))}-{number}"
    return replace(resource, metadata=replace(resource.metadata, name=name))
