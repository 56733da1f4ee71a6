"""The staged kinds: what a stagedAction allows of the spec (2b.2); the rest is checked as for the enforced kinds."""

from __future__ import annotations

from msgspec.structs import fields

from reference.resources.faults import fail
from reference.resources.staged import StagedKubernetesNetworkPolicy, StagedPolicy, as_enforced
from reference.resources.validation_calico import check_policy
from reference.resources.validation_kubernetes import check_network_policy


def check_staged(staged: StagedPolicy) -> None:
    """A staged policy is as valid as the policy it stands for; one that deletes says nothing but its tier."""
    if staged.spec.staged_action == "Delete":
        _check_deletes(staged)
    enforced = as_enforced(staged)
    if isinstance(staged, StagedKubernetesNetworkPolicy):
        check_network_policy(enforced)  # type: ignore[arg-type]  # the kind it stands for
    else:
        check_policy(enforced)  # type: ignore[arg-type]


def _check_deletes(staged: StagedPolicy) -> None:
    for field in fields(staged.spec):
        value = getattr(staged.spec, field.name)
        empty = value == field.default or value in ((), None)
        if not empty and field.name not in ("tier", "staged_action"):
            fail(("spec", field.encode_name), "stagedAction Delete needs nothing but the tier; remove the field")
