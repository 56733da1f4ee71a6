"""Selectors, labels and names that nobody answers to: MUS201 … MUS208.

What depends on who exists is only reported when the manifests hold pods: a folder of policies alone says nothing about
whom they select.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reference.analysis.lint.boxes import split_ports
from reference.analysis.lint.cluster_rules import ClusterPolicy, ClusterRule, cluster_peer, unknown_peers
from reference.analysis.lint.implication import labels_in, satisfiable
from reference.analysis.lint.labels import (
    ACCOUNT_LABELS,
    NAMESPACE_LABELS,
    entity_scope,
    label_selector,
    peer_scope,
)
from reference.analysis.lint.subject import Finding, PolicyFacts, RuleFacts, Subject
from reference.packet import protocol_name, protocol_number
from reference.policy.cluster_policies import lives_in
from reference.resources import (
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    Key,
    KubernetesClusterNetworkPolicy,
    KubernetesNetworkPolicy,
    NetworkPolicy,
    NetworkSet,
    Pod,
)
from reference.resources.calico import EntityRule, Rule
from reference.resources.faults import FieldPath, nearest
from reference.resources.kubernetes import EgressRule, IngressRule
from reference.resources.policy_api import EgressPeer, IngressPeer
from reference.selectors import Node, parse
from reference.selectors.matching import matcher

_RESERVED = {  # label -> where it is seen
    "projectcalico.org/namespace": "endpoints and network sets",
    "projectcalico.org/orchestrator": "endpoints",
    "projectcalico.org/serviceaccount": "endpoints",
    "projectcalico.org/name": "namespaces and service accounts",
    "projectcalico.org/created-by": "host endpoints",
    "kubernetes.io/metadata.name": "namespaces",
    "kubernetes.io/hostname": "nodes",
    "kubernetes.io/os": "nodes",
    "kubernetes.io/arch": "nodes",
    "kubernetes.io/service-name": "endpoint slices",
}
_DOMAINS = ("projectcalico.org", "kubernetes.io")
_FORGED = ("pcns.", "pcsa.")


@dataclass(frozen=True, slots=True)
class _Peer:
    """One selector of a rule: whom it means, and where it is written."""

    rule: RuleFacts
    who: Node
    path: FieldPath
    is_negative: bool = False


def selects_nothing(subject: Subject) -> Iterator[Finding]:
    """MUS201: a policy nobody is selected by. Host endpoints count too for a GlobalNetworkPolicy."""
    if not subject.crowd:
        return
    for policy in subject.policies:
        scope = policy.scope
        if scope is None or policy.lane != "normal" or not satisfiable(scope) or subject.crowd.has(scope):
            continue
        pods = len(subject.endpoints)
        where = f"in namespace {policy.namespace}" if policy.namespace else "in the cluster"
        yield subject.finding(
            "MUS201", policy.key, _selector_path(policy),
            f"no endpoint {where} matches ({pods} {'pod' if pods == 1 else 'pods'} in all); check labels and "
            "namespace, or take the policy out",
        )  # fmt: skip


def peers_match_nothing(subject: Subject) -> Iterator[Finding]:
    """MUS202: selectors of rules that match no endpoint and no network set."""
    if not subject.crowd:
        return
    for peer in _peers(subject):
        if satisfiable(peer.who) and not subject.owners.has(peer.who):
            effect = "excludes nobody" if peer.is_negative else "the rule matches no packet"
            yield subject.finding(
                "MUS202", peer.rule.policy.key, peer.path,
                f"no endpoint and no network set matches, so {effect}; check labels and namespace",
            )  # fmt: skip


def unused_sets(subject: Subject) -> Iterator[Finding]:
    """MUS204: network sets that no selector of any rule matches."""
    wanted = {peer.who for peer in _peers(subject)}
    if not wanted:
        return
    matchers = [matcher(node) for node in wanted]
    for resource, labels in subject.sets:
        if not any(matches(labels) for matches in matchers) and not _is_in_a_namespace_meant(subject, resource):
            yield subject.finding(
                "MUS204", resource.key, ("metadata",),
                "no rule's selector matches it; give it the label that a rule asks for, or take it out",
            )  # fmt: skip


def _is_in_a_namespace_meant(subject: Subject, resource: NetworkSet | GlobalNetworkSet) -> bool:
    """Report whether `namespaces` in `from` of a ClusterNetworkPolicy speaks of a network set too (K8S-12)."""
    owner = subject.peers.set_owner(resource)
    policies = subject.state.all(KubernetesClusterNetworkPolicy)
    peers = (peer for policy in policies for rule in policy.spec.ingress for peer in rule.from_)
    return any(peer.namespaces is not None and lives_in(peer.namespaces, owner) for peer in peers)


def contradictions(subject: Subject) -> Iterator[Finding]:
    """MUS205: selectors no labels can satisfy."""
    for policy in subject.policies:
        if policy.scope is not None and not satisfiable(policy.scope):
            yield _contradiction(subject, policy.key, _selector_path(policy))
    for peer in _peers(subject):
        if not peer.is_negative and not satisfiable(peer.who):
            yield _contradiction(subject, peer.rule.policy.key, peer.path)


def _contradiction(subject: Subject, key: Key, path: FieldPath) -> Finding:
    said = "its conditions exclude each other, so nothing can match; join alternatives with ||, or with in {…}"
    return subject.finding("MUS205", key, path, said)


def unknown_named_ports(subject: Subject) -> Iterator[Finding]:
    """MUS203: port names nobody declares with the rule's protocol."""
    if not subject.crowd:
        return
    declared = {
        (port.name, port.protocol) for owner in (*subject.endpoints, *subject.host_owners) for port in owner.ports
    }
    for policy in subject.policies:
        for rule in policy.all_rules:
            for name, protocol, path in _named_ports(rule):
                others = sorted(protocol_name(number) for known, number in declared if known == name)
                if others and (protocol is None or (name, protocol) in declared):
                    continue
                if others and protocol is not None:
                    said = f'port "{name}" is declared for {", ".join(others)}, not for {protocol_name(protocol)}'
                else:
                    near = nearest(name, {known for known, _ in declared})
                    said = f'no endpoint declares a port named "{name}"' + (f'; did you mean "{near}"?' if near else "")
                yield subject.finding("MUS203", policy.key, path, f"{said}; name it in a container's ports")


