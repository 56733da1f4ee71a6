"""The Kubernetes kinds, as the API server checks them: NetworkPolicy, Pod, Node."""

from __future__ import annotations

from typing import TypeVar

from reference.resources.addresses import parse_address, parse_cidr
from reference.resources.faults import FieldPath, fail, parsed, shown
from reference.resources.kubernetes import (
    ContainerPort,
    IPBlock,
    KubernetesNetworkPolicy,
    LabelRequirement,
    LabelSelector,
    Node,
    Pod,
    PodSpec,
    PolicyPeer,
    PolicyPort,
)
from reference.resources.names import dns_label, dns_subdomain, label_value, port_name, qualified_name
from reference.resources.validation_metadata import check_labels

T = TypeVar("T")


def check_network_policy(policy: KubernetesNetworkPolicy) -> None:
    """networking.k8s.io/v1 (K8S-7 to K8S-10); what conversion would take amiss never gets in."""
    spec = policy.spec
    check_label_selector(spec.pod_selector, ("spec", "podSelector"))
    if len(spec.policy_types) > 2:
        fail(("spec", "policyTypes"), f"{len(spec.policy_types)} entries; there are two directions")
    for index, ingress in enumerate(spec.ingress or ()):
        where: FieldPath = ("spec", "ingress", index)
        _check_peers(ingress.from_, (*where, "from"))
        _check_ports(ingress.ports, (*where, "ports"))
    for index, egress in enumerate(spec.egress or ()):
        where = ("spec", "egress", index)
        _check_peers(egress.to, (*where, "to"))
        _check_ports(egress.ports, (*where, "ports"))


def _check_peers(peers: tuple[PolicyPeer, ...] | None, path: FieldPath) -> None:
    for index, peer in enumerate(peers or ()):
        _check_peer(peer, (*path, index))


def _check_peer(peer: PolicyPeer, path: FieldPath) -> None:
    """K8S-9: selectors or an ipBlock, and one of them at least."""
    if peer == PolicyPeer():
        fail(path, "an empty peer; give podSelector, namespaceSelector or ipBlock")
    if peer.ip_block is not None:
        for name, other in (("podSelector", peer.pod_selector), ("namespaceSelector", peer.namespace_selector)):
            if other is not None:
                fail((*path, name), "cannot stand beside ipBlock; make it a peer of its own")
        _check_ip_block(peer.ip_block, (*path, "ipBlock"))
    check_label_selector(peer.pod_selector, (*path, "podSelector"))
    check_label_selector(peer.namespace_selector, (*path, "namespaceSelector"))


def _check_ip_block(block: IPBlock, path: FieldPath) -> None:
    network = parsed(lambda text: parse_cidr(text, host_bits=True), block.cidr, (*path, "cidr"))
    for index, text in enumerate(block.except_):
        where = (*path, "except", index)
        exception = parsed(lambda text: parse_cidr(text, host_bits=True), text, where)
        inside = exception.version == network.version and network.supernet_of(exception)  # type: ignore[arg-type]
        if not inside or exception == network:
            fail(where, f"{text} is not a smaller part of {block.cidr}")


def _check_ports(ports: tuple[PolicyPort, ...] | None, path: FieldPath) -> None:
    for index, port in enumerate(ports or ()):
        _check_policy_port(port, (*path, index))


def _check_policy_port(entry: PolicyPort, path: FieldPath) -> None:
    """K8S-10: a number, a name, or the first of a range."""
    port, end = entry.port, entry.end_port
    if isinstance(port, int):
        _check_port_number(port, (*path, "port"))
    elif port is not None:
        _check(port_name(port), (*path, "port"))
    if end is None:
        return
    if port is None:
        fail((*path, "endPort"), "needs port, the first of the range")
    if isinstance(port, str):
        fail((*path, "endPort"), f"needs a number as port, not the name {shown(port)}")
    _check_port_number(end, (*path, "endPort"))
    if end < port:
        fail((*path, "endPort"), f"{end} is below port {port}")


def check_label_selector(selector: LabelSelector | None, path: FieldPath) -> None:
    """K8S-7."""
    if selector is None:
        return
    check_labels(selector.match_labels, (*path, "matchLabels"))
    for index, requirement in enumerate(selector.match_expressions):
        _check_requirement(requirement, (*path, "matchExpressions", index))


def _check_requirement(requirement: LabelRequirement, path: FieldPath) -> None:
    _check(qualified_name(requirement.key), (*path, "key"))
    if requirement.operator in ("In", "NotIn") and not requirement.values:
        fail((*path, "values"), f"{requirement.operator} needs at least one value")
    if requirement.operator in ("Exists", "DoesNotExist") and requirement.values:
        fail((*path, "values"), f"{requirement.operator} takes no values")
    for index, value in enumerate(requirement.values):
        _check(label_value(value), (*path, "values", index))


def check_pod(pod: Pod) -> None:
    """Container names and ports, where it runs and as whom, and addresses it says it has."""
    spec = pod.spec
    _check_containers(spec)
    for name, value in (("nodeName", spec.node_name), ("serviceAccountName", spec.service_account_name)):
        if value:
            _check(dns_subdomain(value), ("spec", name))
    check_labels(spec.node_selector, ("spec", "nodeSelector"))
    if pod.status.pod_ip:
        parsed(parse_address, pod.status.pod_ip, ("status", "podIP"))
    families: set[int] = set()
    for index, entry in enumerate(pod.status.pod_ips):
        path: FieldPath = ("status", "podIPs", index, "ip")
        family = parsed(parse_address, entry.ip, path).version
        if family in families:
            fail(path, f"a second IPv{family} address; a pod has one of each family")
        families.add(family)


def _check_containers(spec: PodSpec) -> None:
    names: set[str] = set()
    groups = (
        ("initContainers", spec.init_containers),
        ("containers", spec.containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    )
    for group, containers in groups:
        for index, container in enumerate(containers):
            path: FieldPath = ("spec", group, index)
            _check(dns_label(container.name), (*path, "name"))
            if container.name in names:
                fail((*path, "name"), f"{shown(container.name)} is there twice")
            names.add(container.name)
            _check_container_ports(container.ports, (*path, "ports"))


def _check_container_ports(ports: tuple[ContainerPort, ...], path: FieldPath) -> None:
    names: set[str] = set()
    for index, port in enumerate(ports):
        where = (*path, index)
        _check_port_number(port.container_port, (*where, "containerPort"))
        if port.host_port:  # 0 is as good as absent
            _check_port_number(port.host_port, (*where, "hostPort"))
        if not port.name:
            continue
        _check(port_name(port.name), (*where, "name"))
        if port.name in names:
            fail((*where, "name"), f"{shown(port.name)} is there twice in one container")
        names.add(port.name)


def check_node(node: Node) -> None:
    """Internal addresses are addresses, pod CIDRs are CIDRs."""
    for index, entry in enumerate(node.status.addresses):
        if entry.type == "InternalIP":
            parsed(parse_address, entry.address, ("status", "addresses", index, "address"))
    if node.spec.pod_cidr:
        parsed(parse_cidr, node.spec.pod_cidr, ("spec", "podCIDR"))
    for index, cidr in enumerate(node.spec.pod_cidrs):
        parsed(parse_cidr, cidr, ("spec", "podCIDRs", index))


def _check_port_number(port: int, path: FieldPath) -> None:
    if not 1 <= port <= 65535:
        fail(path, f"{port} is not a port from 1 to 65535")


def _check(problem: str | None, path: FieldPath) -> None:
    if problem:
        fail(path, problem)
