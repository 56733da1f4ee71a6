"""The cluster-scoped policies of policy.networking.k8s.io (K8S-12): ClusterNetworkPolicy, and what it replaced.

`ClusterNetworkPolicy` is v1alpha2. `AdminNetworkPolicy` and `BaselineAdminNetworkPolicy` are v1alpha1, which Calico no
longer reads; here they keep the meaning their own API gave them. Class names are the kinds of Calico's model.

Peers `nodes` and `domainNames` are in the API, and in no Calico: a rule with one fails closed.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reference.resources.kubernetes import LabelSelector
from reference.resources.metadata import Document, Resource

ADMIN_TIER = "kube-admin"
BASELINE_TIER = "kube-baseline"


class NamespacedPod(Document, frozen=True):
    """Pods by their labels, in namespaces by theirs; both selectors must match."""

    pod_selector: LabelSelector
    namespace_selector: LabelSelector | None = None  # absent: every namespace; v1alpha1 wants it written


class Subject(Document, frozen=True):
    """The pods a policy is about: exactly one of the two."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None


class IngressPeer(Document, frozen=True):
    """Where a packet may come from: exactly one of the two."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None


class EgressPeer(Document, frozen=True):
    """Where a packet may go to: exactly one of these."""

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None
    networks: tuple[str, ...] | None = None  # CIDRs
    nodes: LabelSelector | None = None  # fails closed
    domain_names: tuple[str, ...] | None = None  # fails closed


# -- v1alpha2: ClusterNetworkPolicy ------------------------------------------------------------------------------------


class DestinationPortRange(Document, frozen=True):
    """Ports start..end, both included."""

    start: int
    end: int


class DestinationPort(Document, frozen=True):
    """A port, or a range: exactly one."""

    number: int | None = None
    range: DestinationPortRange | None = None


class TransportMatch(Document, frozen=True):
    """What to match of one transport protocol."""

    destination_port: DestinationPort


class ProtocolMatch(Document, frozen=True):
    """A port of a protocol, or a port name of any: exactly one of the four."""

    tcp: TransportMatch | None = None
    udp: TransportMatch | None = None
    sctp: TransportMatch | None = None
    destination_named_port: str | None = None


class ClusterIngressRule(Document, frozen=True):
    """Packets from any of the peers, to any of the ports; no `protocols` means any packet."""

    action: Literal["Accept", "Deny", "Pass"]
    from_: tuple[IngressPeer, ...] = msgspec.field(name="from")
    name: str = ""
    protocols: tuple[ProtocolMatch, ...] | None = None

    @property
    def peers(self) -> tuple[IngressPeer, ...]:
        """The other ends it speaks of."""
        return self.from_


class ClusterEgressRule(Document, frozen=True):
    """Packets to any of the peers, to any of the ports; no `protocols` means any packet."""

    action: Literal["Accept", "Deny", "Pass"]
    to: tuple[EgressPeer, ...]
    name: str = ""
    protocols: tuple[ProtocolMatch, ...] | None = None

    @property
    def peers(self) -> tuple[EgressPeer, ...]:
        """The other ends it speaks of."""
        return self.to


class ClusterNetworkPolicySpec(Document, frozen=True):
    """`spec` of a ClusterNetworkPolicy. The lowest priority comes first in its tier."""

    tier: Literal["Admin", "Baseline"]
    priority: int  # 0 to 1000
    subject: Subject
    ingress: tuple[ClusterIngressRule, ...] = ()
    egress: tuple[ClusterEgressRule, ...] = ()


class KubernetesClusterNetworkPolicy(Resource, frozen=True, tag="KubernetesClusterNetworkPolicy"):
    """policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy: tier kube-admin or kube-baseline (K8S-12)."""

    spec: ClusterNetworkPolicySpec
    status: Any = None


# -- v1alpha1: AdminNetworkPolicy and BaselineAdminNetworkPolicy -------------------------------------------------------


class PortNumber(Document, frozen=True):
    """One port of one protocol."""

    port: int
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class AdminPortRange(Document, frozen=True):
    """Ports start..end of one protocol, both included."""

    start: int
    end: int
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class AdminPort(Document, frozen=True):
    """A port, a range, or a port name of any protocol: exactly one of the three."""

    port_number: PortNumber | None = None
    port_range: AdminPortRange | None = None
    named_port: str | None = None


class AdminIngressRule(Document, frozen=True):
    """Packets from any of the peers, to any of the ports; no `ports` means any packet."""

    action: Literal["Allow", "Deny", "Pass"]
    from_: tuple[IngressPeer, ...] = msgspec.field(name="from")
    name: str = ""
    ports: tuple[AdminPort, ...] | None = None

    @property
    def peers(self) -> tuple[IngressPeer, ...]:
        """The other ends it speaks of."""
        return self.from_


class AdminEgressRule(Document, frozen=True):
    """Packets to any of the peers, to any of the ports; no `ports` means any packet."""

    action: Literal["Allow", "Deny", "Pass"]
    to: tuple[EgressPeer, ...]
    name: str = ""
    ports: tuple[AdminPort, ...] | None = None

    @property
    def peers(self) -> tuple[EgressPeer, ...]:
        """The other ends it speaks of."""
        return self.to


class AdminNetworkPolicySpec(Document, frozen=True):
    """`spec` of an AdminNetworkPolicy. The lowest priority comes first."""

    priority: int  # 0 to 1000
    subject: Subject
    ingress: tuple[AdminIngressRule, ...] = ()
    egress: tuple[AdminEgressRule, ...] = ()


class KubernetesAdminNetworkPolicy(Resource, frozen=True, tag="KubernetesAdminNetworkPolicy"):
    """policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy: tier kube-admin."""

    spec: AdminNetworkPolicySpec
    status: Any = None


class BaselineIngressRule(AdminIngressRule, frozen=True):
    """An ingress rule of the baseline, which has nobody to pass to."""

    action: Literal["Allow", "Deny"]


class BaselineEgressRule(AdminEgressRule, frozen=True):
    """An egress rule of the baseline, which has nobody to pass to."""

    action: Literal["Allow", "Deny"]


class BaselineAdminNetworkPolicySpec(Document, frozen=True):
    """`spec` of the BaselineAdminNetworkPolicy."""

    subject: Subject
    ingress: tuple[BaselineIngressRule, ...] = ()
    egress: tuple[BaselineEgressRule, ...] = ()


class KubernetesBaselineAdminNetworkPolicy(Resource, frozen=True, tag="KubernetesBaselineAdminNetworkPolicy"):
    """policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy: tier kube-baseline; there is one, `default`."""

    spec: BaselineAdminNetworkPolicySpec
    status: Any = None
