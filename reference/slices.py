"""The EndpointSlices of Services with selectors, kept as Kubernetes' own controller keeps them.

Decided once per command, from what the command leads to: a function of the Service, the pods that match its selector
and their addresses, and of nothing that happened before. Slices that others wrote, known by not carrying our label, are
never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

import msgspec
from immutables import Map

from reference import events as ev
from reference.endpoints import Family
from reference.plan import Plan
from reference.resources import AnyResource, EndpointSlice, Key, Metadata, Pod, Service
from reference.resources.services import (
    SERVICE_NAME_LABEL,
    Backend,
    BackendPort,
    EndpointConditions,
    ServicePort,
    ServiceSpec,
)
from reference.workloads import is_finished, matches_labels

ACTOR = "endpointslice-controller"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGED_BY = "endpointslice-controller.muslin"
MOST_ENDPOINTS = 100  # of one slice, as Kubernetes has it by default
_TYPES: dict[Family, Literal["IPv4", "IPv6"]] = {4: "IPv4", 6: "IPv6"}
_FAMILIES: dict[str, Family] = {"IPv4": 4, "IPv6": 6}
_Ports = tuple[BackendPort, ...]
R = TypeVar("R", Service, EndpointSlice, Pod)


class PlacedPod(NamedTuple):
    """A pod, and the address it has in each family."""

    pod: Pod
    addresses: dict[Family, str]


def settle(plan: Plan) -> None:
    """Bring the slices of every namespace the command touched in line with its services and pods."""
    if not any(plan.progress.resources.get(kind) for kind in ("Service", "EndpointSlice")):
        return
    touched = _touched(plan)
    services = _by_namespace(plan, Service, touched)
    slices = _by_namespace(plan, EndpointSlice, touched)
    concerned = {*services, *slices}
    pods = _by_namespace(plan, Pod, concerned) if concerned else {}
    for namespace in sorted(concerned):
        placed = [_placed(plan, pod) for pod in pods.get(namespace, ()) if not is_finished(pod)]
        wanted = {one.key: one for service in services.get(namespace, ()) for one in slices_of(service, placed)}
        _replace(plan, slices.get(namespace, ()), wanted)


def _touched(plan: Plan) -> set[str] | None:
    """The namespaces in which the command changed services, slices, pods or endpoints; None for all of them."""
    found: set[str] = set()
    for draft in plan.drafts:
        match draft.event:
            case ev.ResourceApplied(resource=Service() | EndpointSlice() | Pod() as resource):
                found.add(resource.namespace)
            case ev.ResourceDeleted(key=key) if key.kind in ("Service", "EndpointSlice", "Pod"):
                found.add(key.namespace)
            case ev.EndpointCreated(endpoint=endpoint):
                found.add(endpoint.namespace)
            case ev.EndpointDeleted(namespace=namespace):
                found.add(namespace)
            case ev.HostAttached():  # the address of pods on its network
                return None
            case _:
                pass
    return found


def _by_namespace(plan: Plan, kind: type[R], namespaces: set[str] | None) -> dict[str, list[R]]:
    """The resources of a kind in some namespaces, or in all, by namespace; each list by name."""
    items = plan.progress.resources.get(kind.__name__, Map[Key, AnyResource]())
    found: dict[str, list[R]] = {}
    for key in sorted(key for key in items if namespaces is None or key.namespace in namespaces):
        found.setdefault(key.namespace, []).append(items[key])  # type: ignore[arg-type]  # the map of a kind holds it
    return found


def _replace(plan: Plan, existing: Iterable[EndpointSlice], wanted: dict[Key, EndpointSlice]) -> None:
    """Write what differs, then delete ours that nobody wants any more."""
    known = {one.key: one for one in existing}
    for key, one in wanted.items():
        old = known.get(key)
        if old is None or (is_managed(old) and old != one):
            plan.emit(ACTOR, ev.ResourceApplied(one))
    for key, old in known.items():
        if key not in wanted and is_managed(old):
            plan.emit(ACTOR, ev.ResourceDeleted(key))


def is_managed(endpoint_slice: EndpointSlice) -> bool:
    """Report whether a slice was made here, and not by a user."""
    return endpoint_slice.metadata.labels.get(MANAGED_BY_LABEL) == MANAGED_BY


def slices_of(service: Service, pods: Sequence[PlacedPod]) -> Iterator[EndpointSlice]:
    """The slices of a service over the pods of its namespace, in the order given.

    One for each family the service has and each way its ports resolve: pods may give one port name to several numbers.
    A service without selector has none of its own, and one of type ExternalName has none at all.
    """
    spec = service.spec
    if not spec.selector or spec.type == "ExternalName":
        return
    chosen = [one for one in pods if matches_labels(spec.selector, one.pod.metadata.labels)]
    for family in _families(spec, chosen):
        groups: dict[_Ports, list[Backend]] = {}
        for pod, addresses in chosen:
            if family in addresses:
                groups.setdefault(_resolved(spec.ports, pod), []).append(_backend(pod, addresses[family]))
        for ports, backends in groups.items():
            for start in range(0, len(backends), MOST_ENDPOINTS):
                yield _slice(service, family, ports, start, backends[start : start + MOST_ENDPOINTS])


def _families(spec: ServiceSpec, pods: Iterable[PlacedPod]) -> tuple[Family, ...]:
    """The families of a service: those it names, both when it asks for both, otherwise one, IPv4 if any pod has it."""
    if spec.ip_families:
        named = tuple(_FAMILIES[name] for name in spec.ip_families)
        both = spec.ip_family_policy in ("PreferDualStack", "RequireDualStack")
        return (4, 6) if both else named
    if spec.ip_family_policy in ("PreferDualStack", "RequireDualStack"):
        return (4, 6)
    own = [text for text in (spec.cluster_ip, *spec.cluster_ips) if text not in ("", "None")]
    if own:
        return tuple(dict.fromkeys(6 if ":" in text else 4 for text in own))
    return (4,) if any(4 in one.addresses for one in pods) else (6,)


def _resolved(ports: tuple[ServicePort, ...], pod: Pod) -> _Ports:
    """The service's ports as this pod has them; a name it does not declare is left out."""
    found = []
    for port in ports:
        number = _number(port, pod)
        if number is not None:
            found.append(BackendPort(port.name, number, port.protocol, port.app_protocol))
    return tuple(found)


