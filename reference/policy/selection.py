"""Which policies select an endpoint (RULE-11, K8S-6), found through the labels they require.

An index keeps each policy under one label value without which it selects nothing, so that the thousands of policies
about other endpoints are never looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from reference.policy.cluster_policies import CLUSTER_POLICIES, is_subject
from reference.policy.entities import in_namespaces, of_accounts
from reference.policy.kubernetes import label_selector_matches, required_labels
from reference.policy.ordering import Policy
from reference.policy.peers import NAMESPACE_LABEL, Owner
from reference.resources import GlobalNetworkPolicy, KubernetesNetworkPolicy
from reference.selectors import parse, required

Requirement = tuple[tuple[str, str], ...]  # label values; an endpoint must have one of them
_MOST_VALUES = 16  # a label that may have more values than this is not worth an entry for each


def selects(policy: Policy, owner: Owner) -> bool:
    """Report whether a policy applies to an endpoint."""
    resource = policy.resource
    if policy.namespace and owner.namespace != policy.namespace:
        return False
    if isinstance(resource, KubernetesNetworkPolicy):
        return label_selector_matches(resource.spec.pod_selector, owner.labels)
    if isinstance(resource, CLUSTER_POLICIES):
        return is_subject(resource, owner)
    spec = resource.spec
    if spec.selector and not parse(spec.selector).matches(owner.labels):
        return False
    if spec.service_account_selector and not of_accounts(parse(spec.service_account_selector))(owner):
        return False
    if isinstance(resource, GlobalNetworkPolicy) and resource.spec.namespace_selector:
        return in_namespaces(parse(resource.spec.namespace_selector))(owner)
    return True


class Selection:
    """Policies by what they require of an endpoint's labels."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        choices = {policy: list(_requirements(policy)) for policy in policies}
        sizes = Counter(pair for options in choices.values() for option in options for pair in option)
        self._by_label: dict[tuple[str, str], list[Policy]] = {}
        self._always: list[Policy] = []
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
        return [policy for policy in (*self._always, *candidates) if selects(policy, owner)]


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
