"""Invariant 27: a pod and the machine it runs on."""

from __future__ import annotations

from collections.abc import Iterator

from property_tests.strategies.clusters import Cluster
from reference.packet import Packet
from reference.resources import FelixConfiguration, HostEndpoint, KubeControllersConfiguration, Metadata
from reference.resources.hosts import FelixConfigurationSpec
from reference.state import State

_PORTS = (1, 22, 80, 8080)


def without_host_endpoints(resources: Cluster, action: str | None) -> Cluster:
    """The cluster with a defaultEndpointToHostAction for all nodes, and no host endpoint that could add to it."""
    gone = (HostEndpoint, KubeControllersConfiguration, FelixConfiguration)
    kept = [resource for resource in resources if not isinstance(resource, gone)]
    spec = FelixConfigurationSpec(default_endpoint_to_host_action=action)
    return [*kept, FelixConfiguration(metadata=Metadata(name="default"), spec=spec)]


def to_own_pods(state: State) -> Iterator[Packet]:
    """Packets from every node to every pod on it."""
    for host, pod in _pairs(state):
        for protocol in (6, 17):
            for port in _PORTS:
                yield Packet(source=host, destination=pod, protocol=protocol, destination_port=port)


def to_own_hosts(state: State) -> Iterator[Packet]:
    """Packets from every pod to the node it is on."""
    for packet in to_own_pods(state):
        yield Packet(
            source=packet.destination,
            destination=packet.source,
            protocol=packet.protocol,
            destination_port=packet.destination_port,
        )


def _pairs(state: State) -> Iterator[tuple[str, str]]:
    for endpoint in state.endpoints.values():
        host = state.hosts.get(endpoint.node)
        for pod in endpoint.addresses:
            for address in () if host is None else host.addresses:
                if (":" in address) == (":" in pod):
                    yield address, pod
