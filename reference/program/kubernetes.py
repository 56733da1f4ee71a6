"""Kubernetes NetworkPolicy to Calico rules, for the compiler's road (K8S-6 … K8S-11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reference.program.rewriting import in_namespace
from reference.program.rules import NumberedRule
from reference.resources import KubernetesNetworkPolicy
from reference.resources.calico import EntityRule, Rule
from reference.resources.kubernetes import EgressRule, IngressRule, LabelSelector, PolicyPeer, PolicyPort
from reference.selectors import Selector, conjunction, parse

ORDER = 1000.0
IS_POD = "projectcalico.org/orchestrator == 'k8s'"
_OPERATORS = {"In": "{key} in {values}", "NotIn": "{key} not in {values}", "Exists": "has({key})"}


def scope(policy: KubernetesNetworkPolicy) -> Selector:
    """The pods the policy applies to (K8S-6)."""
    chosen = parse(selector_text(policy.spec.pod_selector))
    return conjunction(parse(IS_POD), chosen, in_namespace(policy.namespace))


def governs(policy: KubernetesNetworkPolicy) -> tuple[bool, bool]:
    """Report whether the policy governs ingress, and egress; types defaulted as the API server does (K8S-8)."""
    types = policy.spec.policy_types
    if types:
        return "Ingress" in types, "Egress" in types
    return True, bool(policy.spec.egress)


def ingress_rules(policy: KubernetesNetworkPolicy) -> Iterator[NumberedRule]:
    """The ingress rules as Calico rules, each with the index of the user's rule it came from."""
    for index, rule in enumerate(policy.spec.ingress or ()):
        yield from (NumberedRule(index, each) for each in _converted(rule, rule.from_))


def egress_rules(policy: KubernetesNetworkPolicy) -> Iterator[NumberedRule]:
    """The egress rules as Calico rules, each with the index of the user's rule it came from."""
    for index, rule in enumerate(policy.spec.egress or ()):
        yield from (NumberedRule(index, each) for each in _converted(rule, rule.to))


def _converted(rule: IngressRule | EgressRule, peers: tuple[PolicyPeer, ...] | None) -> Iterator[Rule]:
    """One rule per protocol, sorted by name, and peer; ports are always destination ports (K8S-10)."""
    incoming = isinstance(rule, IngressRule)
    for protocol, ports in ports_by_protocol(rule.ports):
        for entity in [peer_entity(peer) for peer in peers or ()] or [EntityRule()]:
            if incoming:
                yield Rule(action="Allow", protocol=protocol, source=entity, destination=EntityRule(ports=ports))
            else:
                destination = EntityRule(
                    nets=entity.nets,
                    not_nets=entity.not_nets,
                    selector=entity.selector,
                    namespace_selector=entity.namespace_selector,
                    ports=ports,
                )
                yield Rule(action="Allow", protocol=protocol, destination=destination)


def ports_by_protocol(ports: Iterable[PolicyPort] | None) -> list[tuple[str | None, tuple[int | str, ...]]]:
    """The ports of each protocol, by name. No entry: any protocol; one without a port: every port of its (K8S-10)."""
    listed: dict[str, list[int | str] | None] = {}
    for entry in ports or ():
        known = listed.setdefault(entry.protocol, [])
        if entry.port is None:
            listed[entry.protocol] = None
        elif known is not None:
            known.append(entry.port if entry.end_port is None else f"{entry.port}:{entry.end_port}")
    if not listed:
        return [(None, ())]
    return [(protocol, tuple(found or ())) for protocol, found in sorted(listed.items())]


def peer_entity(peer: PolicyPeer) -> EntityRule:
    """The entity a peer stands for (K8S-9). Label peers are pods; without a namespaceSelector, of this namespace."""
    if peer.ip_block is not None:
        return EntityRule(nets=(peer.ip_block.cidr,), not_nets=peer.ip_block.except_)
    chosen = LabelSelector() if peer.pod_selector is None else peer.pod_selector
    namespaces = "" if peer.namespace_selector is None else selector_text(peer.namespace_selector)
    return EntityRule(selector=f"{IS_POD} && {selector_text(chosen)}", namespace_selector=namespaces)


def selector_text(selector: LabelSelector) -> str:
    """A label selector in Calico's language: matchLabels by key, then the expressions in their order (K8S-7)."""
    parts = [f"{key} == {_quoted(value)}" for key, value in sorted(selector.match_labels.items())]
    for requirement in selector.match_expressions:
        values = "{" + ", ".join(_quoted(value) for value in requirement.values) + "}"
        form = _OPERATORS.get(requirement.operator, "! has({key})")
        parts.append(form.format(key=requirement.key, values=values))
    return " && ".join(parts) or "all()"


def _quoted(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"
