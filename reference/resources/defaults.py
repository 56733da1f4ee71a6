"""What the API server fills in, so that everything behind it sees whole resources. Twice is as once."""

from __future__ import annotations

from msgspec.structs import replace

from reference.resources.addresses import canonical_net, parse_address, parse_cidr
from reference.resources.calico import (
    Direction,
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    IPPool,
    NetworkPolicy,
    NetworkSet,
    Profile,
    Rule,
)
from reference.resources.canonical import canonical_policy, canonical_slice
from reference.resources.hosts import HostEndpoint
from reference.resources.kinds import AnyResource, kind_of
from reference.resources.kubernetes import (
    EgressRule,
    IngressRule,
    IPBlock,
    KubernetesNetworkPolicy,
    Namespace,
    Pod,
    PolicyPeer,
)
from reference.resources.names import is_number
from reference.resources.policy_api import (
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
)
from reference.resources.services import EndpointSlice
from reference.resources.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy

TIER_LABEL = "projectcalico.org/tier"
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}


def defaulted(resource: AnyResource) -> AnyResource:
    """The resource with every default the API gives it: POL-5, POL-6, K8S-8, block sizes, well-known labels."""
    if kind_of(resource).namespaced and not resource.namespace:
        resource = replace(resource, metadata=replace(resource.metadata, namespace="default"))
    match resource:
        case NetworkPolicy() | GlobalNetworkPolicy() | StagedNetworkPolicy() | StagedGlobalNetworkPolicy():
            return _policy(resource)
        case KubernetesNetworkPolicy() | StagedKubernetesNetworkPolicy():
            return _kubernetes_policy(resource)
        case Namespace():
            return _labelled(resource, NAMESPACE_NAME_LABEL, resource.name)
        case Pod():
            return _pod(resource)
        case IPPool():
            return _pool(resource)
        case NetworkSet() | GlobalNetworkSet():
            return _network_set(resource)
        case Profile():
            return _profile(resource)
        case EndpointSlice():
            return canonical_slice(resource)
        case KubernetesClusterNetworkPolicy() | KubernetesAdminNetworkPolicy() | KubernetesBaselineAdminNetworkPolicy():
            return canonical_policy(resource)
        case HostEndpoint():
            return _host_endpoint(resource)
        case _:
            return resource


def _labelled(resource: AnyResource, key: str, value: str) -> AnyResource:
    metadata = resource.metadata
    if metadata.labels.get(key) == value:
        return resource
    return replace(resource, metadata=replace(metadata, labels={**metadata.labels, key: value}))


def _policy(
    policy: NetworkPolicy | GlobalNetworkPolicy | StagedNetworkPolicy | StagedGlobalNetworkPolicy,
) -> AnyResource:
    """POL-5 and POL-6; a policy's name is kept as given, `<tier>.<label>` too."""
    spec = policy.spec
    tier = spec.tier or "default"
    types = spec.types or (() if _deletes(policy) else _types(bool(spec.ingress), bool(spec.egress)))
    ingress, egress = _rules(spec.ingress), _rules(spec.egress)
    if tier != spec.tier or types != spec.types or ingress is not spec.ingress or egress is not spec.egress:
        policy = replace(policy, spec=replace(spec, tier=tier, types=types, ingress=ingress, egress=egress))
    return _labelled(policy, TIER_LABEL, tier)


def _deletes(policy: AnyResource) -> bool:
    """Report whether it is a staged policy that deletes: such a one governs nothing, so it gets no types."""
    staged = (StagedNetworkPolicy, StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy)
    return isinstance(policy, staged) and policy.spec.staged_action == "Delete"


def _types(ingress: bool, egress: bool) -> tuple[Direction, ...]:
    if egress:
        return ("Ingress", "Egress") if ingress else ("Egress",)
    return ("Ingress",)


