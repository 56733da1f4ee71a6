"""Whether a resource that has the right shape also makes sense (semantics 2b.2, 1.3).

The checks need nothing but the resource; what the rest of the cluster forbids is in `admission`. `global()` and
other selectors, rules, names: see the `validation_*` modules.
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
from reference.resources.kinds import AnyResource
from reference.resources.kubernetes import KubernetesNetworkPolicy, Node, Pod
from reference.resources.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from reference.resources.validation_calico import check_network_set, check_policy, check_pool, check_profile, check_tier
from reference.resources.validation_kubernetes import check_network_policy, check_node, check_pod
from reference.resources.validation_metadata import check_metadata
from reference.resources.validation_staged import check_staged


def validate(resource: AnyResource) -> None:
    """Check a defaulted resource.

    Raises:
        FieldError: the first thing wrong, with the path of its field.
    """
    check_metadata(resource)
    match resource:
        case NetworkPolicy() | GlobalNetworkPolicy():
            check_policy(resource)
        case KubernetesNetworkPolicy():
            check_network_policy(resource)
        case Pod():
            check_pod(resource)
        case IPPool():
            check_pool(resource)
        case NetworkSet() | GlobalNetworkSet():
            check_network_set(resource)
        case Tier():
            check_tier(resource)
        case Profile():
            check_profile(resource)
        case Node():
            check_node(resource)
        case StagedNetworkPolicy() | StagedGlobalNetworkPolicy() | StagedKubernetesNetworkPolicy():
            check_staged(resource)
        case _:  # Namespace, ServiceAccount: nothing but metadata
            pass
