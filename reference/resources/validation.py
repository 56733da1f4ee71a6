"""Whether a resource that has the right shape also makes sense (semantics 2b.2, 1.3).

The checks need nothing but the resource; what the rest of the cluster forbids is in `admission`. `global()` and
other selectors, rules, names: see the `validation_*` modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference.resources.calico import (
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    IPPool,
    NetworkPolicy,
    NetworkSet,
    Profile,
    Tier,
)
from reference.resources.hosts import FelixConfiguration, HostEndpoint, KubeControllersConfiguration
from reference.resources.kinds import AnyResource
from reference.resources.kubernetes import KubernetesNetworkPolicy, Node, Pod
from reference.resources.policy_api import (
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
)
from reference.resources.services import EndpointSlice, Service
from reference.resources.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from reference.resources.validation_calico import check_network_set, check_policy, check_pool, check_profile, check_tier
from reference.resources.validation_hosts import check_hosts, check_profile_name
from reference.resources.validation_kubernetes import check_network_policy, check_node, check_pod
from reference.resources.validation_metadata import check_metadata
from reference.resources.validation_policy_api import check_cluster_policy
from reference.resources.validation_services import check_endpoint_slice, check_service
from reference.resources.validation_staged import check_staged
from reference.resources.validation_workload_endpoint import check_workload_endpoint
from reference.resources.workload_endpoint import WorkloadEndpoint


def validate(resource: AnyResource) -> None:
    """Check a defaulted resource.

    Raises:
        FieldError: the first thing wrong, with the path of its field.
    """
    check_metadata(resource)
    check = _CHECKS.get(type(resource))
    if check is not None:  # Namespace and ServiceAccount have nothing but metadata
        check(resource)


def _check_profile(profile: Profile) -> None:
    check_profile_name(profile.name)
    check_profile(profile)


_CHECKS: dict[type[AnyResource], Callable[[Any], None]] = {
    NetworkPolicy: check_policy,
    GlobalNetworkPolicy: check_policy,
    KubernetesNetworkPolicy: check_network_policy,
    Pod: check_pod,
    IPPool: check_pool,
    NetworkSet: check_network_set,
    GlobalNetworkSet: check_network_set,
    Tier: check_tier,
    Profile: _check_profile,
    HostEndpoint: check_hosts,
    WorkloadEndpoint: check_workload_endpoint,
    FelixConfiguration: check_hosts,
    KubeControllersConfiguration: check_hosts,
    Node: check_node,
    StagedNetworkPolicy: check_staged,
    StagedGlobalNetworkPolicy: check_staged,
    StagedKubernetesNetworkPolicy: check_staged,
    Service: check_service,
    EndpointSlice: check_endpoint_slice,
    KubernetesClusterNetworkPolicy: check_cluster_policy,
    KubernetesAdminNetworkPolicy: check_cluster_policy,
    KubernetesBaselineAdminNetworkPolicy: check_cluster_policy,
}
