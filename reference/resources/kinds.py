"""The table of kinds: what each is called in manifests, on the command line and inside.

Kubernetes and Calico both have a `NetworkPolicy`; the apiVersion tells them apart. On the command line the bare name
is the Kubernetes one, as with kubectl, and Calico's is `caliconetworkpolicy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from reference.errors import InvalidInputError
from reference.resources.calico import (
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    IPPool,
    NetworkPolicy,
    NetworkSet,
    Profile,
    Tier,
)
from reference.resources.faults import nearest, shown
from reference.resources.hosts import FelixConfiguration, HostEndpoint, KubeControllersConfiguration
from reference.resources.kubernetes import KubernetesNetworkPolicy, Namespace, Node, Pod, ServiceAccount
from reference.resources.policy_api import (
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
)
from reference.resources.services import EndpointSlice, Service
from reference.resources.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from reference.resources.workload_endpoint import WorkloadEndpoint

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
    | HostEndpoint
    | FelixConfiguration
    | KubeControllersConfiguration
    | StagedNetworkPolicy
    | StagedGlobalNetworkPolicy
    | StagedKubernetesNetworkPolicy
    | Service
    | EndpointSlice
    | KubernetesClusterNetworkPolicy
    | KubernetesAdminNetworkPolicy
    | KubernetesBaselineAdminNetworkPolicy
    | WorkloadEndpoint
)

_CORE = ("v1",)
_NETWORKING = ("networking.k8s.io/v1",)
_DISCOVERY = ("discovery.k8s.io/v1",)
_CLUSTER_POLICY = ("policy.networking.k8s.io/v1alpha2",)
_ADMIN_POLICY = ("policy.networking.k8s.io/v1alpha1",)
_CALICO = ("projectcalico.org/v3", "crd.projectcalico.org/v1")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `name` is the internal kind (the class name), `kind` what a manifest says."""

    type: type[AnyResource]
    kind: str
    api_versions: tuple[str, ...]  # accepted; the preferred one first
    plural: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    singular: str = ""

    @property
    def name(self) -> str:
        """The internal kind."""
        return self.type.__name__

    @property
    def api_version(self) -> str:
        """The preferred apiVersion."""
        return self.api_versions[0]

    @property
    def words(self) -> tuple[str, ...]:
        """All lower-case names it answers to on the command line."""
        groups = tuple(version.rpartition("/")[0] for version in self.api_versions)
        resource = "networkpolicies" if self.kind == "NetworkPolicy" else self.plural
        qualified = tuple(f"{resource}.{group}" for group in groups if group)
        return (self.plural, self.singular or self.kind.lower(), *self.short_names, *qualified, self.name.lower())


