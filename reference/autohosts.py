"""Automatic host endpoints: one for every node while the controllers' configuration asks for them (HEP-8).

Decided together with whatever made them necessary, so a log shows both. They allow everything until a policy selects
them: their profile is `projectcalico-default-allow`.
"""

from __future__ import annotations

import hashlib

from reference import events as ev
from reference.plan import Plan
from reference.resources import HostEndpoint, Key, KubeControllersConfiguration, Metadata, Node
from reference.resources.hosts import ALL_INTERFACES, DEFAULT_ALLOW_PROFILE, HostEndpointSpec
from reference.state import State

ACTOR = "node controller"
CREATED_BY = ("projectcalico.org/created-by", "calico-kube-controllers")
_SUFFIX, _LONGEST, _DIGEST = "-auto-hep", 253, 16
_KINDS = ("Node", "KubeControllersConfiguration", "HostEndpoint")


def settle(plan: Plan, before: State) -> None:
    """Make the automatic host endpoints be those the configuration asks for; `before` is where the command began."""
    if all(plan.progress.resources.get(kind) is before.resources.get(kind) for kind in _KINDS):
        return
    wanted = {endpoint.key: endpoint for endpoint in _wanted(plan)}
    held = {
        key: endpoint for key, endpoint in plan.progress.resources.get("HostEndpoint", {}).items() if _is_ours(endpoint)
    }
    for key in sorted(held.keys() - wanted.keys()):
        plan.emit(ACTOR, ev.ResourceDeleted(key))
    for key, endpoint in wanted.items():
        existing = plan.progress.find(key)
        if existing is None or (existing != endpoint and key in held):  # one a user made by that name is the user's
            plan.emit(ACTOR, ev.ResourceApplied(endpoint))


def _wanted(plan: Plan) -> list[HostEndpoint]:
    configuration = plan.progress.get(KubeControllersConfiguration, "default")
    if configuration is None or not configuration.spec.makes_host_endpoints:
        return []
    nodes: dict[Key, Node] = {
        key: node for key, node in plan.progress.resources.get("Node", {}).items() if isinstance(node, Node)
    }
    return [_endpoint(plan, node) for _, node in sorted(nodes.items())]


def _endpoint(plan: Plan, node: Node) -> HostEndpoint:
    host = plan.progress.hosts.get(node.name)
    label, value = CREATED_BY
    return HostEndpoint(
        metadata=Metadata(name=_name(node.name), labels={**node.metadata.labels, label: value}),
        spec=HostEndpointSpec(
            node=node.name,
            interface_name=ALL_INTERFACES,
            expected_ips=() if host is None else host.addresses,
            profiles=(DEFAULT_ALLOW_PROFILE,),
        ),
    )


def _name(node: str) -> str:
    """The name of a node's host endpoint; one that would be too long for a resource ends in a hash (HEP-8)."""
    name = f"{node}{_SUFFIX}"
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{node[: _LONGEST - len(_SUFFIX) - _DIGEST - 1].rstrip('-.')}-{digest}{_SUFFIX}"


def _is_ours(endpoint: object) -> bool:
    label, value = CREATED_BY
    return isinstance(endpoint, HostEndpoint) and endpoint.metadata.labels.get(label) == value
