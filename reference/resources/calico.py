"""The Calico kinds: NetworkPolicy, GlobalNetworkPolicy, Tier, NetworkSet, GlobalNetworkSet, IPPool, Profile."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from reference.resources.metadata import Document, Resource

Action = Literal["Allow", "Deny", "Log", "Pass"]
Direction = Literal["Ingress", "Egress"]
ProtocolName = int | str  # "TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite" in any case, or 1..255 (RULE-2)


class ServiceAccountMatch(Document, frozen=True):
    """`serviceAccounts` of an entity rule (RULE-10)."""

    names: tuple[str, ...] = ()
    selector: str = ""


class ServiceMatch(Document, frozen=True):
    """`services` of an entity rule (RULE-12)."""

    name: str = ""
    namespace: str = ""


class EntityRule(Document, frozen=True):
    """One side of a rule. None: the field was absent. Lists OR inside, fields AND (RULE-1)."""

    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    ports: tuple[int | str, ...] = ()  # 80, "8080:8090", "http"
    not_ports: tuple[int | str, ...] = ()
    service_accounts: ServiceAccountMatch | None = None
    services: ServiceMatch | None = None


class ICMPFields(Document, frozen=True):
    """ICMP type, and code which needs a type (RULE-3)."""

    type: int | None = None
    code: int | None = None


class HTTPPath(Document, frozen=True):
    """One path match: exactly one of the two."""

    exact: str = ""
    prefix: str = ""


class HTTPMatch(Document, frozen=True):
    """HTTP methods and paths; ignored at L4 (RULE-15)."""

    methods: tuple[str, ...] = ()
    paths: tuple[HTTPPath, ...] = ()


class RuleMetadata(Document, frozen=True):
    """Annotations of a rule; no effect on packets."""

    annotations: dict[str, str] = {}


class Rule(Document, frozen=True):
    """A Calico rule (2b): all present fields AND together."""

    action: Action
    ip_version: Literal[4, 6] | None = msgspec.field(default=None, name="ipVersion")
    protocol: ProtocolName | None = None
    not_protocol: ProtocolName | None = None
    icmp: ICMPFields | None = None
    not_icmp: ICMPFields | None = msgspec.field(default=None, name="notICMP")
    source: EntityRule = EntityRule()
    destination: EntityRule = EntityRule()
    http: HTTPMatch | None = None
    metadata: RuleMetadata | None = None


class NetworkPolicySpec(Document, frozen=True):
    """`spec` of a Calico NetworkPolicy. `types` is never empty once defaulted (POL-6)."""

    tier: str = "default"
    order: float | None = None  # None sorts last (POL-3)
    selector: str = ""
    service_account_selector: str = ""
    types: tuple[Direction, ...] = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    performance_hints: tuple[str, ...] = ()


class NetworkPolicy(Resource, frozen=True, tag="NetworkPolicy"):
    """projectcalico.org/v3 NetworkPolicy."""

    spec: NetworkPolicySpec = NetworkPolicySpec()


class GlobalNetworkPolicySpec(NetworkPolicySpec, frozen=True):
    """`spec` of a GlobalNetworkPolicy."""

    namespace_selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = msgspec.field(default=False, name="preDNAT")
    apply_on_forward: bool = False


class GlobalNetworkPolicy(Resource, frozen=True, tag="GlobalNetworkPolicy"):
    """projectcalico.org/v3 GlobalNetworkPolicy."""

    spec: GlobalNetworkPolicySpec = GlobalNetworkPolicySpec()


class TierSpec(Document, frozen=True):
    """`spec` of a Tier."""

    order: float | None = None
    default_action: Literal["Deny", "Pass"] = "Deny"


class Tier(Resource, frozen=True, tag="Tier"):
    """A tier of policies (POL-1, POL-2)."""

    spec: TierSpec = TierSpec()


class NetworkSetSpec(Document, frozen=True):
    """`spec` of both network set kinds: addresses and CIDRs of both families (NS-3)."""

    nets: tuple[str, ...] = ()


class NetworkSet(Resource, frozen=True, tag="NetworkSet"):
    """A named set of nets in a namespace, selected by its labels (NS-1, NS-2)."""

    spec: NetworkSetSpec = NetworkSetSpec()


class GlobalNetworkSet(Resource, frozen=True, tag="GlobalNetworkSet"):
    """A named set of nets without a namespace."""

    spec: NetworkSetSpec = NetworkSetSpec()


class ProfileSpec(Document, frozen=True):
    """`spec` of a Profile."""

    labels_to_apply: dict[str, str] = {}
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


class Profile(Resource, frozen=True, tag="Profile"):
    """A profile; `kns.<namespace>` and `ksa.<namespace>.<account>` are synthesised (K8S-1, K8S-2)."""

    spec: ProfileSpec = ProfileSpec()


class IPPoolSpec(Document, frozen=True):
    """`spec` of an IPPool (1.3)."""

    cidr: str
    block_size: int | None = None  # None: 26 for IPv4, 122 for IPv6; filled in on admission
    ipip_mode: Literal["Never", "Always", "CrossSubnet"] = "Never"
    vxlan_mode: Literal["Never", "Always", "CrossSubnet"] = "Never"
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = msgspec.field(default=False, name="disableBGPExport")
    node_selector: str = "all()"
    namespace_selector: str = "all()"
    allowed_uses: tuple[Literal["Workload", "Tunnel", "LoadBalancer"], ...] = ("Workload", "Tunnel")
    assignment_mode: Literal["Automatic", "Manual"] = "Automatic"


class IPPool(Resource, frozen=True, tag="IPPool"):
    """A pool of addresses."""

    spec: IPPoolSpec
    status: Any = None
