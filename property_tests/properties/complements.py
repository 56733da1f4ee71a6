"""Invariants 9 and 10: a condition and its negation in the smallest policy that can hold one."""

from __future__ import annotations

from msgspec.structs import replace

from property_tests.properties.edits import BOTH
from property_tests.strategies.clusters import Cluster
from reference.resources import GlobalNetworkPolicy, Metadata, NetworkPolicy
from reference.resources.calico import EntityRule, GlobalNetworkPolicySpec, NetworkPolicySpec, Rule


def allowing_from(resources: Cluster, source: EntityRule) -> Cluster:
    """The cluster where every pod takes only what comes from `source`, by one global policy."""
    return [*resources, _global_policy(EntityRule(), source)]


def allowing_to(resources: Cluster, destination: EntityRule) -> Cluster:
    """The cluster where every pod may only send to `destination`, by one global policy."""
    policy = _global_policy(destination, EntityRule())
    return [*resources, replace(policy, spec=replace(policy.spec, ingress=(Rule(action="Allow"),)))]


def allowing_from_in(resources: Cluster, namespace: str, source: EntityRule) -> Cluster:
    """The cluster where pods of a namespace take only what comes from `source`, by one policy of that namespace."""
    spec = NetworkPolicySpec(types=("Ingress",), ingress=(Rule(action="Allow", source=source),))
    return [*resources, NetworkPolicy(metadata=Metadata(name="only", namespace=namespace), spec=spec)]


def _global_policy(destination: EntityRule, source: EntityRule) -> GlobalNetworkPolicy:
    spec = GlobalNetworkPolicySpec(
        types=BOTH,
        ingress=(Rule(action="Allow", source=source),),
        egress=(Rule(action="Allow", destination=destination),),
    )
    return GlobalNetworkPolicy(metadata=Metadata(name="only"), spec=spec)
