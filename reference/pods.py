"""What applying and deleting pods decides: a node, addresses, an endpoint, and the end of all three."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from reference import events as ev
from reference import seeds
from reference.endpoints import Family, WorkloadEndpoint
from reference.errors import RefusedError
from reference.ipam.assign import Allocator, Request
from reference.ipam.pools import USE
from reference.ipam.ranges import range_of
from reference.ipam.release import Release, find, release_addresses
from reference.plan import Plan
from reference.resources import IPPool, Node, Pod
from reference.workloads import (
    PINNED,
    endpoint_of,
    handle_of,
    is_finished,
    is_networked,
    is_pod,
    matches_labels,
    pinned_addresses,
    reported_addresses,
    without_status_addresses,
)

CNI = "cni"


class Pods:
    """Applies and deletes pods within one plan. Offline, a status may say the addresses, and nodes are made up."""

    def __init__(self, plan: Plan, *, offline: bool) -> None:
        """Nothing is counted or indexed before it is needed."""
        self._plan = plan
        self._offline = offline
        self._known_load: Counter[str] | None = None
        self._known_allocator: Allocator | None = None

    def apply(self, pods: Sequence[Pod], actor: str) -> None:
        """Apply pods of distinct keys: those that ask for an address or a node first, so that nobody else takes it."""
        wanted = [self._wanted(pod) for pod in pods]
        for pod in wanted:
            self._check_node(pod)
        for pod in sorted(wanted, key=self._rank):
            self._apply(pod, actor)

    def delete(self, pod: Pod, actor: str) -> None:
        """Take a pod's endpoint and addresses away, then the pod."""
        self._disconnect(pod)
        self._plan.emit(actor, ev.ResourceDeleted(pod.key))

    # -- one pod -------------------------------------------------------------------------------------------------------

    def _wanted(self, pod: Pod) -> Pod:
        """The pod as it will be stored: what it leaves open stays as it was."""
        if not self._offline:
            pod = without_status_addresses(pod)
        old = self._plan.progress.get(Pod, pod.name, pod.namespace)
        if old is None:
            return pod
        _refuse_moves(old, pod)
        spec = pod.spec if pod.spec.node_name else msgspec.structs.replace(pod.spec, node_name=old.spec.node_name)
        status = pod.status if pod.status != type(pod.status)() else old.status
        return msgspec.structs.replace(pod, spec=spec, status=status)

    def _rank(self, pod: Pod) -> int:
        asks = pinned_addresses(pod) or (self._offline and reported_addresses(pod))
        return 0 if asks else 1 if pod.spec.node_name else 2

    def _apply(self, pod: Pod, actor: str) -> None:
        progress = self._plan.progress
        old = progress.get(Pod, pod.name, pod.namespace)
        if not pod.spec.node_name:
            pod = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=self._schedule(pod)))
        if pod == old:
            self._plan.report(pod.key, "unchanged")
            return
        self._plan.emit(actor, ev.ResourceApplied(pod))
        if self._known_load is not None:
            self._known_load[pod.spec.node_name] += not is_finished(pod)
            if old is not None:
                self._known_load[pod.spec.node_name] -= not is_finished(old)
        if is_networked(pod):
            self._connect(pod, created=progress.seq)
        else:
            self._disconnect(pod)
        self._plan.report(pod.key, "configured" if old else "created")

    def _connect(self, pod: Pod, created: int) -> None:
        current = self._plan.progress.endpoints.get((pod.namespace, pod.name))
        if current is not None and not is_pod(current):
            raise RefusedError(f"{pod.key}: a WorkloadEndpoint has the name {current.name}; choose another")
        reported = reported_addresses(pod) if self._offline else ()
        if current is not None and (not reported or reported == current.addresses):
            addresses = current.addresses
        else:
            if current is not None:
                self._release(current)
            addresses = reported or self._assigned(pod, created)
        endpoint = endpoint_of(pod, addresses)
        if endpoint != current:
            self._plan.emit(CNI, ev.EndpointCreated(endpoint))

    def _disconnect(self, pod: Pod) -> None:
        endpoint = self._plan.progress.endpoints.get((pod.namespace, pod.name))
        if endpoint is not None:
            self._plan.emit(CNI, ev.EndpointDeleted(pod.namespace, pod.name))
            self._release(endpoint)

    # -- addresses -----------------------------------------------------------------------------------------------------

    def _assigned(self, pod: Pod, created: int) -> tuple[str, ...]:
        """Addresses from IPAM: those pinned, or one of each family there are pools for, all or nothing (IPAM-10)."""
        seeds.ensure_pools(self._plan)
        handle = handle_of(pod.namespace, pod.name, created)
        request = Request(pod.spec.node_name, pod.namespace, pod.name, handle, pod.metadata.annotations)
        pinned = pinned_addresses(pod)
        for address in pinned:
            self._allocator.assign_address(request, address)
        return pinned or tuple(self._allocator.assign(request, family) for family in self._families(request))

    def _families(self, request: Request) -> tuple[Family, ...]:
        pools = self._plan.progress.resources.get("IPPool", {}).values()
        enabled = [p for p in pools if isinstance(p, IPPool) and not p.spec.disabled and USE in p.spec.allowed_uses]
        families = tuple(sorted({range_of(pool).family for pool in enabled}))
        if not families:
            raise RefusedError(f"{request}: every IPPool is disabled or for other uses; enable one, or add one")
        return families

    def _release(self, endpoint: WorkloadEndpoint) -> None:
        """Give back what IPAM gave this pod; addresses pinned past IPAM have nothing to give back."""
        mine = {"pod": endpoint.pod, "namespace": endpoint.namespace}
        for address in endpoint.addresses:
            place = find(self._plan.progress, address)
            held = place.block.allocations.get(place.ordinal) if place else None
            if held is not None and mine.items() <= held.attributes.items():
                release_addresses(self._plan, [Release(address, held.handle)])
        if self._known_allocator is not None:
            self._known_allocator.released()

    @property
    def _allocator(self) -> Allocator:
        if self._known_allocator is None:
            self._known_allocator = Allocator(self._plan)
        return self._known_allocator

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _check_node(self, pod: Pod) -> None:
        """See that the node a pod names exists; offline it is made."""
        name = pod.spec.node_name
        if not name or self._plan.progress.get(Node, name) is not None:
            return
        if not self._offline:
            known = ", ".join(sorted(node.name for node in self._nodes())) or "none"
            raise RefusedError(
                f"{pod.key}: spec.nodeName is {name}, and there is no such node (there are: {known}); "
                "name one of these, or leave the field out"
            )
        address = pod.status.host_ip if isinstance(pod.status.host_ip, str) else ""
        seeds.ensure_offline_node(self._plan, name, address)

    def _schedule(self, pod: Pod) -> str:
        """The node with the fewest pods among those that fit, ties by name."""
        if self._offline and not self._plan.progress.resources.get("Node"):
            seeds.ensure_offline_node(self._plan, seeds.FIRST_OFFLINE_NODE)
        failed = self._plan.progress.failed_nodes
        fitting = [
            node.name
            for node in self._nodes()
            if node.name not in failed
            and not node.spec.unschedulable
            and matches_labels(pod.spec.node_selector, node.metadata.labels)
        ]
        if not fitting:
            raise RefusedError(
                f"{pod.key}: no node can take it (failed, unschedulable, or not matching its nodeSelector); "
                "recover a node, or change spec.nodeSelector"
            )
        load = self._load
        chosen = min(fitting, key=lambda name: (load[name], name))
        if self._offline and load[chosen] >= seeds.PODS_ON_AN_OFFLINE_NODE and self._are_made_up():
            chosen = f"node-{len(fitting) + 1}"  # one node may not have more blocks than 20 (IPAM-6)
            seeds.ensure_offline_node(self._plan, chosen)
        return chosen

    def _are_made_up(self) -> bool:
        """Report whether nobody declared any node, so that there are as many as it takes."""
        hosts = self._plan.progress.hosts
        return all(node == seeds.node_of(hosts[node.name]) for node in self._nodes())

    def _nodes(self) -> Iterable[Node]:
        items = self._plan.progress.resources.get("Node", {}).values()
        return [node for node in items if isinstance(node, Node)]

    @property
    def _load(self) -> Counter[str]:
        if self._known_load is None:
            pods = self._plan.progress.resources.get("Pod", {}).values()
            self._known_load = Counter(p.spec.node_name for p in pods if isinstance(p, Pod) and not is_finished(p))
        return self._known_load


def _refuse_moves(old: Pod, new: Pod) -> None:
    """What Kubernetes keeps of a pod for life, as far as it decides about packets."""
    node = new.spec.node_name or old.spec.node_name
    fields = (
        ("spec.nodeName", old.spec.node_name, node),
        ("spec.hostNetwork", old.spec.host_network, new.spec.host_network),
        ("spec.serviceAccountName", old.spec.service_account_name, new.spec.service_account_name),
        (f"annotation {PINNED}", pinned_addresses(old), pinned_addresses(new)),
    )
    for name, before, after in fields:
        if before != after:
            raise RefusedError(
                f"{new.key}: {name} cannot change from {before!r} to {after!r}; delete the pod and apply it again"
            )
