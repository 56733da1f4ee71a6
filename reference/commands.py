"""Commands: pure decisions from a state and a wish to events. All of a command happens, or none of it.

Each function returns a `Decision` and changes nothing; `now` is in seconds since the epoch. Resources come defaulted
and validated, as `reference.resources.manifests` makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from reference import autohosts, machines, seeds, slices
from reference import events as ev
from reference.endpoints import Host
from reference.errors import InvalidInputError, RefusedError
from reference.events import Draft
from reference.ipam.release import release_pool
from reference.plan import Decision, Outcome, Plan
from reference.pods import Pods
from reference.resources import AnyResource, HostEndpoint, Key, Node, Pod, WorkloadEndpoint
from reference.resources.admission import admit, admit_delete
from reference.resources.kinds import kind_of
from reference.state import State

__all__ = [
    "Decision",
    "Draft",
    "Outcome",
    "apply",
    "bootstrap",
    "choose_dataplane",
    "delete",
    "disable_encryption",
    "enable_encryption",
    "fail_node",
    "publish_key",
    "recover_node",
]

USER = "user"
_ORDER = (
    "Namespace", "ServiceAccount", "Tier", "IPPool", "Node", "Profile", "NetworkSet", "GlobalNetworkSet",
    "Service", "EndpointSlice", "Pod", "WorkloadEndpoint",
    "KubernetesNetworkPolicy", "NetworkPolicy", "GlobalNetworkPolicy",
    "KubernetesClusterNetworkPolicy", "KubernetesAdminNetworkPolicy", "KubernetesBaselineAdminNetworkPolicy",
    "HostEndpoint", "FelixConfiguration", "KubeControllersConfiguration",
    "StagedKubernetesNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy",
)  # fmt: skip
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}
_DELETE_RANK = {kind: -rank for kind, rank in _RANK.items()}
_DELETE_RANK |= dict.fromkeys(("Pod", "WorkloadEndpoint"), -len(_ORDER))  # workloads first, namespaces last


def bootstrap(
    name: str,
    topology: str,
    dataplane: str,
    hosts: Iterable[Host],
    *,
    now: float,
    node_dataplanes: Mapping[str, str] | None = None,
) -> Decision:
    """A cluster begins: its hosts, a Node for each host that is one, and the built-in tiers and namespaces."""
    plan = Plan(State(), now)
    plan.emit(USER, ev.ClusterCreated(name, topology, dataplane, dict(node_dataplanes or {})))
    seeds.seed(plan)
    for host in hosts:
        plan.emit(seeds.ACTOR, ev.HostAttached(host))
        if host.is_node:
            seeds.put(plan, seeds.node_of(host))
    return plan.decision()


def apply(
    state: State, resources: Iterable[AnyResource], *, now: float, offline: bool = False, actor: str = USER
) -> Decision:
    """Apply resources like `kubectl apply`, in an order that satisfies their needs; of one key the last counts.

    `offline`: there is no fabric. Nodes are taken as declared or made up, and a pod's status may say its addresses.

    Raises:
        InvalidInputError: the state forbids one of them, or no address or node is left; says what to do.
    """
    plan = Plan(state, now)
    wanted = {resource.key: resource for resource in resources}
    ordered = sorted(wanted.values(), key=lambda resource: _RANK[resource.key.kind])
    pods = Pods(plan, offline=offline)
    before = [r for r in ordered if _RANK[r.key.kind] < _RANK["Pod"]]
    after = [r for r in ordered if _RANK[r.key.kind] > _RANK["Pod"]]
    for resource in before:
        _apply_one(plan, resource, actor, offline=offline)
    mine = [resource for resource in ordered if isinstance(resource, Pod)]
    for pod in mine:
        seeds.ensure_namespace(plan, pod.namespace)
    pods.apply(mine, actor)
    slices.settle(plan)
    for resource in after:
        _apply_one(plan, resource, actor, offline=offline)
    autohosts.settle(plan, state)
    return plan.decision()


def _apply_one(plan: Plan, resource: AnyResource, actor: str, *, offline: bool) -> None:
    if kind_of(resource).namespaced:
        seeds.ensure_namespace(plan, resource.namespace)
    host: Host | None = None
    if isinstance(resource, Node):
        resource, host = _placed(plan, resource, offline=offline)
    old = plan.progress.find(resource.key)
    if host is not None and plan.progress.hosts.get(host.name) != host:
        plan.emit(seeds.ACTOR, ev.HostAttached(host))
    if old == resource:
        plan.report(resource.key, "unchanged")
        return
    admit(plan.progress.resources, resource)
    if offline and isinstance(resource, HostEndpoint):
        seeds.ensure_offline_host(plan, resource)
    if offline and isinstance(resource, WorkloadEndpoint):
        seeds.ensure_offline_node(plan, resource.spec.node)
    plan.emit(actor, ev.ResourceApplied(resource))
    if isinstance(resource, WorkloadEndpoint):
        machines.connect(plan, resource, old)
    plan.report(resource.key, "created" if old is None else "configured")


def _placed(plan: Plan, node: Node, *, offline: bool) -> tuple[Node, Host]:
    """A Node with the addresses of its host. Offline the Node makes the host; a live fabric does not grow."""
    host = plan.progress.hosts.get(node.name)
    if not offline:
        if host is None or not host.is_node:
            nodes = ", ".join(sorted(h.name for h in plan.progress.hosts.values() if h.is_node)) or "none"
            raise RefusedError(
                f"{node.key}: the fabric has no such node (it has: {nodes}); nodes come from the topology"
            )
        return msgspec.structs.replace(node, status=seeds.node_status(host)), host
    declared = sorted((a.address for a in node.status.addresses if a.type == "InternalIP"), key=lambda a: ":" in a)
    addresses = tuple(declared) or (host.addresses if host else (seeds.next_offline_address(plan),))
    host = Host(name=node.name, addresses=addresses, subnet=seeds.OFFLINE_SUBNET, is_node=True)
    return (node if declared else msgspec.structs.replace(node, status=seeds.node_status(host))), host


def delete(state: State, keys: Iterable[Key], *, now: float, actor: str = USER) -> Decision:
    """Delete resources, whatever their order. A namespace takes everything in it along, pods first.

    Raises:
        InvalidInputError: one does not exist, or the state forbids it.
    """
    plan = Plan(state, now)
    pods = Pods(plan, offline=False)
    asked = tuple(dict.fromkeys(keys))
    for key in asked:
        if plan.progress.find(key) is None:
            raise InvalidInputError(f"{key} does not exist")
    for key in sorted(_with_contents(state, asked), key=lambda key: (_DELETE_RANK[key.kind], key)):
        admit_delete(plan.progress.resources, key)
        resource = plan.progress.find(key)
        if isinstance(resource, Node):
            raise RefusedError(f"{key} is part of the fabric and cannot be deleted; fail it instead")
        if isinstance(resource, Pod):
            pods.delete(resource, actor)
        else:
            plan.emit(actor, ev.ResourceDeleted(key))
            if isinstance(resource, WorkloadEndpoint):
                machines.disconnect(plan, resource)
        if key.kind == "IPPool":
            release_pool(plan, key.name)
        plan.report(key, "deleted")
    slices.settle(plan)
    autohosts.settle(plan, state)
    return plan.decision()


def _with_contents(state: State, keys: Sequence[Key]) -> set[Key]:
    """The keys, and those of everything in namespaces among them."""
    namespaces = {key.name for key in keys if key.kind == "Namespace"}
    inside = (key for items in state.resources.values() for key in items if namespaces and key.namespace in namespaces)
    return {*keys, *inside}


def fail_node(state: State, node: str, *, now: float) -> Decision:
    """A node stops; nothing happens if it already has. Raises InvalidInputError for an unknown node."""
    plan = Plan(state, now)
    _node_host(state, node)
    if node not in state.failed_nodes:
        plan.emit(USER, ev.NodeFailed(node))
    return plan.decision()


def recover_node(state: State, node: str, *, now: float) -> Decision:
    """A failed node comes back; nothing happens if it is not failed. Raises InvalidInputError for an unknown node."""
    plan = Plan(state, now)
    _node_host(state, node)
    if node in state.failed_nodes:
        plan.emit(USER, ev.NodeRecovered(node))
    return plan.decision()


def choose_dataplane(state: State, dataplane: str, machines: Sequence[str] = (), *, now: float) -> Decision:
    """Machines go over to another dataplane; none named: all of them. Nothing happens to those that have it already.

    Raises:
        InvalidInputError: there is no such machine.
    """
    plan = Plan(state, now)
    for machine in dict.fromkeys(machines):
        if machine not in state.hosts:
            there_are = ", ".join(sorted(state.hosts)) or "none"
            raise InvalidInputError(f"there is no node or host {machine!r} (there are: {there_are})")
        if state.dataplane_of(machine) != dataplane:
            plan.emit(USER, ev.DataplaneChosen(dataplane, machine))
    if not machines and (state.node_dataplanes or state.dataplane != dataplane):
        plan.emit(USER, ev.DataplaneChosen(dataplane))
    return plan.decision()


def enable_encryption(state: State, mode: str, keys: Mapping[str, str], *, now: float) -> Decision:
    """Encrypt pod traffic between nodes; `keys` are the nodes' public keys in base64 (WG-1, WG-8).

    Raises:
        InvalidInputError: the mode or a node is not known, or encryption is already on in another mode.
    """
    if mode != "wireguard":
        raise InvalidInputError(f"encryption {mode!r} is not known; there is wireguard")
    plan = Plan(state, now)
    if state.encryption != mode:
        plan.emit(USER, ev.EncryptionEnabled(mode))
    for node, key in sorted(keys.items()):
        _publish(plan, state, node, key)
    return plan.decision()


def disable_encryption(state: State, *, now: float) -> Decision:
    """Pod traffic is in clear again, and the keys are forgotten (WG-9)."""
    plan = Plan(state, now)
    if state.encryption:
        plan.emit(USER, ev.EncryptionDisabled())
    return plan.decision()


def publish_key(state: State, node: str, public_key: str, *, now: float) -> Decision:
    """A node publishes its public key, base64 (WG-1). Raises InvalidInputError for an unknown node."""
    plan = Plan(state, now)
    _publish(plan, state, node, public_key)
    return plan.decision()


def _publish(plan: Plan, state: State, node: str, public_key: str) -> None:
    _node_host(state, node)
    if state.public_keys.get(node) != public_key:
        plan.emit(f"node/{node}", ev.KeyPublished(node, public_key))


def _node_host(state: State, name: str) -> Host:
    host = state.hosts.get(name)
    if host is None or not host.is_node:
        nodes = ", ".join(sorted(h.name for h in state.hosts.values() if h.is_node)) or "none"
        raise InvalidInputError(f"there is no node {name!r} (there are: {nodes})")
    return host
