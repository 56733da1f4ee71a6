"""Which policies select an endpoint (RULE-11, K8S-6), found through the labels they require.

An index keeps each policy under one label value without which it selects nothing, so that the thousands of policies
about other endpoints are never looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator

from reference.policy.cluster_policies import CLUSTER_POLICIES, is_subject
from reference.policy.entities import Keep, in_namespaces, of_accounts
from reference.policy.kubernetes import label_selector_matches, required_labels
from reference.policy.ordering import Policy
from reference.policy.peers import Owner
from reference.resources import GlobalNetworkPolicy, KubernetesNetworkPolicy
from reference.selectors import parse, required
from reference.workloads import is_pod

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
        yield lambda owner: owner.endpoint is not None and is_pod(owner.endpoint)  # K8S-6
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
    """All policies: those of each namespace, and the global ones, each by what they require of an endpoint's labels."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        by_namespace: dict[str, list[Policy]] = {}
        for policy in policies:
            by_namespace.setdefault(policy.namespace, []).append(policy)
        self._indexes = {namespace: _Index(members) for namespace, members in by_namespace.items()}

    def selecting(self, owner: Owner) -> list[Policy]:
        """The policies that select an endpoint, in no particular order."""
        indexes = [self._indexes.get(namespace) for namespace in dict.fromkeys(("", owner.namespace))]
        return [policy for index in indexes if index is not None for policy in index.selecting(owner)]


class _Group:
    """Policies that choose their endpoints in the same words: they are asked as one (as in POL-21)."""

    def __init__(self, policies: list[Policy]) -> None:
        self.policies = policies
        self._choice: Keep | None = None

    def selects(self, owner: Owner) -> bool:
        """Report whether they select an endpoint. What they ask is prepared when it is first asked."""
        if self._choice is None:
            self._choice = _choice(self.policies[0])
        return self._choice(owner)


class _Index:
    """Groups of policies by the label values they require."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        members: dict[Hashable, list[Policy]] = {}
        for policy in policies:
            members.setdefault(_words(policy), []).append(policy)
        groups = [(_Group(group), list(_requirements(group[0]))) for group in members.values()]
        sizes = Counter(pair for _, options in groups for option in options for pair in option)
        self._by_label: dict[tuple[str, str], list[_Group]] = {}
        self._always: list[_Group] = []
        for group, options in groups:
            if not options:
                self._always.append(group)
                continue
            rarest = min(options, key=lambda option: sum(sizes[pair] for pair in option))
            for pair in rarest:
                self._by_label.setdefault(pair, []).append(group)

    def selecting(self, owner: Owner) -> list[Policy]:
        """The policies that select an endpoint."""
        by_label = self._by_label
        candidates = [group for pair in owner.labels.items() if pair in by_label for group in by_label[pair]]
        return [policy for group in (*self._always, *candidates) if group.selects(owner) for policy in group.policies]


def _words(policy: Policy) -> Hashable:
    """The words in which a policy chooses endpoints; its namespace is not among them."""
    resource = policy.resource
    if isinstance(resource, KubernetesNetworkPolicy):
        pods = resource.spec.pod_selector
        return (KubernetesNetworkPolicy, tuple(pods.match_labels.items()), pods.match_expressions)
    if isinstance(resource, CLUSTER_POLICIES):
        return policy
    spec = resource.spec
    namespaces = resource.spec.namespace_selector if isinstance(resource, GlobalNetworkPolicy) else ""
    return (type(resource), spec.selector, spec.service_account_selector, namespaces)


def _requirements(policy: Policy) -> Iterator[Requirement]:
    """Sets of label values of which an endpoint must have one, or the policy does not select it."""
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
