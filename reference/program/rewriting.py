"""From the selectors a user writes to the one selector a set or a policy stands for (RULE-7, RULE-9 … RULE-11)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from reference.resources import GlobalNetworkPolicy, NetworkPolicy
from reference.resources.calico import EntityRule
from reference.selectors import (
    All,
    And,
    Equals,
    Global,
    Has,
    In,
    Node,
    Not,
    Or,
    Selector,
    conjunction,
    negation,
    parse,
    with_label_prefix,
)
from reference.selectors.parsing import negated
from reference.selectors.selector import selector_of

NAMESPACE = "projectcalico.org/namespace"
SERVICE_ACCOUNT = "projectcalico.org/serviceaccount"


class EntitySelectors(NamedTuple):
    """What the selectors of one side of a rule come to; None where there is nothing to match."""

    positive: Selector | None
    negative: Selector | None  # only where nothing positive restricts the side (RULE-7)


def policy_selector(policy: NetworkPolicy | GlobalNetworkPolicy) -> Selector:
    """The endpoints a Calico policy applies to (RULE-11)."""
    spec = policy.spec
    parts = [parse(spec.selector)]
    if isinstance(policy, NetworkPolicy):
        parts.append(in_namespace(policy.namespace))
    elif policy.spec.namespace_selector:
        parts.append(_namespaces(policy.spec.namespace_selector))
    if spec.service_account_selector:
        prefixed = with_label_prefix(parse(spec.service_account_selector), "pcsa.")
        parts.append(_with_everything_as(prefixed, SERVICE_ACCOUNT))
    return conjunction(*parts)


@lru_cache(maxsize=16384)
def entity_selectors(entity: EntityRule, namespace: str) -> EntitySelectors:
    """The peers one side of a rule speaks of; `namespace` is the policy's, empty for a global one (RULE-7, RULE-9)."""
    accounts = _service_accounts(entity)
    parts: list[Selector] = []
    if entity.namespace_selector:
        parts.append(_namespaces(entity.namespace_selector))
    elif namespace and (entity.selector or entity.not_selector or accounts):
        parts.append(in_namespace(namespace))
    if entity.selector:
        parts.append(parse(entity.selector))
    parts.extend(accounts)
    negative = parse(entity.not_selector) if entity.not_selector else None
    if not parts:
        return EntitySelectors(None, negative)
    if negative is not None:
        parts.append(negation(negative))
    return EntitySelectors(conjunction(*parts), None)


@lru_cache(maxsize=4096)
def in_namespace(namespace: str) -> Selector:
    """Everything that lives in one namespace."""
    return selector_of(Equals(NAMESPACE, namespace))


def _service_accounts(entity: EntityRule) -> list[Selector]:
    """The selectors of `serviceAccounts`; none when it is absent or empty (RULE-10)."""
    accounts = entity.service_accounts
    if accounts is None:
        return []
    parts = []
    if accounts.names:
        parts.append(selector_of(In(SERVICE_ACCOUNT, frozenset(accounts.names))))
    if accounts.selector:
        parts.append(with_label_prefix(parse(accounts.selector), "pcsa."))
    return parts


def _namespaces(text: str) -> Selector:
    return _with_everything_as(with_label_prefix(parse(text), "pcns."), NAMESPACE)


@lru_cache(maxsize=16384)
def _with_everything_as(selector: Selector, label: str) -> Selector:
    """Give `all()` and `global()` their meaning: the label is there, or is not (RULE-9)."""
    return selector_of(_meaning(selector.node, label))


def _meaning(node: Node, label: str) -> Node:
    match node:
        case All():
            return Has(label)
        case Global():
            return Not(Has(label))
        case Not(operand):
            return negated(_meaning(operand, label))
        case And(operands) | Or(operands):
            return replace(node, operands=tuple(_meaning(operand, label) for operand in operands))
        case _:
            return node
