"""Invariant 11: a cluster of IPv4 only, and the same in IPv6. Mirrored addresses and rules give mirrored verdicts.

An IPv4 address becomes the last 32 bits of an IPv6 one. What a rule says of IPv6 can never match in the IPv4 cluster;
in its mirror it says the like of IPv4, and can never match there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_network

from msgspec.structs import replace

from property_tests.properties.edits import with_rules
from property_tests.strategies.clusters import Cluster
from property_tests.worlds import ADDRESSES_ANNOTATION
from reference.packet import Packet
from reference.resources import (
    AnyResource,
    EndpointSlice,
    FelixConfiguration,
    GlobalNetworkSet,
    HostEndpoint,
    IPPool,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
    KubernetesNetworkPolicy,
    NetworkSet,
    Node,
    Pod,
    Service,
    WorkloadEndpoint,
)
from reference.resources.calico import Direction, EntityRule, IPPoolSpec, ProtocolName, Rule
from reference.resources.hosts import FailsafePorts
from reference.resources.kubernetes import IPBlock, NodeAddress, NodeStatus, PolicyPeer
from reference.resources.policy_api import AdminEgressRule, ClusterEgressRule, EgressPeer

_BASE = int(IPv6Address("fd00:4::"))
_ELSEWHERE = "192.0.2.0/24"  # stands in the mirror for whatever was IPv6
_PROTOCOLS: dict[ProtocolName, ProtocolName] = {"ICMP": "ICMPv6", 1: 58, "ICMPv6": "ICMP", 58: 1}
_PACKET_PROTOCOLS = {1: 58}


def only_ipv4(resources: Cluster) -> Cluster:
    """The cluster with IPv4 pools and addresses only; rules keep what they say of IPv6."""
    return [_only_ipv4(resource) for resource in resources if not _is_of_ipv6(resource)]


def _is_of_ipv6(resource: AnyResource) -> bool:
    if isinstance(resource, EndpointSlice):
        return resource.address_type == "IPv6"
    if isinstance(resource, WorkloadEndpoint):
        return all(":" in text for text in resource.spec.ip_networks)
    return isinstance(resource, IPPool) and ":" in resource.spec.cidr


def _only_ipv4(resource: AnyResource) -> AnyResource:
    match resource:
        case Pod(metadata=metadata) if ADDRESSES_ANNOTATION in metadata.annotations:
            pins = [text for text in json.loads(metadata.annotations[ADDRESSES_ANNOTATION]) if ":" not in text]
            return _with_pins(resource, pins)
        case NetworkSet(spec=spec) | GlobalNetworkSet(spec=spec):
            return replace(resource, spec=replace(spec, nets=tuple(net for net in spec.nets if ":" not in net)))
        case HostEndpoint(spec=spec):
            return replace(
                resource, spec=replace(spec, expected_ips=tuple(a for a in spec.expected_ips if ":" not in a))
            )
        case Node(status=status):
            return replace(resource, status=_addresses(a for a in status.addresses if ":" not in a.address))
        case WorkloadEndpoint(spec=spec):
            return replace(
                resource, spec=replace(spec, ip_networks=tuple(net for net in spec.ip_networks if ":" not in net))
            )
        case _:
            return resource


def _with_pins(pod: Pod, pins: list[str]) -> Pod:
    others = {key: value for key, value in pod.metadata.annotations.items() if key != ADDRESSES_ANNOTATION}
    pinned = {ADDRESSES_ANNOTATION: json.dumps(pins)} if pins else {}
    return replace(pod, metadata=replace(pod.metadata, annotations=others | pinned))


def _addresses(addresses: Iterable[NodeAddress]) -> NodeStatus:
    return NodeStatus(addresses=tuple(addresses))


def mirrored(resource: AnyResource) -> AnyResource:
    """The IPv6 mirror of a resource of an IPv4-only cluster whose pods are pinned."""
    match resource:
        case Pod(metadata=metadata):
            pins = json.loads(metadata.annotations.get(ADDRESSES_ANNOTATION, "[]"))
            return _with_pins(resource, [mirrored_net(text) for text in pins])
        case NetworkSet(spec=spec) | GlobalNetworkSet(spec=spec):
            return replace(resource, spec=replace(spec, nets=tuple(map(mirrored_net, spec.nets))))
        case Node(status=status):
            return replace(
                resource,
                status=_addresses(replace(a, address=mirrored_net(a.address)) for a in status.addresses),
            )
        case IPPool(spec=spec):
            return replace(resource, spec=_mirrored_pool(spec))
        case WorkloadEndpoint(spec=spec):
            return replace(resource, spec=replace(spec, ip_networks=tuple(map(mirrored_net, spec.ip_networks))))
        case HostEndpoint(spec=spec):
            return replace(resource, spec=replace(spec, expected_ips=tuple(map(mirrored_net, spec.expected_ips))))
        case FelixConfiguration(spec=spec):
            return replace(
                resource,
                spec=replace(
                    spec,
                    failsafe_inbound_host_ports=_mirrored_failsafes(spec.failsafe_inbound_host_ports),
                    failsafe_outbound_host_ports=_mirrored_failsafes(spec.failsafe_outbound_host_ports),
                ),
            )
        case KubernetesNetworkPolicy():
            return _mirrored_kubernetes(resource)
        case KubernetesClusterNetworkPolicy() | KubernetesAdminNetworkPolicy() | KubernetesBaselineAdminNetworkPolicy():
            egress = tuple(_mirrored_egress(rule) for rule in resource.spec.egress)
            return replace(resource, spec=replace(resource.spec, egress=egress))
        case EndpointSlice():
            backends = tuple(
                replace(one, addresses=tuple(map(mirrored_net, one.addresses))) for one in resource.endpoints
            )
            return replace(resource, address_type="IPv6", endpoints=backends)
        case Service(spec=spec):
            families = tuple("IPv4" if family == "IPv6" else "IPv6" for family in spec.ip_families)
            return replace(resource, spec=replace(spec, ip_families=families))
        case _:
            return with_rules(resource, _mirrored_rules)


def mirrored_net(text: str) -> str:
    """The mirror of an address or a CIDR."""
    if ":" in text:
        return _ELSEWHERE
    address, slash, length = text.partition("/")
    network = ip_network(address)
    mirror = str(IPv6Address(_BASE + int(network.network_address)))
    return f"{mirror}/{96 + int(length)}" if slash else mirror


def mirrored_packet(packet: Packet) -> Packet:
    """The mirror of an IPv4 packet."""
    return replace(
        packet,
        source=mirrored_net(packet.source),
        destination=mirrored_net(packet.destination),
        protocol=_PACKET_PROTOCOLS.get(packet.protocol, packet.protocol),
    )


def _mirrored_failsafes(ports: FailsafePorts) -> FailsafePorts:
    if ports is None or isinstance(ports, str):
        return ports
    return tuple(replace(entry, net=mirrored_net(entry.net)) if entry.net else entry for entry in ports)


def _mirrored_pool(spec: IPPoolSpec) -> IPPoolSpec:
    size = None if spec.block_size is None else 96 + spec.block_size
    return replace(spec, cidr=mirrored_net(spec.cidr), block_size=size)


def _mirrored_rules(rules: tuple[Rule, ...], direction: Direction) -> tuple[Rule, ...]:
    del direction
    return tuple(_mirrored_rule(rule) for rule in rules)


def _mirrored_rule(rule: Rule) -> Rule:
    return replace(
        rule,
        ip_version=None if rule.ip_version is None else 4 if rule.ip_version == 6 else 6,
        protocol=None if rule.protocol is None else _PROTOCOLS.get(rule.protocol, rule.protocol),
        source=_mirrored_entity(rule.source),
        destination=_mirrored_entity(rule.destination),
    )


def _mirrored_entity(entity: EntityRule) -> EntityRule:
    return replace(
        entity,
        nets=tuple(map(mirrored_net, entity.nets)),
        not_nets=tuple(map(mirrored_net, entity.not_nets)),
    )


def _mirrored_egress(rule: ClusterEgressRule | AdminEgressRule) -> ClusterEgressRule | AdminEgressRule:
    return replace(rule, to=tuple(map(_mirrored_network_peer, rule.to)))


def _mirrored_network_peer(peer: EgressPeer) -> EgressPeer:
    if peer.networks is None:
        return peer
    return replace(peer, networks=tuple(dict.fromkeys(map(mirrored_net, peer.networks))))


def _mirrored_kubernetes(policy: KubernetesNetworkPolicy) -> KubernetesNetworkPolicy:
    spec = policy.spec
    ingress = spec.ingress and tuple(replace(rule, from_=_mirrored_peers(rule.from_)) for rule in spec.ingress)
    egress = spec.egress and tuple(replace(rule, to=_mirrored_peers(rule.to)) for rule in spec.egress)
    return replace(policy, spec=replace(spec, ingress=ingress, egress=egress))


def _mirrored_peers(peers: tuple[PolicyPeer, ...] | None) -> tuple[PolicyPeer, ...] | None:
    return peers and tuple(
        peer if peer.ip_block is None else replace(peer, ip_block=_mirrored_block(peer.ip_block)) for peer in peers
    )


def _mirrored_block(block: IPBlock) -> IPBlock:
    exceptions = () if ":" in block.cidr else tuple(map(mirrored_net, block.except_))
    return IPBlock(cidr=mirrored_net(block.cidr), except_=exceptions)