def _number(port: ServicePort, pod: Pod) -> int | None:
    target = port.port if port.target_port is None else port.target_port
    if isinstance(target, int):
        return target
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for declared in container.ports:
            if declared.name == target and declared.protocol == port.protocol:
                return declared.container_port
    return None


def _backend(pod: Pod, address: str) -> Backend:
    return Backend(
        addresses=(address,),
        conditions=EndpointConditions(ready=_is_ready(pod)),
        node_name=pod.spec.node_name or None,
        target_ref={"kind": "Pod", "name": pod.name, "namespace": pod.namespace},
    )


def _is_ready(pod: Pod) -> bool:
    """What the pod's status says; one that says nothing is ready, as pods here are as soon as they are there."""
    conditions = pod.status.conditions if isinstance(pod.status.conditions, list | tuple) else ()
    said = [one.get("status") for one in conditions if isinstance(one, dict) and one.get("type") == "Ready"]
    return all(status == "True" for status in said)


def _slice(service: Service, family: Family, ports: _Ports, start: int, backends: list[Backend]) -> EndpointSlice:
    content = msgspec.json.encode((family, ports, start))
    name = f"{service.name}-{hashlib.sha256(content).hexdigest()[:10]}"
    labels = {SERVICE_NAME_LABEL: service.name, MANAGED_BY_LABEL: MANAGED_BY}
    return EndpointSlice(
        metadata=Metadata(name=name, namespace=service.namespace, labels=labels),
        address_type=_TYPES[family],
        endpoints=tuple(backends),
        ports=ports,
    )


def _placed(plan: Plan, pod: Pod) -> PlacedPod:
    """A pod with its addresses; one on its host's network has the host's."""
    endpoint = plan.progress.endpoints.get((pod.namespace, pod.name))
    host = plan.progress.hosts.get(pod.spec.node_name) if pod.spec.host_network else None
    addresses: dict[Family, str] = {}
    for text in endpoint.addresses if endpoint else host.addresses if host else ():
        addresses.setdefault(6 if ":" in text else 4, text)
    return PlacedPod(pod, addresses)
