"""Staged policies as the pending walk meets them (POL-13, FL-6). The enforced walk never hears of them."""

from __future__ import annotations

from collections.abc import Iterator

from reference.policy.ordering import Policy
from reference.resources import GlobalNetworkPolicy
from reference.resources.staged import STAGED_KINDS, StagedPolicy, as_enforced
from reference.state import State


def staged_policies(state: State) -> list[Policy]:
    """Every staged policy the pending walk of a workload endpoint can meet.

    One that deletes is inert; Learn and Ignore are carried like Set. None replaces the enforced policy of its name:
    both are walked, and the enforced one comes first when their orders are equal (POL-3, FL-6). Untracked and preDNAT
    ones are as inert for workloads as the enforced ones are (POL-10).
    """
    return [Policy(policy, staged=True) for policy in map(as_enforced, _carried(state)) if not _of_hosts(policy)]


def _carried(state: State) -> Iterator[StagedPolicy]:
    for kind in STAGED_KINDS:
        yield from (staged for staged in state.all(kind) if staged.spec.staged_action != "Delete")


def _of_hosts(policy: object) -> bool:
    return isinstance(policy, GlobalNetworkPolicy) and (policy.spec.do_not_track or policy.spec.pre_dnat)
