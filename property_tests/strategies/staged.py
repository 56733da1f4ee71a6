"""Staged policies: those of the enforced kinds, on trial, and some that delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import asdict

from property_tests.strategies.choices import Choices, drawn
from property_tests.strategies.kubernetes import kubernetes_policy
from property_tests.strategies.policies import global_network_policy, network_policy
from reference.resources.staged import (
    StagedAction,
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicy,
    StagedKubernetesNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
    StagedPolicy,
)

_ACTIONS: tuple[StagedAction, ...] = ("Set", "Set", "Set", "Set", "Learn", "Ignore", "Delete", "Delete")


def staged_policy(choices: Choices, name: str, tiers: Sequence[str]) -> StagedPolicy:
    """A staged policy of any kind. One that deletes says nothing but its tier (2b.2)."""
    action = choices.pick(_ACTIONS)
    match choices.pick(("np", "np", "gnp", "gnp", "knp")):
        case "np":
            policy = network_policy(choices, name, tiers)
            return StagedNetworkPolicy(metadata=policy.metadata, spec=StagedNetworkPolicySpec(**_kept(policy, action)))
        case "gnp":
            wide = global_network_policy(choices, name, tiers)
            spec = StagedGlobalNetworkPolicySpec(**_kept(wide, action))
            return StagedGlobalNetworkPolicy(metadata=wide.metadata, spec=spec)
        case _:
            kubernetes = kubernetes_policy(choices, name)
            plain = StagedKubernetesNetworkPolicySpec(**_kept(kubernetes, action))
            return StagedKubernetesNetworkPolicy(metadata=kubernetes.metadata, spec=plain)


def _kept(policy: Any, action: StagedAction) -> dict[str, Any]:  # noqa: ANN401 - a policy of the kinds above
    """The fields of the staged spec."""
    whole = asdict(policy.spec)
    if action == "Delete":
        whole = {"tier": whole["tier"]} if "tier" in whole else {}
    return {**whole, "staged_action": action}


def staged_policies(name: str = "s0", tiers: Sequence[str] = ("default",)) -> st.SearchStrategy[StagedPolicy]:
    """Staged policies of one name, in one of the tiers."""
    return drawn(staged_policy, name, tiers)
