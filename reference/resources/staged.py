"""The staged kinds: policies that are traced and never enforced (semantics 1.1, POL-13, FL-6)."""

from __future__ import annotations

from typing import Any, Literal

from msgspec.structs import fields

from reference.resources.calico import (
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    NetworkPolicy,
    NetworkPolicySpec,
)
from reference.resources.kubernetes import KubernetesNetworkPolicy, KubernetesNetworkPolicySpec
from reference.resources.metadata import Document, Resource

StagedAction = Literal["Set", "Delete", "Learn", "Ignore"]


class StagedNetworkPolicySpec(NetworkPolicySpec, frozen=True):
    """`spec` of a StagedNetworkPolicy: that of the policy it stages, and what committing it would do."""

    staged_action: StagedAction = "Set"


class StagedNetworkPolicy(Resource, frozen=True, tag="StagedNetworkPolicy"):
    """projectcalico.org/v3 StagedNetworkPolicy: a NetworkPolicy on trial."""

    spec: StagedNetworkPolicySpec = StagedNetworkPolicySpec()


class StagedGlobalNetworkPolicySpec(GlobalNetworkPolicySpec, frozen=True):
    """`spec` of a StagedGlobalNetworkPolicy."""

    staged_action: StagedAction = "Set"


class StagedGlobalNetworkPolicy(Resource, frozen=True, tag="StagedGlobalNetworkPolicy"):
    """projectcalico.org/v3 StagedGlobalNetworkPolicy: a GlobalNetworkPolicy on trial."""

    spec: StagedGlobalNetworkPolicySpec = StagedGlobalNetworkPolicySpec()


class StagedKubernetesNetworkPolicySpec(KubernetesNetworkPolicySpec, frozen=True):
    """`spec` of a StagedKubernetesNetworkPolicy. It has no tier: it is always in `default` (1.1)."""

    staged_action: StagedAction = "Set"


class StagedKubernetesNetworkPolicy(Resource, frozen=True, tag="StagedKubernetesNetworkPolicy"):
    """projectcalico.org/v3 StagedKubernetesNetworkPolicy: a Kubernetes NetworkPolicy on trial."""

    spec: StagedKubernetesNetworkPolicySpec = StagedKubernetesNetworkPolicySpec()


StagedPolicy = StagedNetworkPolicy | StagedGlobalNetworkPolicy | StagedKubernetesNetworkPolicy
STAGED_KINDS: tuple[type[StagedPolicy], ...] = (
    StagedNetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
)


def as_enforced(staged: StagedPolicy) -> NetworkPolicy | GlobalNetworkPolicy | KubernetesNetworkPolicy:
    """The policy that a staged one stands for, whatever its stagedAction: same name, labels and spec."""
    match staged:
        case StagedNetworkPolicy():
            return NetworkPolicy(metadata=staged.metadata, spec=NetworkPolicySpec(**_shared(staged, NetworkPolicySpec)))
        case StagedGlobalNetworkPolicy():
            spec = GlobalNetworkPolicySpec(**_shared(staged, GlobalNetworkPolicySpec))
            return GlobalNetworkPolicy(metadata=staged.metadata, spec=spec)
        case StagedKubernetesNetworkPolicy():
            plain = KubernetesNetworkPolicySpec(**_shared(staged, KubernetesNetworkPolicySpec))
            return KubernetesNetworkPolicy(metadata=staged.metadata, spec=plain)


def _shared(staged: StagedPolicy, spec: type[Document]) -> dict[str, Any]:
    return {field.name: getattr(staged.spec, field.name) for field in fields(spec)}
