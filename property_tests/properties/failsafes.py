"""Invariant 25: the ports of a guarded machine that no policy can shut, and what they do not open."""

from __future__ import annotations

from collections.abc import Iterator

from property_tests.strategies.addresses import NODE_ADDRESSES
from property_tests.strategies.clusters import Cluster
from property_tests.strategies.resources import node
from reference.packet import PROTOCOLS, Packet
from reference.resources import (
    FelixConfiguration,
    GlobalNetworkPolicy,
    HostEndpoint,
    KubeControllersConfiguration,
    Metadata,
    Node,
)
from reference.resources.hosts import FailsafePorts, FelixConfigurationSpec, HostEndpointSpec, ProtoPort
from reference.state import State

GUARDED, OTHER = "node-1", "node-2"
SOME: FailsafePorts = (ProtoPort(port=80), ProtoPort(port=8080), ProtoPort(port=81, protocol="udp"))
_KINDS = (HostEndpoint, FelixConfiguration, KubeControllersConfiguration, Node)


def guarded(resources: Cluster, failsafes: FailsafePorts) -> Cluster:
    """The cluster with one host endpoint, without profiles, and these failsafe ports both ways."""
    kept = [resource for resource in resources if not isinstance(resource, _KINDS)]
    endpoint = HostEndpointSpec(node=GUARDED, interface_name="eth0")
    settings = FelixConfigurationSpec(failsafe_inbound_host_ports=failsafes, failsafe_outbound_host_ports=failsafes)
    return [
        node(GUARDED),
        node(OTHER),
        *kept,
        HostEndpoint(metadata=Metadata(name="guard"), spec=endpoint),
        FelixConfiguration(metadata=Metadata(name="default"), spec=settings),
    ]


def without_early_policies(resources: Cluster) -> Cluster:
    """The cluster without untracked and preDNAT policies: forwarded packets meet those lists too."""
    return [
        resource
        for resource in resources
        if not (isinstance(resource, GlobalNetworkPolicy) and (resource.spec.do_not_track or resource.spec.pre_dnat))
    ]


def to_failsafe_ports() -> Iterator[Packet]:
    """Packets between the two machines, to the failsafe ports of `SOME`, both ways and in both families."""
    assert isinstance(SOME, tuple)
    for entry in SOME:
        for family in NODE_ADDRESSES[GUARDED]:
            ends = NODE_ADDRESSES[GUARDED][family], NODE_ADDRESSES[OTHER][family]
            for source, destination in (ends, ends[::-1]):
                yield Packet(
                    source=source,
                    destination=destination,
                    protocol=PROTOCOLS[entry.protocol.upper()],
                    destination_port=entry.port,
                )


def through_the_machine(state: State) -> Iterator[Packet]:
    """Packets to the same ports of the machine's pods, from the other machine: they are forwarded."""
    for endpoint in state.endpoints.values():
        for address in endpoint.addresses if endpoint.node == GUARDED else ():
            for packet in to_failsafe_ports():
                from_other = packet.source in NODE_ADDRESSES[OTHER].values()
                if from_other and (":" in address) == (":" in packet.source):
                    yield Packet(
                        source=packet.source,
                        destination=address,
                        protocol=packet.protocol,
                        destination_port=packet.destination_port,
                    )
