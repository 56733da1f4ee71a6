"""WorkloadEndpoint: what a workload that is no pod must say of itself."""

from __future__ import annotations

import re

from reference.resources.addresses import parse_cidr
from reference.resources.faults import fail, parsed, shown
from reference.resources.names import dns_label, dns_subdomain
from reference.resources.validation_hosts import check_named_port
from reference.resources.workload_endpoint import WorkloadEndpoint

_INTERFACE = re.compile(r"cali[A-Za-z0-9_.-]{1,11}")


def check_workload_endpoint(resource: WorkloadEndpoint) -> None:
    """Orchestrator, workload, node, and one address of each family at most."""
    spec = resource.spec
    for field in ("orchestrator", "workload", "node"):
        if not getattr(spec, field):
            fail(("spec", field), "required, but missing")
    if spec.orchestrator == "k8s" or spec.pod:
        fail(("spec", "orchestrator"), "endpoints of pods are made from the pods; apply the Pod instead")
    for field in ("orchestrator", "workload"):
        problem = dns_label(getattr(spec, field))
        if problem:
            fail(("spec", field), problem)
    if spec.interface_name and not _INTERFACE.fullmatch(spec.interface_name):
        fail(
            ("spec", "interfaceName"),
            f"{shown(spec.interface_name)}: a workload's interface begins with cali and has at most 15 characters",
        )
    _check_addresses(spec.ip_networks)
    for index, profile in enumerate(spec.profiles):
        problem = dns_subdomain(profile)
        if problem:
            fail(("spec", "profiles", index), problem)
    for index, port in enumerate(spec.ports):
        check_named_port(port, ("spec", "ports", index))
    if spec.ip_nats:
        fail(("spec", "ipNATs"), "floating addresses are not supported; leave the field out")
    if spec.allow_spoofed_source_prefixes:
        fail(
            ("spec", "allowSpoofedSourcePrefixes"),
            "needs workloadSourceSpoofing: Any, which is not supported; without it the endpoint counts as missing",
        )


def _check_addresses(networks: tuple[str, ...]) -> None:
    if not networks:
        fail(("spec", "ipNetworks"), "required, but missing; give its address, such as 10.244.0.7/32")
    families = set()
    for index, text in enumerate(networks):
        path = ("spec", "ipNetworks", index)
        network = parsed(parse_cidr, text if "/" in text else f"{text}/{128 if ':' in text else 32}", path)
        if network.prefixlen != network.max_prefixlen:
            fail(path, f"{shown(text)} is more than one address; write /32, or /128 for IPv6")
        if network.version in families:
            fail(path, f"{shown(text)} is a second IPv{network.version} address; a workload has one of each family")
        families.add(network.version)
