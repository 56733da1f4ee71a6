"""The columns of `muslin get`, kind by kind, as kubectl and calicoctl users know them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from reference.resources import AnyResource
from reference.resources.kinds import Kind
from reference.state import State

Column = tuple[str, bool, Callable[[State, Any], str]]  # title, only when wide, text


def _addresses(state: State, pod: Any) -> str:  # noqa: ANN401 - one of our kinds
    endpoint = state.endpoints.get((pod.namespace, pod.name))
    return ",".join(endpoint.addresses) if endpoint else "<none>"


def _node(state: State, pod: Any) -> str:  # noqa: ANN401
    endpoint = state.endpoints.get((pod.namespace, pod.name))
    return endpoint.node if endpoint else "<none>"


def _interface(state: State, pod: Any) -> str:  # noqa: ANN401
    endpoint = state.endpoints.get((pod.namespace, pod.name))
    return endpoint.interface if endpoint else "<none>"


def _labels(_: State, item: Any) -> str:  # noqa: ANN401
    return ",".join(f"{key}={value}" for key, value in sorted(item.metadata.labels.items())) or "<none>"


def _order(_: State, item: Any) -> str:  # noqa: ANN401
    order = item.spec.order
    return "<none>" if order is None else str(int(order)) if float(order).is_integer() else str(order)


def _node_addresses(_: State, node: Any) -> str:  # noqa: ANN401
    return ",".join(found.address for found in node.status.addresses if found.type == "InternalIP") or "<none>"


_RULES: Column = ("RULES", True, lambda _, item: f"{len(item.spec.ingress)} in, {len(item.spec.egress)} out")
_POLICY: list[Column] = [
    ("TIER", False, lambda _, item: item.spec.tier),
    ("ORDER", False, _order),
    ("SELECTOR", False, lambda _, item: item.spec.selector or "all()"),
    ("TYPES", True, lambda _, item: ",".join(item.spec.types)),
    _RULES,
]

_ACTION: Column = ("ACTION", False, lambda _, item: item.spec.staged_action)

COLUMNS: dict[str, list[Column]] = {
    "Pod": [("IP", False, _addresses), ("NODE", False, _node), ("INTERFACE", True, _interface)],
    "Node": [
        ("ADDRESSES", False, _node_addresses),
        ("DATAPLANE", False, lambda state, node: state.dataplane_of(node.name)),
    ],
    "NetworkPolicy": _POLICY,
    "GlobalNetworkPolicy": _POLICY,
    "StagedNetworkPolicy": [_ACTION, *_POLICY],
    "StagedGlobalNetworkPolicy": [_ACTION, *_POLICY],
    "StagedKubernetesNetworkPolicy": [
        _ACTION,
        ("TYPES", False, lambda _, item: ",".join(item.spec.policy_types)),
    ],
    "KubernetesNetworkPolicy": [("TYPES", False, lambda _, item: ",".join(item.spec.policy_types))],
    "KubernetesClusterNetworkPolicy": [
        ("TIER", False, lambda _, item: item.spec.tier),
        ("PRIORITY", False, lambda _, item: str(item.spec.priority)),
        _RULES,
    ],
    "KubernetesAdminNetworkPolicy": [("PRIORITY", False, lambda _, item: str(item.spec.priority)), _RULES],
    "KubernetesBaselineAdminNetworkPolicy": [_RULES],
    "Service": [
        ("TYPE", False, lambda _, item: item.spec.type),
        ("PORTS", False, lambda _, item: ",".join(f"{p.port}/{p.protocol}" for p in item.spec.ports) or "<none>"),
        ("SELECTOR", True, lambda _, item: ",".join(f"{k}={v}" for k, v in item.spec.selector.items()) or "<none>"),
    ],
    "EndpointSlice": [
        ("SERVICE", False, lambda _, item: item.service or "<none>"),
        ("PORTS", False, lambda _, item: ",".join(f"{p.port or '*'}/{p.protocol}" for p in item.ports) or "<none>"),
        ("ENDPOINTS", False, lambda _, item: ",".join(text for one in item.endpoints for text in one.addresses)),
    ],
    "Tier": [("ORDER", False, _order), ("DEFAULT ACTION", False, lambda _, tier: tier.spec.default_action)],
    "NetworkSet": [("NETS", False, lambda _, item: ",".join(item.spec.nets))],
    "GlobalNetworkSet": [("NETS", False, lambda _, item: ",".join(item.spec.nets))],
    "HostEndpoint": [
        ("NODE", False, lambda _, item: item.spec.node),
        ("INTERFACE", False, lambda _, item: item.spec.interface_name or "<by address>"),
        ("IPS", False, lambda _, item: ",".join(item.spec.expected_ips) or "<none>"),
        ("PROFILES", True, lambda _, item: ",".join(item.spec.profiles) or "<none>"),
    ],
    "IPPool": [
        ("CIDR", False, lambda _, pool: pool.spec.cidr),
        ("NAT", False, lambda _, pool: str(pool.spec.nat_outgoing).lower()),
        ("DISABLED", False, lambda _, pool: str(pool.spec.disabled).lower()),
    ],
}


def table(state: State, kind: Kind, items: Sequence[AnyResource], everywhere: bool, wide: bool) -> Table:
    """A kubectl-like table of resources of one kind."""
    columns = [column for column in COLUMNS.get(kind.name, []) if wide or not column[1]]
    if wide:
        columns = [*columns, ("LABELS", True, _labels)]
    shown = Table(box=None, pad_edge=False)
    titles = [*(["NAMESPACE"] if everywhere and kind.namespaced else []), "NAME", *(title for title, _, _ in columns)]
    for title in titles:
        shown.add_column(title)
    for item in items:
        start = [item.namespace] if everywhere and kind.namespaced else []
        shown.add_row(*start, item.name, *(text(state, item) for _, _, text in columns))
    return shown
