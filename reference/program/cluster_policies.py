"""Cluster-scoped Kubernetes policies to Calico rules, for the compiler's road (K8S-12)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from reference.program.kubernetes import IS_POD, selector_text
from reference.program.rewriting import policy_selector
from reference.program.rules import NumberedRule
from reference.resources import (
    GlobalNetworkPolicy,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
)
from reference.resources.calico import Action, EntityRule, GlobalNetworkPolicySpec, Rule
from reference.resources.kubernetes import LabelSelector
from reference.resources.policy_api import (
    ADMIN_TIER,
    BASELINE_TIER,
    AdminEgressRule,
    AdminIngressRule,
    ClusterEgressRule,
    ClusterIngressRule,
    EgressPeer,
    IngressPeer,
    Subject,
    TransportMatch,
)
from reference.selectors import Selector

ClusterPolicy = KubernetesClusterNetworkPolicy | KubernetesAdminNetworkPolicy | KubernetesBaselineAdminNetworkPolicy
_Rule = ClusterIngressRule | ClusterEgressRule | AdminIngressRule | AdminEgressRule
_ACTION: dict[str, Action] = {"Accept": "Allow", "Allow": "Allow", "Deny": "Deny", "Pass": "Pass"}


@dataclass(frozen=True, slots=True)
class Converted:
    """A policy as Calico would have it: of global scope, in a built-in tier, of the directions it has rules for."""

    short_kind: str  # FL-5
    tier: str
    order: float | None  # the priority; None for the baseline of v1alpha1, which has none and sorts last
    scope: Selector
    ingress: tuple[NumberedRule, ...]
    egress: tuple[NumberedRule, ...]


def convert(policy: ClusterPolicy) -> Converted:
    """The Calico policy a cluster-scoped Kubernetes one stands for."""
    ingress = tuple(_numbered(policy.spec.ingress, incoming=True, any_entity=_knows_any_entity(policy)))
    egress = tuple(_numbered(policy.spec.egress, incoming=False, any_entity=False))
    scope = _scope(policy)
    match policy:
        case KubernetesClusterNetworkPolicy():
            tier = {"Admin": ADMIN_TIER, "Baseline": BASELINE_TIER}[policy.spec.tier]
            return Converted("kcnp", tier, policy.spec.priority, scope, ingress, egress)
        case KubernetesAdminNetworkPolicy():
            return Converted("kanp", ADMIN_TIER, policy.spec.priority, scope, ingress, egress)
        case _:
            return Converted("kbanp", BASELINE_TIER, None, scope, ingress, egress)


def _knows_any_entity(policy: ClusterPolicy) -> bool:
    """Report whether `namespaces` in `from` means whatever lives there: it does in v1alpha2 as Calico converts it."""
    return isinstance(policy, KubernetesClusterNetworkPolicy)


def _scope(policy: ClusterPolicy) -> Selector:
    """The subject: pods in the namespaces (RULE-11)."""
    pods, namespaces = _selectors(policy.spec.subject)
    spec = GlobalNetworkPolicySpec(selector=pods, namespace_selector=namespaces)
    return policy_selector(GlobalNetworkPolicy(metadata=policy.metadata, spec=spec))


def _selectors(picks: Subject | IngressPeer | EgressPeer) -> tuple[str, str]:
    """The selector of pods, and the one of namespaces."""
    if picks.pods is None:
        return IS_POD, selector_text(picks.namespaces or LabelSelector())
    chosen = selector_text(picks.pods.pod_selector)
    return f"{IS_POD} && {chosen}", selector_text(picks.pods.namespace_selector or LabelSelector())


def _numbered(rules: Iterable[_Rule], *, incoming: bool, any_entity: bool) -> Iterator[NumberedRule]:
    """Rules that cannot be converted fail closed: one that allows is dropped, any other denies everything."""
    for index, rule in enumerate(rules):
        action = _ACTION[rule.action]
        if all(_is_convertible(peer) for peer in rule.peers):
            for converted in _combined(rule, action, incoming=incoming, any_entity=any_entity):
                yield NumberedRule(index, converted)
        elif action != "Allow":
            yield NumberedRule(index, Rule(action="Deny"))


def _is_convertible(peer: IngressPeer | EgressPeer) -> bool:
    if peer.namespaces is not None or peer.pods is not None:
        return True
    return isinstance(peer, EgressPeer) and peer.networks is not None


def _combined(rule: _Rule, action: Action, *, incoming: bool, any_entity: bool) -> Iterator[Rule]:
    """One rule for each way to name ports and each peer; ports are always destination ports."""
    for protocol, ports in _ports(rule):
        for peer in rule.peers:
            far = _entity(peer, any_entity=any_entity)
            if incoming:
                yield Rule(action=action, protocol=protocol, source=far, destination=EntityRule(ports=ports))
            else:
                far = EntityRule(
                    nets=far.nets, selector=far.selector, namespace_selector=far.namespace_selector, ports=ports
                )
                yield Rule(action=action, protocol=protocol, destination=far)


def _entity(peer: IngressPeer | EgressPeer, *, any_entity: bool) -> EntityRule:
    if isinstance(peer, EgressPeer) and peer.networks is not None:
        return EntityRule(nets=peer.networks)
    pods, namespaces = _selectors(peer)
    if any_entity and peer.namespaces is not None:
        pods = ""
    return EntityRule(selector=pods, namespace_selector=namespaces)


class _Ports(NamedTuple):
    protocol: str | None  # None for names, which carry no protocol
    ports: tuple[int | str, ...]


def _ports(rule: _Rule) -> list[_Ports]:
    """The ports of each protocol, and the names; no entry at all is one for everything."""
    found: dict[str | None, list[int | str]] = {}
    for protocol, port in _entries(rule):
        found.setdefault(protocol, []).append(port)
    return [_Ports(protocol, tuple(ports)) for protocol, ports in found.items()] or [_Ports(None, ())]


def _entries(rule: _Rule) -> Iterator[tuple[str | None, int | str]]:
    if isinstance(rule, (ClusterIngressRule, ClusterEgressRule)):
        for match in rule.protocols or ():
            for protocol, transport in (("TCP", match.tcp), ("UDP", match.udp), ("SCTP", match.sctp)):
                if transport is not None:
                    yield protocol, _numbers(transport)
            if match.destination_named_port is not None:
                yield None, match.destination_named_port
        return
    for port in rule.ports or ():
        if port.port_number is not None:
            yield port.port_number.protocol, port.port_number.port
        elif port.port_range is not None:
            yield port.port_range.protocol, f"{port.port_range.start}:{port.port_range.end}"
        elif port.named_port is not None:
            yield None, port.named_port


def _numbers(transport: TransportMatch) -> int | str:
    port = transport.destination_port
    return f"{port.range.start}:{port.range.end}" if port.range is not None else port.number or 0
