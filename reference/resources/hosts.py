"""Hosts under policy: HostEndpoint, and what configures them, FelixConfiguration and KubeControllersConfiguration."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reference.resources.felix_fields import UninterpretedFelixFields
from reference.resources.metadata import Document, Resource

ALL_INTERFACES = "*"
DEFAULT_ALLOW_PROFILE = "projectcalico-default-allow"  # built in: allows everything, both ways (HEP-8)


class HostEndpointPort(Document, frozen=True):
    """A named port of a host (RULE-6)."""

    name: str = ""
    protocol: str | int = ""
    port: int = 0


class HostEndpointSpec(Document, frozen=True):
    """`spec` of a HostEndpoint: which interfaces of which machine (HEP-1), and what policy may say of it (HEP-2)."""

    node: str = ""
    interface_name: str = ""  # "*": every interface that is no workload's and has no endpoint of its own
    expected_ips: tuple[str, ...] = msgspec.field(default=(), name="expectedIPs")
    profiles: tuple[str, ...] = ()
    ports: tuple[HostEndpointPort, ...] = ()


class HostEndpoint(Resource, frozen=True, tag="HostEndpoint"):
    """An interface of a cluster node, or of a host outside the cluster, that policy applies to."""

    spec: HostEndpointSpec = HostEndpointSpec()


class ProtoPort(Document, frozen=True):
    """One failsafe port: TCP unless it says otherwise, of every address unless it names a CIDR (HEP-9)."""

    port: int
    protocol: str = "tcp"
    net: str = ""


FailsafePorts = tuple[ProtoPort, ...] | str | None  # the string is "none"; so is an empty list. None: the default


class FelixConfigurationSpec(UninterpretedFelixFields, frozen=True):
    """`spec` of a FelixConfiguration; None is a setting that was not made."""

    default_endpoint_to_host_action: str | None = None  # Drop, Accept or Return in any case (HEP-12)
    failsafe_inbound_host_ports: FailsafePorts = None
    failsafe_outbound_host_ports: FailsafePorts = None
    allow_ipip_packets_from_workloads: bool | None = msgspec.field(default=None, name="allowIPIPPacketsFromWorkloads")
    allow_vxlan_packets_from_workloads: bool | None = msgspec.field(
        default=None, name="allowVXLANPacketsFromWorkloads"
    )  # CT-6
    vxlan_port: int | None = msgspec.field(default=None, name="vxlanPort")


class FelixConfiguration(Resource, frozen=True, tag="FelixConfiguration"):
    """Settings of Felix: `default` for all machines, `node.<name>` for one, which wins field by field."""

    spec: FelixConfigurationSpec = FelixConfigurationSpec()


class AutoHostEndpoint(Document, frozen=True):
    """Whether nodes get host endpoints of their own accord (HEP-8)."""

    auto_create: Literal["Enabled", "Disabled"] | None = None
    create_default_host_endpoint: Literal["Enabled", "Disabled"] | None = None
    templates: Any = None  # refused: only the default endpoint is made


class NodeController(Document, frozen=True):
    """The node controller's settings; only `hostEndpoint` decides about packets."""

    host_endpoint: AutoHostEndpoint = AutoHostEndpoint()
    leak_grace_period: Any = None
    reconciler_period: Any = None
    sync_labels: Any = None


class Controllers(Document, frozen=True):
    """The controllers that run."""

    node: NodeController | None = None
    load_balancer: Any = None
    migration: Any = None
    namespace: Any = None
    policy: Any = None
    policy_migration: Any = None
    service_account: Any = None
    workload_endpoint: Any = None


class KubeControllersConfigurationSpec(Document, frozen=True):
    """`spec` of a KubeControllersConfiguration."""

    controllers: Controllers = Controllers()
    debug_profile_port: Any = None
    etcd_v3_compaction_period: Any = None
    health_checks: Any = None
    log_severity_screen: Any = None
    prometheus_metrics_port: Any = None

    @property
    def makes_host_endpoints(self) -> bool:
        """Report whether every node gets a host endpoint (HEP-8)."""
        node = self.controllers.node
        return node is not None and (
            node.host_endpoint.auto_create == "Enabled"
            and node.host_endpoint.create_default_host_endpoint != "Disabled"
        )


class KubeControllersConfiguration(Resource, frozen=True, tag="KubeControllersConfiguration"):
    """Settings of the controllers; the one that counts is called `default`."""

    spec: KubeControllersConfigurationSpec = KubeControllersConfigurationSpec()
    status: Any = None
