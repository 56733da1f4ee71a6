"""Addresses of EndpointSlices and networks of cluster-scoped policies, spelled the one way."""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from reference.resources.addresses import canonical_net, parse_address
from reference.resources.policy_api import (
    AdminEgressRule,
    ClusterEgressRule,
    EgressPeer,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
)
from reference.resources.services import Backend, EndpointSlice

P = TypeVar(
    "P",
    bound=KubernetesClusterNetworkPolicy | KubernetesAdminNetworkPolicy | KubernetesBaselineAdminNetworkPolicy,
)
R = TypeVar("R", bound=ClusterEgressRule | AdminEgressRule)


def canonical_slice(endpoint_slice: EndpointSlice) -> EndpointSlice:
    """The slice with its addresses as Python spells them; what is no address stays, for validation to refuse."""
    if endpoint_slice.address_type == "FQDN":
        return endpoint_slice
    return replace(endpoint_slice, endpoints=tuple(map(_canonical_backend, endpoint_slice.endpoints)))


def _canonical_backend(backend: Backend) -> Backend:
    return replace(backend, addresses=tuple(map(_canonical_address, backend.addresses)))


def _canonical_address(text: str) -> str:
    try:
        return str(parse_address(text))
    except ValueError:
        return text


def canonical_policy(policy: P) -> P:
    """The policy with `networks` masked to their networks."""
    return replace(policy, spec=replace(policy.spec, egress=tuple(map(_masked_rule, policy.spec.egress))))


def _masked_rule(rule: R) -> R:
    return replace(rule, to=tuple(map(_masked_peer, rule.to)))


def _masked_peer(peer: EgressPeer) -> EgressPeer:
    if peer.networks is None:
        return peer
    return replace(peer, networks=tuple(map(canonical_net, peer.networks)))
