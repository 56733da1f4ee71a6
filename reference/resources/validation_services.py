"""Service and EndpointSlice, as the API server checks them."""

from __future__ import annotations

from reference.resources.addresses import parse_address
from reference.resources.faults import FieldPath, fail, parsed, shown
from reference.resources.names import dns_label, dns_subdomain, label_value, port_name
from reference.resources.services import (
    SERVICE_NAME_LABEL,
    Backend,
    BackendPort,
    EndpointSlice,
    Service,
    ServicePort,
    ServiceSpec,
)
from reference.resources.validation_metadata import check_labels

_VERSIONS = {"IPv4": 4, "IPv6": 6}
_MAX_ENDPOINTS = 1000
_MAX_ADDRESSES = 100
_MAX_PORTS = 20_000


def check_service(service: Service) -> None:
    """Ports, selector, addresses and families of a Service.

    Raises:
        FieldError: the first thing wrong.
    """
    spec = service.spec
    problem = dns_label(service.name)
    if problem:
        fail(("metadata", "name"), problem)
    check_labels(spec.selector, ("spec", "selector"))
    _check_type(spec)
    _check_addresses(spec)
    _check_families(spec)
    for index, port in enumerate(spec.ports):
        path: FieldPath = ("spec", "ports", index)
        if not port.name and len(spec.ports) > 1:
            fail((*path, "name"), "required where a Service has several ports")
        _check_service_port(port, spec, path)
        _check_repeated(port, spec.ports[:index], path)


def _check_type(spec: ServiceSpec) -> None:
    external = spec.type == "ExternalName"
    if external and not spec.external_name:
        fail(("spec", "externalName"), "required where type is ExternalName")
    if external and spec.cluster_ip:
        fail(("spec", "clusterIP"), "a Service of type ExternalName has no address")
    if spec.external_name:
        problem = dns_subdomain(spec.external_name)
        if problem:
            fail(("spec", "externalName"), problem)
    headless = spec.cluster_ip == "None"
    if headless and spec.type in ("NodePort", "LoadBalancer"):
        fail(("spec", "clusterIP"), f"None, but a Service of type {spec.type} is not headless")
    if not spec.ports and not external and not headless:
        fail(("spec", "ports"), "required, but missing; only a headless Service or one of type ExternalName has none")


def _check_addresses(spec: ServiceSpec) -> None:
    for index, text in enumerate(spec.cluster_ips):
        if text != "None":
            parsed(parse_address, text, ("spec", "clusterIPs", index))
    if spec.cluster_ip and spec.cluster_ip != "None":
        parsed(parse_address, spec.cluster_ip, ("spec", "clusterIP"))
    if spec.cluster_ips and spec.cluster_ips[0] != spec.cluster_ip:
        fail(("spec", "clusterIPs", 0), f"{shown(spec.cluster_ips[0])}, but clusterIP is {shown(spec.cluster_ip)}")


def _check_families(spec: ServiceSpec) -> None:
    path: FieldPath = ("spec", "ipFamilies")
    for index, family in enumerate(spec.ip_families):
        if family in spec.ip_families[:index]:
            fail((*path, index), f"{family} is there twice")
    if len(spec.ip_families) > 1 and spec.ip_family_policy in (None, "SingleStack"):
        fail((*path, 1), "a second family needs ipFamilyPolicy PreferDualStack or RequireDualStack")


def _check_service_port(port: ServicePort, spec: ServiceSpec, path: FieldPath) -> None:
    _check_number(port.port, (*path, "port"))
    if port.name:
        problem = dns_label(port.name)
        if problem:
            fail((*path, "name"), problem)
    if isinstance(port.target_port, int):
        _check_number(port.target_port, (*path, "targetPort"))
    elif port.target_port is not None:
        problem = port_name(port.target_port)
        if problem:
            fail((*path, "targetPort"), problem)
    if port.node_port:  # 0 is as good as absent
        _check_number(port.node_port, (*path, "nodePort"))
        if spec.type not in ("NodePort", "LoadBalancer"):
            fail((*path, "nodePort"), f"a Service of type {spec.type} has no node ports")


def _check_repeated(port: ServicePort, before: tuple[ServicePort, ...], path: FieldPath) -> None:
    for other in before:
        if port.name == other.name:
            fail((*path, "name"), f"{shown(port.name)} is there twice")
        if (port.port, port.protocol) == (other.port, other.protocol):
            fail((*path, "port"), f"{port.port}/{port.protocol} is there twice")


def check_endpoint_slice(endpoint_slice: EndpointSlice) -> None:
    """Addresses of the slice's own type, ports of different names.

    Raises:
        FieldError: the first thing wrong.
    """
    service = endpoint_slice.service
    problem = label_value(service) or (dns_label(service) if service else None)
    if problem:
        fail(("metadata", "labels", SERVICE_NAME_LABEL), problem)
    if len(endpoint_slice.endpoints) > _MAX_ENDPOINTS:
        fail(("endpoints",), f"{len(endpoint_slice.endpoints)} entries; at most {_MAX_ENDPOINTS}")
    if len(endpoint_slice.ports) > _MAX_PORTS:
        fail(("ports",), f"{len(endpoint_slice.ports)} entries; at most {_MAX_PORTS}")
    for index, backend in enumerate(endpoint_slice.endpoints):
        _check_backend(backend, endpoint_slice.address_type, ("endpoints", index))
    for index, port in enumerate(endpoint_slice.ports):
        _check_backend_port(port, ("ports", index))
        if port.name in {other.name for other in endpoint_slice.ports[:index]}:
            fail(("ports", index, "name"), f"{shown(port.name)} is there twice")


def _check_backend(backend: Backend, address_type: str, path: FieldPath) -> None:
    where = (*path, "addresses")
    if not backend.addresses:
        fail(where, "an empty list; a backend has an address")
    if len(backend.addresses) > _MAX_ADDRESSES:
        fail(where, f"{len(backend.addresses)} entries; at most {_MAX_ADDRESSES}")
    for index, text in enumerate(backend.addresses):
        if address_type == "FQDN":
            problem = dns_subdomain(text)
            if problem:
                fail((*where, index), problem)
            continue
        address = parsed(parse_address, text, (*where, index))
        if address.version != _VERSIONS[address_type]:
            fail((*where, index), f"{text} is IPv{address.version}, but addressType is {address_type}")
    if backend.node_name is not None:
        problem = dns_subdomain(backend.node_name)
        if problem:
            fail((*path, "nodeName"), problem)


def _check_backend_port(port: BackendPort, path: FieldPath) -> None:
    if port.name:
        problem = dns_label(port.name)
        if problem:
            fail((*path, "name"), problem)
    if port.port is not None:
        _check_number(port.port, (*path, "port"))


def _check_number(port: int, path: FieldPath) -> None:
    if not 1 <= port <= 65535:
        fail(path, f"{port} is not a port from 1 to 65535")
