"""WorkloadEndpoint: a workload that is no pod, a virtual machine for one, attached under the same policy (1.1).

Endpoints of pods are derived from the pods (K8S-3) and are never written by hand.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reference.resources.hosts import HostEndpointPort
from reference.resources.metadata import Document, Resource


class WorkloadEndpointPort(HostEndpointPort, frozen=True):
    """A named port of a workload (RULE-6)."""

    host_port: int | None = None
    host_ip: str | None = msgspec.field(default=None, name="hostIP")


class WorkloadEndpointSpec(Document, frozen=True):
    """`spec` of a WorkloadEndpoint: where it runs, its addresses, and what policy may say of it."""

    orchestrator: str = ""  # "openstack", "libvirt" …; anything but k8s
    workload: str = ""  # its name; "<namespace>/<workload>" is what it is called everywhere
    endpoint: str = "eth0"
    node: str = ""
    interface_name: str = ""  # host side; filled in on admission when left out
    ip_networks: tuple[str, ...] = msgspec.field(default=(), name="ipNetworks")  # /32 and /128
    profiles: tuple[str, ...] = ()
    ports: tuple[WorkloadEndpointPort, ...] = ()
    service_account_name: str = ""
    mac: str = ""
    container_id: str = msgspec.field(default="", name="containerID")
    pod: str = ""
    ip_nats: Any = msgspec.field(default=None, name="ipNATs")  # refused: floating addresses
    ipv4_gateway: Any = msgspec.field(default=None, name="ipv4Gateway")
    ipv6_gateway: Any = msgspec.field(default=None, name="ipv6Gateway")
    allow_spoofed_source_prefixes: tuple[str, ...] = ()  # refused (POL-17)


class WorkloadEndpoint(Resource, frozen=True, tag="WorkloadEndpoint"):
    """A workload that is no pod."""

    spec: WorkloadEndpointSpec = WorkloadEndpointSpec()