def _named_ports(rule: RuleFacts) -> Iterator[tuple[str, int | None, FieldPath]]:
    if isinstance(rule.rule, Rule):
        protocol = None if rule.rule.protocol is None else protocol_number(rule.rule.protocol)
        for side, entity in (("source", rule.rule.source), ("destination", rule.rule.destination)):
            for field, entries in (("ports", entity.ports), ("notPorts", entity.not_ports)):
                for index, entry in enumerate(entries):
                    if split_ports((entry,))[1]:
                        yield str(entry), protocol, (*rule.path, side, field, index)
    elif isinstance(rule.rule, IngressRule | EgressRule):
        for index, port in enumerate(rule.rule.ports or ()):
            if isinstance(port.port, str):
                yield port.port, protocol_number(port.protocol), (*rule.path, "ports", index, "port")


def misspelt_labels(subject: Subject) -> Iterator[Finding]:
    """MUS206: reserved labels that the system does not give, or not to what the selector is about."""
    for key, node, path in _selectors(subject):
        for label in dict.fromkeys(labels_in(node)):
            meant = _meant(subject, label)
            if meant is not None:
                yield subject.finding("MUS206", key, path, f'the system gives nothing a label "{label}"; {meant}')


def _meant(subject: Subject, label: str) -> str | None:
    """What a label was probably meant to be, when it looks like a reserved one and nobody has it."""
    if any(subject.owners.has_label(prefix + label) for prefix in ("", NAMESPACE_LABELS, ACCOUNT_LABELS)):
        return None
    prefix = next((part for part in _FORGED if label.startswith(part)), "")
    bare = label.removeprefix(prefix)
    domain, _, name = bare.rpartition("/")
    if bare in _RESERVED or not domain:
        return None
    near = nearest(bare, _RESERVED)
    if near is not None and domain in _DOMAINS:
        return f'did you mean "{prefix}{near}"?'
    if nearest(domain, _DOMAINS) and f"{nearest(domain, _DOMAINS)}/{name}" in _RESERVED:
        return f'did you mean "{prefix}{nearest(domain, _DOMAINS)}/{name}"?'
    return f"it gives {', '.join(_RESERVED)}" if domain == _DOMAINS[0] else None


def forged_labels(subject: Subject) -> Iterator[Finding]:
    """MUS207: pods whose labels begin with pcns. or pcsa. (K8S-14)."""
    for pod in subject.state.all(Pod):
        for label in pod.metadata.labels:
            if label.startswith(_FORGED):
                owner = "namespace" if label.startswith("pcns.") else "service account"
                yield subject.finding(
                    "MUS207", pod.key, ("metadata", "labels", label),
                    f'label "{label}" is removed before any selector sees it; label the {owner} instead',
                )  # fmt: skip


