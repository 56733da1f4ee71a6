"""The Kubernetes kinds: Namespace, ServiceAccount, Node, Pod and networking.k8s.io/v1 NetworkPolicy.

Fields typed `Any` are legal Kubernetes that never decides about a packet: accepted, kept, not interpreted.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reference.resources.metadata import Document, Resource


class Namespace(Resource, frozen=True, tag="Namespace"):
    """A namespace; its labels are what namespaceSelectors see (K8S-1)."""

    spec: Any = None
    status: Any = None


class ServiceAccount(Resource, frozen=True, tag="ServiceAccount"):
    """A service account; its labels are what serviceAccountSelectors see (K8S-2)."""

    secrets: Any = None
    image_pull_secrets: Any = None
    automount_service_account_token: bool | None = None


class NodeSpec(Document, frozen=True):
    """`spec` of a Node; nothing in it decides about packets."""

    pod_cidr: str | None = msgspec.field(default=None, name="podCIDR")
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")
    provider_id: str | None = msgspec.field(default=None, name="providerID")
    taints: Any = None
    unschedulable: bool = False
    config_source: Any = None
    external_id: str | None = msgspec.field(default=None, name="externalID")


class NodeAddress(Document, frozen=True):
    """One entry of a Node's `status.addresses`."""

    type: str
    address: str


class NodeStatus(Document, frozen=True):
    """`status` of a Node: its addresses matter, the rest is kept."""

    addresses: tuple[NodeAddress, ...] = ()
    allocatable: Any = None
    capacity: Any = None
    conditions: Any = None
    config: Any = None
    daemon_endpoints: Any = None
    declared_features: Any = None
    features: Any = None
    images: Any = None
    node_info: Any = None
    phase: Any = None
    runtime_handlers: Any = None
    volumes_attached: Any = None
    volumes_in_use: Any = None


class Node(Resource, frozen=True, tag="Node"):
    """A cluster node. Its addresses are the InternalIP entries of its status."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ContainerPort(Document, frozen=True):
    """A declared port of a container; a named one can be referred to by policy (K8S-5, RULE-6)."""

    container_port: int
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    host_ip: str | None = msgspec.field(default=None, name="hostIP")
    host_port: int | None = None


class Container(Document, frozen=True):
    """A container, init container or ephemeral container."""

    name: str
    ports: tuple[ContainerPort, ...] = ()
    image: str | None = None
    args: Any = None
    command: Any = None
    env: Any = None
    env_from: Any = None
    image_pull_policy: Any = None
    lifecycle: Any = None
    liveness_probe: Any = None
    readiness_probe: Any = None
    resize_policy: Any = None
    resources: Any = None
    restart_policy: Any = None
    restart_policy_rules: Any = None
    security_context: Any = None
    startup_probe: Any = None
    stdin: Any = None
    stdin_once: Any = None
    target_container_name: Any = None
    termination_message_path: Any = None
    termination_message_policy: Any = None
    tty: Any = None
    volume_devices: Any = None
    volume_mounts: Any = None
    working_dir: Any = None


class PodSpec(Document, frozen=True):
    """`spec` of a Pod: where it runs, as whom, in whose network, with which ports."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    node_name: str = ""
    service_account_name: str = ""
    service_account: str = ""  # the deprecated alias
    host_network: bool = False
    node_selector: dict[str, str] = {}
    active_deadline_seconds: Any = None
    affinity: Any = None
    automount_service_account_token: Any = None
    dns_config: Any = None
    dns_policy: Any = None
    enable_service_links: Any = None
    host_aliases: Any = None
    host_ipc: Any = msgspec.field(default=None, name="hostIPC")
    host_pid: Any = msgspec.field(default=None, name="hostPID")
    host_users: Any = None
    hostname: Any = None
    hostname_override: Any = None
    image_pull_secrets: Any = None
    os: Any = None
    overhead: Any = None
    preemption_policy: Any = None
    priority: Any = None
    priority_class_name: Any = None
    readiness_gates: Any = None
    resource_claims: Any = None
    resources: Any = None
    restart_policy: Any = None
    runtime_class_name: Any = None
    scheduler_name: Any = None
    scheduling_gates: Any = None
    security_context: Any = None
    set_hostname_as_fqdn: Any = msgspec.field(default=None, name="setHostnameAsFQDN")
    share_process_namespace: Any = None
    subdomain: Any = None
    termination_grace_period_seconds: Any = None
    tolerations: Any = None
    topology_spread_constraints: Any = None
    volumes: Any = None
    workload_ref: Any = None


class PodIP(Document, frozen=True):
    """One entry of `status.podIPs`."""

    ip: str


class PodStatus(Document, frozen=True):
    """`status` of a Pod: its addresses (used offline) and its phase (K8S-4)."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    allocated_resources: Any = None
    conditions: Any = None
    container_statuses: Any = None
    ephemeral_container_statuses: Any = None
    extended_resource_claim_status: Any = None
    host_ip: Any = msgspec.field(default=None, name="hostIP")
    host_ips: Any = msgspec.field(default=None, name="hostIPs")
    init_container_statuses: Any = None
    message: Any = None
    nominated_node_name: Any = None
    observed_generation: Any = None
    qos_class: Any = None
    reason: Any = None
    resize: Any = None
    resource_claim_statuses: Any = None
    resources: Any = None
    start_time: Any = None


class Pod(Resource, frozen=True, tag="Pod"):
    """A pod: the source of a workload endpoint (K8S-3)."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class LabelRequirement(Document, frozen=True):
    """One of `matchExpressions`."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(Document, frozen=True):
    """A Kubernetes label selector; empty selects everything (K8S-7)."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelRequirement, ...] = ()


class IPBlock(Document, frozen=True):
    """A CIDR with exceptions; `except` is spelled `except_` here."""

    cidr: str
    except_: tuple[str, ...] = msgspec.field(default=(), name="except")


class PolicyPeer(Document, frozen=True):
    """A peer of a Kubernetes rule (K8S-9); None means the field was absent, which differs from empty."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class PolicyPort(Document, frozen=True):
    """A port entry of a Kubernetes rule (K8S-10)."""

    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class IngressRule(Document, frozen=True):
    """An ingress rule: any of the peers, on any of the ports; empty lists mean any."""

    from_: tuple[PolicyPeer, ...] | None = msgspec.field(default=None, name="from")
    ports: tuple[PolicyPort, ...] | None = None


class EgressRule(Document, frozen=True):
    """An egress rule: to any of the peers, on any of the ports; empty lists mean any."""

    to: tuple[PolicyPeer, ...] | None = None
    ports: tuple[PolicyPort, ...] | None = None


class KubernetesNetworkPolicySpec(Document, frozen=True):
    """`spec` of a Kubernetes NetworkPolicy. `policy_types` is never empty once defaulted (K8S-8)."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[Literal["Ingress", "Egress"], ...] = ()
    ingress: tuple[IngressRule, ...] | None = None
    egress: tuple[EgressRule, ...] | None = None


class KubernetesNetworkPolicy(Resource, frozen=True, tag="KubernetesNetworkPolicy"):
    """networking.k8s.io/v1 NetworkPolicy: tier default, order 1000 (K8S-6)."""

    spec: KubernetesNetworkPolicySpec = KubernetesNetworkPolicySpec()
    status: Any = None
