"""What every cluster has and nobody may change or delete (POL-2)."""

from __future__ import annotations

from collections.abc import Mapping

from reference.resources.calico import Tier, TierSpec
from reference.resources.metadata import Metadata

PROTECTED_TIERS: Mapping[str, TierSpec] = {
    "kube-admin": TierSpec(order=1000.0, default_action="Pass"),
    "default": TierSpec(order=1_000_000.0, default_action="Deny"),
    "kube-baseline": TierSpec(order=10_000_000.0, default_action="Pass"),
}
PROTECTED_NAMESPACES = ("default", "kube-system")


def protected_tiers() -> tuple[Tier, ...]:
    """The tiers every cluster has."""
    return tuple(Tier(metadata=Metadata(name=name), spec=spec) for name, spec in PROTECTED_TIERS.items())
