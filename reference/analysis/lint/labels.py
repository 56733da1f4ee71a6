"""What a policy or a rule asks of an endpoint, as one selector tree over labels and a few private ones.

Namespaces, service accounts and "is a pod" become labels no user can write (they begin with a NUL), so that whether one
rule's peers are among another's is one question to `implication`. The meaning is that of RULE-7, RULE-9, RULE-10,
RULE-11, K8S-7 and K8S-9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reference.policy.peers import Owner
from reference.resources.calico import EntityRule, GlobalNetworkPolicy, NetworkPolicy
from reference.resources.kubernetes import KubernetesNetworkPolicy, LabelSelector, PolicyPeer
from reference.selectors import All, And, Equals, Global, Has, In, Node, Not, NotEquals, NotIn, Or, parse

NAMESPACE = "\0namespace"
ACCOUNT = "\0account"
POD = "\0pod"
NAMESPACE_LABELS = "\0namespace."
ACCOUNT_LABELS = "\0account."
_ORCHESTRATOR = "projectcalico.org/orchestrator"
EVERYTHING: Node = All()
ANY_POD: Node = And((Has(POD), Has(NAMESPACE)))  # every pod is in a namespace


def seen(owner: Owner) -> dict[str, str]:
    """An endpoint or network set as these trees see it."""
    labels = dict(owner.labels)
    if owner.namespace:
        labels[NAMESPACE] = owner.namespace
        labels.update({NAMESPACE_LABELS + key: value for key, value in owner.namespace_labels.items()})
    if owner.service_account:
        labels[ACCOUNT] = owner.service_account
        labels.update({ACCOUNT_LABELS + key: value for key, value in owner.account_labels.items()})
    if owner.endpoint is not None and owner.endpoint.labels.get(_ORCHESTRATOR) == "k8s":
        labels[POD] = ""
    return labels


def every(nodes: Iterable[Node]) -> Node:
    """All of the conditions."""
    parts = tuple(dict.fromkeys(node for node in nodes if not isinstance(node, All)))
    return EVERYTHING if not parts else parts[0] if len(parts) == 1 else And(parts)


def policy_scope(policy: NetworkPolicy | GlobalNetworkPolicy | KubernetesNetworkPolicy) -> Node:
    """The endpoints a policy selects (RULE-11, K8S-6)."""
    place: tuple[Node, ...] = (Equals(NAMESPACE, policy.namespace),) if policy.namespace else ()
    if isinstance(policy, KubernetesNetworkPolicy):
        return every((*place, ANY_POD, label_selector(policy.spec.pod_selector)))
    spec = policy.spec
    parts = [*place, parse(spec.selector).node]
    if spec.service_account_selector:
        parts.append(_elsewhere(parse(spec.service_account_selector).node, ACCOUNT_LABELS, Has(ACCOUNT)))
    if isinstance(policy, GlobalNetworkPolicy) and policy.spec.namespace_selector:
        parts.append(in_namespaces(policy.spec.namespace_selector))
    return every(parts)


def in_namespaces(text: str) -> Node:
    """A namespaceSelector: `all()` means in any namespace, `global()` in none (RULE-9)."""
    node = parse(text).node
    return Not(Has(NAMESPACE)) if isinstance(node, Global) else _elsewhere(node, NAMESPACE_LABELS, Has(NAMESPACE))


def entity_scope(entity: EntityRule, namespace: str) -> tuple[Node | None, Node | None]:
    """Who the address must belong to, and, for a lone notSelector, who it must not belong to; None: no matter."""
    accounts = entity.service_accounts
    parts: list[Node] = []
    if entity.namespace_selector:
        parts.append(in_namespaces(entity.namespace_selector))
    elif namespace and (entity.selector or entity.not_selector or (accounts and (accounts.names or accounts.selector))):
        parts.append(Equals(NAMESPACE, namespace))
    if accounts and accounts.selector:
        parts.append(_elsewhere(parse(accounts.selector).node, ACCOUNT_LABELS, EVERYTHING))
    if accounts and accounts.names:
        parts.append(In(ACCOUNT, frozenset(accounts.names)))
    if entity.selector:
        parts.append(parse(entity.selector).node)
    if entity.not_selector and not parts:
        return None, parse(entity.not_selector).node
    if entity.not_selector:
        parts.append(Not(parse(entity.not_selector).node))
    return (every(parts) if parts else None), None


def peer_scope(peer: PolicyPeer, namespace: str) -> Node | None:
    """Who a Kubernetes peer picks: pods of this namespace, or of those it selects (K8S-9). None for an ipBlock."""
    if peer.ip_block is not None:
        return None
    pods = EVERYTHING if peer.pod_selector is None else label_selector(peer.pod_selector)
    if peer.namespace_selector is None:
        return every((ANY_POD, Equals(NAMESPACE, namespace), pods))
    return every((ANY_POD, of_namespaces(peer.namespace_selector, EVERYTHING), pods))


def of_namespaces(selector: LabelSelector, everything: Node) -> Node:
    """A Kubernetes selector of namespaces; the empty one becomes `everything`."""
    return _elsewhere(label_selector(selector), NAMESPACE_LABELS, everything)


def label_selector(selector: LabelSelector) -> Node:
    """A Kubernetes label selector as a tree (K8S-7)."""
    parts: list[Node] = [Equals(key, value) for key, value in sorted(selector.match_labels.items())]
    for requirement in selector.match_expressions:
        match requirement.operator:
            case "In":
                parts.append(In(requirement.key, frozenset(requirement.values)))
            case "NotIn":
                parts.append(NotIn(requirement.key, frozenset(requirement.values)))
            case "Exists":
                parts.append(Has(requirement.key))
            case _:
                parts.append(Not(Has(requirement.key)))
    return every(parts)


def _elsewhere(node: Node, prefix: str, everything: Node) -> Node:
    """A selector about namespaces or accounts, on the endpoint's private labels; `all()` becomes `everything`."""
    match node:
        case All():
            return everything
        case Global():
            return node
        case Not(operand):
            return Not(_elsewhere(operand, prefix, everything))
        case And(operands) | Or(operands):
            return replace(node, operands=tuple(_elsewhere(operand, prefix, everything) for operand in operands))
        case NotEquals() | NotIn():
            return replace(node, label=prefix + node.label)
        case _:  # who has such a label is in a namespace, or has an account
            return And(
                (Has(NAMESPACE if prefix == NAMESPACE_LABELS else ACCOUNT), replace(node, label=prefix + node.label))
            )
