"""Pods into workload endpoints: what an endpoint looks like (K8S-3, K8S-5, 2f) and which addresses a pod asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from reference.endpoints import EndpointPort, WorkloadEndpoint
from reference.errors import InvalidInputError
from reference.resources import Pod
from reference.resources.addresses import parse_address

PINNED = "cni.projectcalico.org/ipAddrs"
NETWORK = "k8s-pod-network"
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_FORGED = ("pcns.", "pcsa.")  # prefixes only profiles may give (K8S-14)


def endpoint_of(pod: Pod, addresses: Iterable[str]) -> WorkloadEndpoint:
    """The endpoint of a pod that has a node and addresses."""
    account = pod.spec.service_account_name
    profiles = (f"kns.{pod.namespace}", f"ksa.{pod.namespace}.{account}") if account else (f"kns.{pod.namespace}",)
    return WorkloadEndpoint(
        namespace=pod.namespace,
        pod=pod.name,
        node=pod.spec.node_name,
        interface=interface_name(pod.namespace, pod.name),
        addresses=tuple(addresses),
        labels=endpoint_labels(pod),
        profiles=profiles,
        service_account=account,
        ports=tuple(_ports(pod)),
    )


def interface_name(namespace: str, pod: str) -> str:
    """The host side's name: `cali` and the first 11 hex digits of the SHA-1 of `<namespace>.<pod>` (K8S-5)."""
    return "cali" + hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()[:11]


def endpoint_labels(pod: Pod) -> dict[str, str]:
    """The pod's labels without forged ones (K8S-14), and the three that Calico adds (2f)."""
    labels = {name: value for name, value in pod.metadata.labels.items() if not name.startswith(_FORGED)}
    labels["projectcalico.org/namespace"] = pod.namespace
    labels["projectcalico.org/orchestrator"] = "k8s"
    if pod.spec.service_account_name:
        labels["projectcalico.org/serviceaccount"] = pod.spec.service_account_name
    return labels


def _ports(pod: Pod) -> Iterable[EndpointPort]:
    """Named ports of containers and init containers (K8S-5)."""
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for port in container.ports:
            if port.name:
                yield EndpointPort(port.name, PROTOCOLS[port.protocol], port.container_port)


def is_pod(endpoint: WorkloadEndpoint) -> bool:
    """Report whether an endpoint is a pod's, and not another orchestrator's."""
    return endpoint.labels.get("projectcalico.org/orchestrator") == "k8s"


def is_finished(pod: Pod) -> bool:
    """Report whether a pod ran to its end, and so has no addresses any more (K8S-4)."""
    return pod.status.phase in ("Succeeded", "Failed")


def is_networked(pod: Pod) -> bool:
    """Report whether a pod has an endpoint: not on the host's network, and not finished (K8S-4)."""
    return not pod.spec.host_network and not is_finished(pod)


def handle_of(namespace: str, pod: str, sequence: int) -> str:
    """The handle of a pod's addresses (IPAM-3). The container id is a digest of the pod and when it was made."""
    digest = hashlib.sha256(f"{namespace}/{pod}/{sequence}".encode()).hexdigest()
    return f"{NETWORK}.{digest}"


def pinned_addresses(pod: Pod) -> tuple[str, ...]:
    """The addresses a pod asks for by annotation: one, or one of each family, IPv4 first.

    Raises:
        InvalidInputError: the annotation is no JSON list of such addresses.
    """
    value = pod.metadata.annotations.get(PINNED)
    if not value:
        return ()
    try:
        texts = msgspec.json.decode(value, type=list[str])
    except msgspec.DecodeError:
        raise InvalidInputError(
            f'{pod.key}: annotation {PINNED} is {value!r}; write a JSON list of addresses, such as ["10.244.0.7"]'
        ) from None
    return _ordered(pod, texts, f"annotation {PINNED}")


def reported_addresses(pod: Pod) -> tuple[str, ...]:
    """The addresses that a pod's status says it has, IPv4 first. Raises InvalidInputError if they are no addresses."""
    texts = [one.ip for one in pod.status.pod_ips] or [pod.status.pod_ip]
    return _ordered(pod, [text for text in texts if text], "status.podIPs")


def _ordered(pod: Pod, texts: Iterable[str], where: str) -> tuple[str, ...]:
    try:
        found = sorted({parse_address(text) for text in texts}, key=lambda address: (address.version, int(address)))
    except ValueError as error:
        raise InvalidInputError(f"{pod.key}: {where}: {error}") from None
    if len({address.version for address in found}) < len(found):
        raise InvalidInputError(f"{pod.key}: {where} has two addresses of one family; a pod has one of each at most")
    return tuple(map(str, found))


def without_status_addresses(pod: Pod) -> Pod:
    """The pod as a live cluster takes it: where it ran before is not where it will be."""
    status = msgspec.structs.replace(pod.status, pod_ip="", pod_ips=(), host_ip=None, host_ips=None)
    return msgspec.structs.replace(pod, status=status)


def matches_labels(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Report whether labels satisfy a pod's nodeSelector."""
    return all(labels.get(name) == value for name, value in wanted.items())
