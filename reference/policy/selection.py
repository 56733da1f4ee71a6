"""Which policies select an endpoint (RULE-11, K8S-6), found through the labels they require.

An index keeps each policy under one label value without which it selects nothing, so that the thousands of policies
about other endpoints are never looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from reference.policy.cluster_policies import CLUSTER_POLICIES, is_subject
from reference.policy.entities import Keep, in_namespaces, of_accounts
from reference.policy.kubernetes import label_selector_matches, required_labels
from reference.policy.ordering import Policy
from reference.policy.peers import NAMESPACE_LABEL, Owner
from reference.resources import GlobalNetworkPolicy, KubernetesNetworkPolicy
from reference.selectors import parse, required

Requirement = tuple[tuple[str, str], ...]  # label values; an endpoint must have one of them
_MOST_VALUES = 16  # a label that may have more values than this is not worth an entry for each


def selects(policy: Policy, owner: Owner) -> bool:
    """Report whether a policy applies to an endpoint."""
    return _choice(policy)(owner)


def _choice(policy: Policy) -> Keep:
    """What a policy asks of an endpoint, prepared for being asked often."""
    parts = tuple(_conditions(policy))

    def chosen(owner: Owner) -> bool:
        for part in parts:  # noqa: SIM110 - a generator would cost more than the questions
            if not part(owner):
                return False
        return True

    return chosen


def _conditions(policy: Policy) -> Iterator[Keep]:
    namespace, resource = policy.namespace, policy.resource
    if namespace:
        yield lambda owner: owner.namespace == namespace
    if isinstance(resource, KubernetesNetworkPolicy):
        pods = resource.spec.pod_selector
        yield lambda owner: label_selector_matches(pods, owner.labels)
        return
    if isinstance(resource, CLUSTER_POLICIES):
        yield lambda owner: is_subject(resource, owner)
        return
    spec = resource.spec
    if spec.selector:
        matches = parse(spec.selector).matches
        yield lambda owner: matches(owner.labels)
    if spec.service_account_selector:
        yield of_accounts(parse(spec.service_account_selector))
    if isinstance(resource, GlobalNetworkPolicy) and resource.spec.namespace_selector:
        yield in_namespaces(parse(resource.spec.namespace_selector))


class Selection:
    """Policies by what they require of an endpoint's labels."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        choices = {policy: list(_requirements(policy)) for policy in policies}
        sizes = Counter(pair for options in choices.values() for option in options for pair in option)
        self._by_label: dict[tuple[str, str], list[Policy]] = {}
        self._always: list[Policy] = []
        self._choices: dict[Policy, Keep] = {}  # of the policies that came into question
        for policy, options in choices.items():
            if not options:
                self._always.append(policy)
                continue
            rarest = min(options, key=lambda option: sum(sizes[pair] for pair in option))
            for pair in rarest:
                self._by_label.setdefault(pair, []).append(policy)

    def selecting(self, owner: Owner) -> list[Policy]:
        """The policies that select an endpoint, in no particular order."""
        candidates = [policy for pair in owner.labels.items() for policy in self._by_label.get(pair, ())]
        return [policy for policy in (*self._always, *candidates) if self._selects(policy, owner)]

    def _selects(self, policy: Policy, owner: Owner) -> bool:
        choice = self._choices.get(policy)
        if choice is None:
            choice = self._choices[policy] = _choice(policy)
        return choice(owner)


def _requirements(policy: Policy) -> Iterator[Requirement]:
    """Sets of label values of which an endpoint must have one, or the policy does not select it."""
    if policy.namespace:
        yield ((NAMESPACE_LABEL, policy.namespace),)
    resource = policy.resource
    if isinstance(resource, KubernetesNetworkPolicy):
        wanted: Iterable[tuple[str, frozenset[str] | None]] = required_labels(resource.spec.pod_selector)
    elif isinstance(resource, CLUSTER_POLICIES):
        pods = resource.spec.subject.pods
        wanted = () if pods is None else required_labels(pods.pod_selector)
    else:
        wanted = required(parse(resource.spec.selector))
    for label, values in wanted:
        if values is not None and len(values) <= _MOST_VALUES:
            yield tuple((label, value) for value in values)
