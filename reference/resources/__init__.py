"""Resource types, and manifests in and out.

`AnyResource` is the union that the event log stores.
"""

from __future__ import annotations

from reference.resources.calico import (
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    IPPool,
    NetworkPolicy,
    NetworkSet,
    Profile,
    Tier,
)
from reference.resources.kubernetes import KubernetesNetworkPolicy, Namespace, Node, Pod, ServiceAccount
from reference.resources.metadata import Key, Metadata, Resource

AnyResource = (
    Namespace
    | ServiceAccount
    | Node
    | Pod
    | KubernetesNetworkPolicy
    | NetworkPolicy
    | GlobalNetworkPolicy
    | Tier
    | NetworkSet
    | GlobalNetworkSet
    | Profile
    | IPPool
)

__all__ = [
    "AnyResource",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "IPPool",
    "Key",
    "KubernetesNetworkPolicy",
    "Metadata",
    "Namespace",
    "NetworkPolicy",
    "NetworkSet",
    "Node",
    "Pod",
    "Profile",
    "Resource",
    "ServiceAccount",
    "Tier",
]