def _rules(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Numeric ports given as strings become numbers, so that "80" is never taken for a port name."""
    if not any(_has_text_ports(rule.source) or _has_text_ports(rule.destination) for rule in rules):
        return rules
    return tuple(replace(rule, source=_entity(rule.source), destination=_entity(rule.destination)) for rule in rules)


def _has_text_ports(entity: EntityRule) -> bool:
    return any(isinstance(port, str) and is_number(port) for port in (*entity.ports, *entity.not_ports))


def _entity(entity: EntityRule) -> EntityRule:
    if not _has_text_ports(entity):
        return entity
    return replace(entity, ports=_ports(entity.ports), not_ports=_ports(entity.not_ports))


def _ports(ports: tuple[int | str, ...]) -> tuple[int | str, ...]:
    return tuple(int(port) if isinstance(port, str) and is_number(port) else port for port in ports)


def _kubernetes_policy(policy: KubernetesNetworkPolicy | StagedKubernetesNetworkPolicy) -> AnyResource:
    """K8S-8, and K8S-9: an ipBlock is masked to its network."""
    spec = policy.spec
    types = spec.policy_types
    if not types and not _deletes(policy):
        types = ("Ingress", "Egress") if spec.egress else ("Ingress",)
    ingress = spec.ingress and tuple(_masked_ingress(rule) for rule in spec.ingress)
    egress = spec.egress and tuple(_masked_egress(rule) for rule in spec.egress)
    return replace(policy, spec=replace(spec, policy_types=types, ingress=ingress, egress=egress))


def _masked_ingress(rule: IngressRule) -> IngressRule:
    return replace(rule, from_=_masked(rule.from_)) if _has_blocks(rule.from_) else rule


def _masked_egress(rule: EgressRule) -> EgressRule:
    return replace(rule, to=_masked(rule.to)) if _has_blocks(rule.to) else rule


def _has_blocks(peers: tuple[PolicyPeer, ...] | None) -> bool:
    return any(peer.ip_block is not None for peer in peers or ())


def _masked(peers: tuple[PolicyPeer, ...] | None) -> tuple[PolicyPeer, ...]:
    return tuple(replace(peer, ip_block=_masked_block(peer.ip_block)) for peer in peers or ())


def _masked_block(block: IPBlock | None) -> IPBlock | None:
    if block is None:
        return None
    return IPBlock(cidr=canonical_net(block.cidr), except_=tuple(map(canonical_net, block.except_)))


def _pod(pod: Pod) -> AnyResource:
    """A pod always runs as a service account: its own, its deprecated alias's, or `default`."""
    spec = pod.spec
    if spec.service_account_name:
        return pod
    return replace(pod, spec=replace(spec, service_account_name=spec.service_account or "default"))


def _pool(pool: IPPool) -> AnyResource:
    """Block size by family, canonical CIDR, and `all()` for empty selectors (1.3)."""
    spec = pool.spec
    try:
        network = parse_cidr(spec.cidr)
    except ValueError:
        return pool  # validation says what is wrong
    return replace(
        pool,
        spec=replace(
            spec,
            cidr=str(network),
            block_size=spec.block_size or DEFAULT_BLOCK_SIZE[network.version],
            node_selector=spec.node_selector or "all()",
            namespace_selector=spec.namespace_selector or "all()",
            allowed_uses=spec.allowed_uses or ("Workload", "Tunnel"),
        ),
    )


def _network_set(network_set: NetworkSet | GlobalNetworkSet) -> AnyResource:
    """Nets are masked to their networks (NS-3)."""
    nets = network_set.spec.nets
    masked = tuple(map(canonical_net, nets))
    if masked == nets:
        return network_set
    return replace(network_set, spec=replace(network_set.spec, nets=masked))


def _profile(profile: Profile) -> AnyResource:
    spec = profile.spec
    return replace(profile, spec=replace(spec, ingress=_rules(spec.ingress), egress=_rules(spec.egress)))


def _host_endpoint(endpoint: HostEndpoint) -> HostEndpoint:
    """Addresses are written in one way, so that they can be compared."""
    spec = endpoint.spec
    expected = tuple(map(_canonical_address, spec.expected_ips))
    return endpoint if expected == spec.expected_ips else replace(endpoint, spec=replace(spec, expected_ips=expected))


def _canonical_address(text: str) -> str:
    try:
        return str(parse_address(text))
    except ValueError:
        return text  # validation says what is wrong
