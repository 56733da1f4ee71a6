"""Namespaces, accounts, nodes, pods, pools and network sets, valid by construction."""

from __future__ import annotations

import json
from typing import Literal

from property_tests.strategies.addresses import NODE_ADDRESSES, POOLS, cidr, pod_address
from property_tests.strategies.choices import Choices
from property_tests.strategies.vocabulary import (
    ACCOUNT_LABELS,
    NAMESPACE_LABELS,
    NAMESPACES,
    POD_LABELS,
    PORT_NAMES,
    SERVICE_ACCOUNTS,
    labels,
)
from reference.endpoints import Family
from reference.resources import (
    GlobalNetworkSet,
    IPPool,
    Metadata,
    Namespace,
    NetworkSet,
    Node,
    Pod,
    ServiceAccount,
    WorkloadEndpoint,
)
from reference.resources.calico import IPPoolSpec, NetworkSetSpec
from reference.resources.kubernetes import Container, ContainerPort, NodeAddress, NodeStatus, PodSpec
from reference.resources.workload_endpoint import WorkloadEndpointPort, WorkloadEndpointSpec

OUTSIDE_POOLS: dict[Family, str] = {4: "10.65.0.7/32", 6: "fd00:65::7/128"}
MACHINE_ORDINAL = 216
PINNED_ORDINALS = range(200, 216)  # automatic assignment starts at 0 and does not get this far
_PORT_NUMBERS = (80, 8080, 81, 65535)


def namespace(choices: Choices, name: str) -> Namespace:
    """A namespace with some labels."""
    return Namespace(metadata=Metadata(name=name, labels=labels(choices, NAMESPACE_LABELS)))


def service_account(choices: Choices, name: str, place: str) -> ServiceAccount:
    """A service account with some labels."""
    return ServiceAccount(metadata=Metadata(name=name, namespace=place, labels=labels(choices, ACCOUNT_LABELS)))


def node(name: str) -> Node:
    """A dual-stack node."""
    addresses = tuple(NodeAddress(type="InternalIP", address=text) for text in NODE_ADDRESSES[name].values())
    return Node(metadata=Metadata(name=name), status=NodeStatus(addresses=addresses))


def pools() -> list[IPPool]:
    """One small pool of each family, so that the edges of pools and blocks are near."""
    spec = {
        4: IPPoolSpec(cidr=POOLS[4], block_size=26, nat_outgoing=True),
        6: IPPoolSpec(cidr=POOLS[6], block_size=122),
    }
    return [IPPool(metadata=Metadata(name=f"pool-{family}"), spec=spec[family]) for family in (4, 6)]


def pod(choices: Choices, number: int, nodes: tuple[str, ...], *, pinnable: bool = True) -> Pod:
    """Pod `p<number>`: its address perhaps pinned, in one family or both; ports named alike with different numbers."""
    annotations = {}
    if pinnable and choices.chance(40):
        families: tuple[Family, ...] = choices.pick(((4, 6), (4, 6), (4,), (6,)))
        addresses = [pod_address(family, PINNED_ORDINALS[number]) for family in families]
        annotations["cni.projectcalico.org/ipAddrs"] = json.dumps(addresses)
    return Pod(
        metadata=Metadata(
            name=f"p{number}",
            namespace=choices.pick(NAMESPACES),
            labels=labels(choices, POD_LABELS),
            annotations=annotations,
        ),
        spec=PodSpec(
            containers=(Container(name="main", ports=_container_ports(choices)),),
            node_name=choices.pick(("", *nodes)),
            service_account_name=choices.pick(SERVICE_ACCOUNTS),
        ),
    )


def machine(choices: Choices, nodes: tuple[str, ...]) -> WorkloadEndpoint:
    """A workload that is no pod: in one family or both, with ports named like those of pods."""
    families: tuple[Family, ...] = choices.pick(((4, 6), (4,), (6,)))
    place = choices.pick(NAMESPACES)
    in_pool = choices.chance(70)
    return WorkloadEndpoint(
        metadata=Metadata(name="vm", namespace=place, labels=labels(choices, POD_LABELS)),
        spec=WorkloadEndpointSpec(
            orchestrator="libvirt",
            workload="vm",
            node=choices.pick(nodes),
            ip_networks=tuple(
                pod_address(family, MACHINE_ORDINAL) if in_pool else OUTSIDE_POOLS[family] for family in families
            ),
            profiles=choices.pick(
                ((f"kns.{place}",), (f"kns.{place}",), (), ("extra",), ("nobody-made-this", "extra"))
            ),
            ports=tuple(
                WorkloadEndpointPort(name=name, protocol="TCP", port=choices.pick(_PORT_NUMBERS))
                for name in choices.some(PORT_NAMES, 0, 2)
            ),
        ),
    )


def _container_ports(choices: Choices) -> tuple[ContainerPort, ...]:
    found = []
    for name in PORT_NAMES:
        if choices.chance(50):
            protocols: tuple[Literal["TCP", "UDP", "SCTP"], ...] = ("TCP", "TCP", "UDP", "SCTP")
            port = choices.pick(_PORT_NUMBERS)
            found.append(ContainerPort(name=name, container_port=port, protocol=choices.pick(protocols)))
    return tuple(found)


def network_set(choices: Choices, name: str) -> NetworkSet:
    """A namespaced network set of nets of both families, labelled like a pod."""
    return NetworkSet(
        metadata=Metadata(name=name, namespace=choices.pick(NAMESPACES), labels=labels(choices, POD_LABELS)),
        spec=NetworkSetSpec(nets=_nets(choices)),
    )


def global_network_set(choices: Choices, name: str) -> GlobalNetworkSet:
    """A global network set of nets of both families, labelled like a pod."""
    return GlobalNetworkSet(
        metadata=Metadata(name=name, labels=labels(choices, POD_LABELS)), spec=NetworkSetSpec(nets=_nets(choices))
    )


def _nets(choices: Choices) -> tuple[str, ...]:
    families: tuple[Family, ...] = (4, 6)
    return tuple(cidr(choices, choices.pick(families), loose=True) for _ in range(choices.integer(0, 3)))
