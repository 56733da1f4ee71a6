"""Resource types, and manifests in and out.

`AnyResource` is the union that the event log stores. In: `load` and `parse`, then `admit` against a state. Out:
`manifest`, `to_yaml`, `to_json`.
"""

from __future__ import annotations

from reference.resources.admission import admit, admit_delete
from reference.resources.calico import (
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    IPPool,
    NetworkPolicy,
    NetworkSet,
    Profile,
    Tier,
)
from reference.resources.defaults import defaulted
from reference.resources.faults import FieldError, FieldPath
from reference.resources.hosts import FelixConfiguration, HostEndpoint, KubeControllersConfiguration
from reference.resources.kinds import KINDS, AnyResource, Kind, find_kind, kind_of
from reference.resources.kubernetes import KubernetesNetworkPolicy, Namespace, Node, Pod, ServiceAccount
from reference.resources.manifests import (
    Loaded,
    ManifestError,
    Origin,
    Source,
    Sourced,
    SourceMap,
    load,
    parse,
    prepared,
)
from reference.resources.metadata import Key, Metadata, Resource
from reference.resources.output import manifest, to_json, to_yaml
from reference.resources.policy_api import (
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
)
from reference.resources.protected import PROTECTED_NAMESPACES, PROTECTED_TIERS, protected_tiers
from reference.resources.services import EndpointSlice, Service
from reference.resources.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from reference.resources.validation import validate
from reference.resources.workload_endpoint import WorkloadEndpoint

__all__ = [
    "KINDS",
    "PROTECTED_NAMESPACES",
    "PROTECTED_TIERS",
    "AnyResource",
    "EndpointSlice",
    "FelixConfiguration",
    "FieldError",
    "FieldPath",
    "GlobalNetworkPolicy",
    "GlobalNetworkSet",
    "HostEndpoint",
    "IPPool",
    "Key",
    "Kind",
    "KubeControllersConfiguration",
    "KubernetesAdminNetworkPolicy",
    "KubernetesBaselineAdminNetworkPolicy",
    "KubernetesClusterNetworkPolicy",
    "KubernetesNetworkPolicy",
    "Loaded",
    "ManifestError",
    "Metadata",
    "Namespace",
    "NetworkPolicy",
    "NetworkSet",
    "Node",
    "Origin",
    "Pod",
    "Profile",
    "Resource",
    "Service",
    "ServiceAccount",
    "Source",
    "SourceMap",
    "Sourced",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
    "StagedNetworkPolicy",
    "Tier",
    "WorkloadEndpoint",
    "admit",
    "admit_delete",
    "defaulted",
    "find_kind",
    "kind_of",
    "load",
    "manifest",
    "parse",
    "prepared",
    "protected_tiers",
    "to_json",
    "to_yaml",
    "validate",
]