KINDS: tuple[Kind, ...] = (
    Kind(Namespace, "Namespace", _CORE, "namespaces", ("ns",), namespaced=False),
    Kind(ServiceAccount, "ServiceAccount", _CORE, "serviceaccounts", ("sa",)),
    Kind(Node, "Node", _CORE, "nodes", ("no",), namespaced=False),
    Kind(Pod, "Pod", _CORE, "pods", ("po",)),
    Kind(KubernetesNetworkPolicy, "NetworkPolicy", _NETWORKING, "networkpolicies", ("netpol", "knp")),
    Kind(
        NetworkPolicy, "NetworkPolicy", _CALICO, "caliconetworkpolicies", ("cnp", "np"), singular="caliconetworkpolicy"
    ),
    Kind(
        GlobalNetworkPolicy,
        "GlobalNetworkPolicy",
        _CALICO,
        "globalnetworkpolicies",
        ("gnp", "cgnp", "calicoglobalnetworkpolicy", "calicoglobalnetworkpolicies"),
        namespaced=False,
    ),
    Kind(Tier, "Tier", _CALICO, "tiers", (), namespaced=False),
    Kind(NetworkSet, "NetworkSet", _CALICO, "networksets", ("netset", "netsets")),
    Kind(GlobalNetworkSet, "GlobalNetworkSet", _CALICO, "globalnetworksets", ("gns", "globalnetset"), namespaced=False),
    Kind(Profile, "Profile", _CALICO, "profiles", (), namespaced=False),
    Kind(IPPool, "IPPool", _CALICO, "ippools", ("pool", "pools"), namespaced=False),
    Kind(WorkloadEndpoint, "WorkloadEndpoint", _CALICO, "workloadendpoints", ("wep", "weps")),
    Kind(HostEndpoint, "HostEndpoint", _CALICO, "hostendpoints", ("hep", "heps"), namespaced=False),
    Kind(
        FelixConfiguration,
        "FelixConfiguration",
        _CALICO,
        "felixconfigurations",
        ("felixconfig", "felixconfigs"),
        namespaced=False,
    ),
    Kind(
        KubeControllersConfiguration,
        "KubeControllersConfiguration",
        _CALICO,
        "kubecontrollersconfigurations",
        ("kubecontrollersconfig",),
        namespaced=False,
    ),
    Kind(StagedNetworkPolicy, "StagedNetworkPolicy", _CALICO, "stagednetworkpolicies", ("snp",)),
    Kind(
        StagedGlobalNetworkPolicy,
        "StagedGlobalNetworkPolicy",
        _CALICO,
        "stagedglobalnetworkpolicies",
        ("sgnp",),
        namespaced=False,
    ),
    Kind(
        StagedKubernetesNetworkPolicy,
        "StagedKubernetesNetworkPolicy",
        _CALICO,
        "stagedkubernetesnetworkpolicies",
        ("sknp",),
    ),
    Kind(Service, "Service", _CORE, "services", ("svc",)),
    Kind(EndpointSlice, "EndpointSlice", _DISCOVERY, "endpointslices"),
    Kind(
        KubernetesClusterNetworkPolicy,
        "ClusterNetworkPolicy",
        _CLUSTER_POLICY,
        "clusternetworkpolicies",
        ("kcnp",),
        namespaced=False,
    ),
    Kind(
        KubernetesAdminNetworkPolicy,
        "AdminNetworkPolicy",
        _ADMIN_POLICY,
        "adminnetworkpolicies",
        ("anp",),
        namespaced=False,
    ),
    Kind(
        KubernetesBaselineAdminNetworkPolicy,
        "BaselineAdminNetworkPolicy",
        _ADMIN_POLICY,
        "baselineadminnetworkpolicies",
        ("banp",),
        namespaced=False,
    ),
)

_BY_TYPE: dict[type[AnyResource], Kind] = {kind.type: kind for kind in KINDS}
_BY_NAME = {kind.name: kind for kind in KINDS}
_BY_MANIFEST = {(version, kind.kind): kind for kind in KINDS for version in kind.api_versions}


def kind_of(resource: AnyResource | type[AnyResource] | str) -> Kind:
    """The kind of a resource, of a resource class, or by internal name. KeyError when there is none."""
    if isinstance(resource, str):
        return _BY_NAME[resource]
    return _BY_TYPE[resource if isinstance(resource, type) else type(resource)]


def manifest_kind(api_version: str, kind: str) -> Kind | None:
    """The kind of a manifest's `apiVersion` and `kind`, or None."""
    return _BY_MANIFEST.get((api_version, kind))


def manifest_kinds() -> tuple[str, ...]:
    """What `kind` may say, each once."""
    return tuple(dict.fromkeys(kind.kind for kind in KINDS))


def api_versions_of(kind: str) -> tuple[str, ...]:
    """What `apiVersion` may say for a manifest's `kind`; empty for an unknown kind."""
    return tuple(version for entry in KINDS if entry.kind == kind for version in entry.api_versions)


@cache
def _words() -> dict[str, Kind]:
    words: dict[str, Kind] = {}
    for kind in KINDS:  # the Kubernetes kinds come first, so a bare `networkpolicy` is theirs
        for word in kind.words:
            words.setdefault(word, kind)
    return words


def find_kind(text: str) -> Kind:
    """The kind a user means: plural, singular, short name or `plural.group`, in any case.

    Raises:
        InvalidInputError: there is none; the message names the nearest, or all.
    """
    words = _words()
    found = words.get(text.lower())
    if found:
        return found
    near = nearest(text, words)
    hint = f'did you mean "{near}"?' if near else "known: " + ", ".join(kind.plural for kind in KINDS)
    raise InvalidInputError(f"unknown kind {shown(text)}; {hint}")
