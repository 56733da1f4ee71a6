"""Which pools a workload may have an address from, and in which order (IPAM-4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network

import msgspec

from reference import selectors
from reference.endpoints import Family
from reference.errors import RefusedError
from reference.ipam.ranges import range_of
from reference.resources.calico import IPPool

USE = "Workload"
_ANNOTATIONS: dict[Family, str] = {4: "cni.projectcalico.org/ipv4pools", 6: "cni.projectcalico.org/ipv6pools"}


def requested_pools(family: Family, pod: Mapping[str, str], namespace: Mapping[str, str]) -> tuple[str, ...] | None:
    """Pools named by annotation, the pod's before the namespace's (1.3); None when neither names any.

    Raises:
        RefusedError: the annotation is not a JSON list of names.
    """
    annotation = _ANNOTATIONS[family]
    value = pod.get(annotation) or namespace.get(annotation)
    if not value:
        return None
    try:
        return tuple(msgspec.json.decode(value, type=list[str])) or None
    except msgspec.DecodeError:
        raise RefusedError(
            f'annotation {annotation} is {value!r}; write a JSON list of pools, such as ["pool-1"]'
        ) from None


def candidates(
    pools: Iterable[IPPool],
    family: Family,
    requested: Sequence[str] | None,
    node: Mapping[str, str],
    namespace: Mapping[str, str],
) -> tuple[IPPool, ...]:
    """The pools of one family to assign from, in order (IPAM-4). `node` and `namespace` are their labels.

    Named pools are taken as named: selectors and Manual mode do not count for them. Otherwise every enabled Automatic
    pool that selects the node and the namespace, by name.

    Raises:
        RefusedError: a named pool is missing, disabled or of the other family; or no pool is left.
    """
    mine = {pool.name: pool for pool in pools if range_of(pool).family == family}
    if requested is not None:
        chosen = [_named(mine, name, family) for name in requested]
    else:
        chosen = [
            pool
            for _, pool in sorted(mine.items())
            if not pool.spec.disabled
            and pool.spec.assignment_mode == "Automatic"
            and selects(pool, node)
            and selectors.parse(pool.spec.namespace_selector).matches(namespace)
        ]
    usable = tuple(pool for pool in chosen if USE in pool.spec.allowed_uses)
    if not usable:
        known = ", ".join(sorted(mine)) or "none"
        raise RefusedError(
            f"no IPv{family} pool may give a workload an address there (IPv{family} pools: {known}); enable one whose "
            f"allowedUses has {USE} and whose nodeSelector and namespaceSelector match, or add one"
        )
    return usable


def selects(pool: IPPool, node: Mapping[str, str]) -> bool:
    """Report whether a pool's nodeSelector matches a node's labels."""
    return selectors.parse(pool.spec.node_selector).matches(node)


def _named(pools: Mapping[str, IPPool], name: str, family: Family) -> IPPool:
    pool = pools.get(name) or next((one for one in pools.values() if _is_range(one, name)), None)
    if pool is None:
        known = ", ".join(sorted(pools)) or "none"
        raise RefusedError(
            f"IPv{family} pool {name!r} is asked for by annotation and does not exist (there are: {known})"
        )
    if pool.spec.disabled:
        raise RefusedError(f"pool {pool.name} is asked for by annotation and is disabled; enable it, or name another")
    return pool


def _is_range(pool: IPPool, text: str) -> bool:
    try:
        return "/" in text and ip_network(text) == ip_network(pool.spec.cidr)
    except ValueError:
        return False
