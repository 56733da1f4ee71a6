"""What the rest of the cluster forbids: the checks that need the resources that are already there.

They are about creating, replacing and deleting, so replay never needs them.
"""

from __future__ import annotations

from collections.abc import Mapping

from reference.errors import RefusedError
from reference.resources.addresses import parse_cidr
from reference.resources.calico import GlobalNetworkPolicy, IPPool, NetworkPolicy
from reference.resources.kinds import AnyResource
from reference.resources.metadata import Key
from reference.resources.protected import PROTECTED_NAMESPACES, PROTECTED_TIERS
from reference.resources.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy

ByKind = Mapping[str, Mapping[Key, AnyResource]]  # as in State.resources

# Of the policies that keep a tier from being deleted (POL-2).
_OWNING = (NetworkPolicy, GlobalNetworkPolicy, StagedNetworkPolicy, StagedGlobalNetworkPolicy)


def admit(existing: ByKind, resource: AnyResource) -> None:
    """Admit a resource into a cluster, new or in place of the one of the same key.

    Raises:
        RefusedError: a pool overlaps another, or changed what must stay (1.3).
    """
    if isinstance(resource, IPPool):
        pools = [pool for pool in existing.get("IPPool", {}).values() if isinstance(pool, IPPool)]
        for pool in pools:
            if pool.key == resource.key:
                _admit_change(pool, resource)
            elif parse_cidr(pool.spec.cidr).overlaps(parse_cidr(resource.spec.cidr)):
                raise RefusedError(
                    f"IPPool {resource.name}: {resource.spec.cidr} overlaps {pool.spec.cidr} of IPPool {pool.name}; "
                    "choose another range"
                )


def _admit_change(old: IPPool, new: IPPool) -> None:
    fields = (("cidr", old.spec.cidr, new.spec.cidr), ("blockSize", old.spec.block_size, new.spec.block_size))
    for name, before, after in fields:
        if before != after:
            raise RefusedError(
                f"IPPool {new.name}: spec.{name} cannot change from {before} to {after}; make another pool, "
                "move the workloads, then delete this one"
            )


def admit_delete(existing: ByKind, key: Key) -> None:
    """Admit the deletion of a resource.

    Raises:
        RefusedError: a built-in tier or namespace, or a tier that still owns policies (POL-2).
    """
    if key.kind == "Namespace" and key.name in PROTECTED_NAMESPACES:
        raise RefusedError(f"Namespace {key.name} is built in and cannot be deleted")
    if key.kind != "Tier":
        return
    if key.name in PROTECTED_TIERS:
        raise RefusedError(f"Tier {key.name} is built in and cannot be deleted")
    owned = sorted(
        str(policy.key)
        for kind in _OWNING
        for policy in existing.get(kind.__name__, {}).values()
        if isinstance(policy, _OWNING) and policy.spec.tier == key.name
    )
    if owned:
        more = f" and {len(owned) - 3} more" if len(owned) > 3 else ""
        raise RefusedError(
            f"Tier {key.name} still owns {', '.join(owned[:3])}{more}; delete or move the policies first"
        )
