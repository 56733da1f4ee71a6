"""Workloads that are no pods: WorkloadEndpoints as they are written become endpoints of the network (1.1).

A virtual machine is attached, addressed and policed like a pod; only Kubernetes policies never see it (K8S-6, K8S-9).
"""

from __future__ import annotations

from ipaddress import ip_interface

from reference import endpoints, seeds
from reference import events as ev
from reference.endpoints import EndpointPort
from reference.errors import RefusedError
from reference.ipam.assign import Allocator, Request
from reference.ipam.ranges import number_of, range_of
from reference.ipam.release import release_handle
from reference.packet import protocol_number
from reference.plan import Plan
from reference.resources import IPPool, Node
from reference.resources.workload_endpoint import WorkloadEndpoint
from reference.workloads import interface_name

ACTOR = "orchestrator"


def connect(plan: Plan, resource: WorkloadEndpoint, old: object) -> None:
    """Attach a workload, or give it its new value; `old` is what was applied under its key before, or None.

    Raises:
        RefusedError: its node does not exist, another workload has its name, or somebody holds its address.
    """
    _check_place(plan, resource, old)
    wanted = endpoint_of(resource)
    current = plan.progress.endpoints.get((wanted.namespace, wanted.pod))
    if current == wanted:
        return
    if current is None or current.addresses != wanted.addresses:
        release_handle(plan, _handle(resource))
        _claim(plan, resource, wanted.addresses)
    plan.emit(ACTOR, ev.EndpointCreated(wanted))


def disconnect(plan: Plan, resource: WorkloadEndpoint) -> None:
    """Take a workload's endpoint away and give its addresses back."""
    plan.emit(ACTOR, ev.EndpointDeleted(resource.namespace, resource.spec.workload))
    release_handle(plan, _handle(resource))


def endpoint_of(resource: WorkloadEndpoint) -> endpoints.WorkloadEndpoint:
    """What the network has of a workload. Its labels are its own, with the three that Calico adds (2f)."""
    spec = resource.spec
    labels = dict(resource.metadata.labels)
    labels["projectcalico.org/namespace"] = resource.namespace
    labels["projectcalico.org/orchestrator"] = spec.orchestrator
    if spec.service_account_name:
        labels["projectcalico.org/serviceaccount"] = spec.service_account_name
    addresses = sorted((ip_interface(text).ip for text in spec.ip_networks), key=lambda address: address.version)
    return endpoints.WorkloadEndpoint(
        namespace=resource.namespace,
        pod=spec.workload,
        node=spec.node,
        interface=spec.interface_name or interface_name(resource.namespace, spec.workload),
        addresses=tuple(map(str, addresses)),
        labels=labels,
        profiles=spec.profiles,
        service_account=spec.service_account_name,
        ports=tuple(EndpointPort(port.name, protocol_number(port.protocol), port.port) for port in spec.ports),
    )


def _check_place(plan: Plan, resource: WorkloadEndpoint, old: object) -> None:
    spec = resource.spec
    if plan.progress.get(Node, spec.node) is None:
        raise RefusedError(f"{resource.key}: spec.node is {spec.node}, and there is no such node")
    if isinstance(old, WorkloadEndpoint) and (old.spec.node, old.spec.workload) != (spec.node, spec.workload):
        raise RefusedError(f"{resource.key}: node and workload cannot change; delete it and apply it again")
    taken = (resource.namespace, spec.workload) in plan.progress.endpoints
    if old is None and taken:
        raise RefusedError(
            f"{resource.key}: {resource.namespace}/{spec.workload} is the name of another workload; choose another"
        )


def _claim(plan: Plan, resource: WorkloadEndpoint, addresses: tuple[str, ...]) -> None:
    """Have IPAM know the addresses that lie in pools, so that nobody else gets them (IPAM-12).

    Others are the user's own; what pods of a natOutgoing pool send there is masqueraded (NAT-1).
    """
    seeds.ensure_pools(plan)
    pools = [pool for pool in plan.progress.resources["IPPool"].values() if isinstance(pool, IPPool)]
    request = Request(resource.spec.node, resource.namespace, resource.spec.workload, _handle(resource), {})
    for address in addresses:
        if any(range_of(pool).holds(*number_of(address)) for pool in pools):
            Allocator(plan).assign_address(request, address)


def _handle(resource: WorkloadEndpoint) -> str:
    return f"{resource.spec.orchestrator}.{resource.namespace}.{resource.spec.workload}"