def inert_for_pods(subject: Subject) -> Iterator[Finding]:
    """MUS208: untracked and preDNAT policies whose only endpoints are pods (POL-10)."""
    for policy in subject.policies:
        if policy.lane == "normal" or policy.scope is None or not subject.crowd.has(policy.scope):
            continue
        if subject.hosts.has(policy.scope):
            continue
        field = "doNotTrack" if policy.lane == "untracked" else "preDNAT"
        yield subject.finding(
            "MUS208", policy.key, ("spec", field),
            f"{field} acts on host endpoints only, and of the endpoints here it selects just pods, for which it does "
            "nothing; take the field out, or select host endpoints",
        )  # fmt: skip


def _selector_path(policy: PolicyFacts) -> FieldPath:
    if isinstance(policy.resource, ClusterPolicy):
        return ("spec", "subject")
    return ("spec", "podSelector" if isinstance(policy.resource, KubernetesNetworkPolicy) else "selector")


def _peers(subject: Subject) -> Iterator[_Peer]:
    """Every selector of every rule that is enforced."""
    for policy in subject.policies:
        for rule in policy.all_rules:
            if isinstance(rule.rule, Rule):
                yield from _entity_peers(rule, "source", rule.rule.source)
                yield from _entity_peers(rule, "destination", rule.rule.destination)
            elif isinstance(rule.rule, IngressRule | EgressRule):
                yield from _kubernetes_peers(rule, rule.rule)
            elif rule.rule is not None:
                yield from _cluster_peers(rule, rule.rule)


def _entity_peers(rule: RuleFacts, side: str, entity: EntityRule) -> Iterator[_Peer]:
    who, lone_not = entity_scope(entity, rule.policy.namespace)
    path = (*rule.path, side)
    if who is not None:
        yield _Peer(rule, who, (*path, _first_field(entity)))
    if lone_not is not None:
        yield _Peer(rule, lone_not, (*path, "notSelector"), is_negative=True)


def _first_field(entity: EntityRule) -> str:
    """The field to point at."""
    if entity.selector:
        return "selector"
    if entity.namespace_selector:
        return "namespaceSelector"
    return "serviceAccounts" if entity.service_accounts else "notSelector"


def _kubernetes_peers(rule: RuleFacts, one: IngressRule | EgressRule) -> Iterator[_Peer]:
    field, peers = ("from", one.from_) if isinstance(one, IngressRule) else ("to", one.to)
    for index, peer in enumerate(peers or ()):
        who = peer_scope(peer, rule.policy.namespace)
        if who is not None:
            yield _Peer(rule, who, (*rule.path, field, index))


def _cluster_peers(rule: RuleFacts, one: ClusterRule) -> Iterator[_Peer]:
    unknown = unknown_peers(one)
    peers: tuple[IngressPeer | EgressPeer, ...] = one.peers
    for index, peer in enumerate(peers):
        who = None if index in unknown else cluster_peer(peer, one)
        if who is not None:
            yield _Peer(rule, who, (*rule.path, "from" if rule.way == "ingress" else "to", index))


def _selectors(subject: Subject) -> Iterator[tuple[Key, Node, FieldPath]]:
    """Every selector as it is written, for its label names."""
    for policy in subject.policies:
        resource = policy.resource
        if isinstance(resource, KubernetesNetworkPolicy):
            yield policy.key, label_selector(resource.spec.pod_selector), ("spec", "podSelector")
        elif isinstance(resource, NetworkPolicy | GlobalNetworkPolicy):
            yield policy.key, parse(resource.spec.selector).node, ("spec", "selector")
            accounts = resource.spec.service_account_selector
            yield policy.key, parse(accounts).node, ("spec", "serviceAccountSelector")
        if isinstance(resource, GlobalNetworkPolicy):
            yield policy.key, parse(resource.spec.namespace_selector).node, ("spec", "namespaceSelector")
        for rule in policy.all_rules:
            for node, path in _rule_selectors(rule):
                yield policy.key, node, path


def _rule_selectors(rule: RuleFacts) -> Iterator[tuple[Node, FieldPath]]:
    if isinstance(rule.rule, Rule):
        for side, entity in (("source", rule.rule.source), ("destination", rule.rule.destination)):
            texts = (
                ("selector", entity.selector),
                ("notSelector", entity.not_selector),
                ("namespaceSelector", entity.namespace_selector),
            )
            yield from ((parse(text).node, (*rule.path, side, field)) for field, text in texts if text)
    elif isinstance(rule.rule, IngressRule | EgressRule):
        field, peers = ("from", rule.rule.from_) if isinstance(rule.rule, IngressRule) else ("to", rule.rule.to)
        for index, peer in enumerate(peers or ()):
            for name, selector in (("podSelector", peer.pod_selector), ("namespaceSelector", peer.namespace_selector)):
                if selector is not None:
                    yield label_selector(selector), (*rule.path, field, index, name)
