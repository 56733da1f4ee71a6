"""Service and EndpointSlice: who stands behind a service name (RULE-12).

There is no service address translation here: a Service's own address is reached by nobody, and policy speaks of the
addresses behind it. Fields typed `Any` never decide about a packet: accepted, kept, not interpreted.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reference.resources.metadata import Document, Resource

Protocol = Literal["TCP", "UDP", "SCTP"]
SERVICE_NAME_LABEL = "kubernetes.io/service-name"  # on an EndpointSlice: the service it belongs to


class ServicePort(Document, frozen=True):
    """One port of a Service. `target_port` is the pods' port, by number or by name; absent, it is `port`."""

    port: int
    name: str = ""
    protocol: Protocol = "TCP"
    target_port: int | str | None = None
    node_port: int | None = None
    app_protocol: str | None = None


class ServiceSpec(Document, frozen=True):
    """`spec` of a Service: with a selector, its EndpointSlices are made from the pods that match."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")  # "None" for a headless service
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    ip_families: tuple[Literal["IPv4", "IPv6"], ...] = msgspec.field(default=(), name="ipFamilies")
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = msgspec.field(
        default=None, name="ipFamilyPolicy"
    )
    external_name: str = ""
    publish_not_ready_addresses: bool = False  # nothing asks for readiness (RULE-12)
    session_affinity: Literal["None", "ClientIP"] | None = None
    session_affinity_config: Any = None
    internal_traffic_policy: Literal["Cluster", "Local"] | None = None
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    traffic_distribution: Any = None
    external_ips: Any = msgspec.field(default=None, name="externalIPs")
    load_balancer_ip: Any = msgspec.field(default=None, name="loadBalancerIP")
    load_balancer_class: Any = None
    load_balancer_source_ranges: Any = None
    allocate_load_balancer_node_ports: Any = None
    health_check_node_port: Any = None


class Service(Resource, frozen=True, tag="Service"):
    """A Kubernetes Service: a name that rules can speak of."""

    spec: ServiceSpec = ServiceSpec()
    status: Any = None


class EndpointConditions(Document, frozen=True):
    """State of a backend. Policy ignores it: a backend that is not ready is a member all the same (RULE-12)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Backend(Document, frozen=True):
    """One entry of an EndpointSlice's `endpoints`: the addresses of one backend."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    node_name: str | None = None
    target_ref: Any = None
    zone: str | None = None
    hints: Any = None
    deprecated_topology: Any = None


class BackendPort(Document, frozen=True):
    """One port every backend of the slice has; without a number it stands for no port in particular (RULE-12)."""

    name: str = ""
    port: int | None = None
    protocol: Protocol = "TCP"
    app_protocol: str | None = None


class EndpointSlice(Resource, frozen=True, tag="EndpointSlice"):
    """discovery.k8s.io/v1 EndpointSlice: backends of the service its label names, in one address family."""

    address_type: Literal["IPv4", "IPv6", "FQDN"]
    endpoints: tuple[Backend, ...] = ()
    ports: tuple[BackendPort, ...] = ()

    @property
    def service(self) -> str:
        """The name of the service it belongs to, in its own namespace; "" when it belongs to none."""
        return self.metadata.labels.get(SERVICE_NAME_LABEL, "")
