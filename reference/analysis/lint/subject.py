"""What is linted: a state, where its resources came from, and the policies with what they select and match.

Everything here is worked out when first asked for, and shared by all checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import msgspec

from reference.analysis.lint.boxes import Box, Way, kubernetes_boxes, rule_boxes
from reference.analysis.lint.cluster_rules import (
    ClusterPolicy,
    ClusterRule,
    cluster_action,
    cluster_boxes,
    cluster_scope,
)
from reference.analysis.lint.labels import policy_scope, seen
from reference.analysis.lint.registry import RULES, Severity
from reference.endpoints import Family
from reference.policy.ordering import OrderedTier, Policy, enforced_policies, ordered_tiers
from reference.policy.peers import Owner, Peers, host_owner
from reference.resources import (
    AnyResource,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    Key,
    KubernetesAdminNetworkPolicy,
    KubernetesBaselineAdminNetworkPolicy,
    KubernetesClusterNetworkPolicy,
    KubernetesNetworkPolicy,
    NetworkPolicy,
    NetworkSet,
    SourceMap,
)
from reference.resources.calico import Rule
from reference.resources.faults import FieldPath, format_path
from reference.resources.kubernetes import EgressRule, IngressRule
from reference.selectors import Node
from reference.selectors.matching import conditions, matcher
from reference.state import State

WAYS: tuple[Way, ...] = ("ingress", "egress")
PolicyList = Literal["normal", "untracked", "preDNAT"]
AnyRule = Rule | IngressRule | EgressRule | ClusterRule


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found. `file` is empty and `line` 0 where the resource did not come from a manifest."""

    id: str
    severity: Severity
    title: str
    resource: str  # "NetworkPolicy shop/web"
    field: str  # "spec.ingress[0].source.notSelector"
    message: str  # what is the matter here, and what to do
    file: str = ""
    line: int = 0
    page: str = ""
    committed: bool = False  # it only holds once the staged policies are committed

    @property
    def place(self) -> str:
        """`file:line`, as far as it is known."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, eq=False)
class RuleFacts:
    """A rule of an enforced policy, with what it matches."""

    policy: PolicyFacts
    way: Way
    index: int
    action: str
    rule: AnyRule | None  # None: of a kind whose rules the linter does not read
    boxes: tuple[Box, ...]

    @property
    def decides(self) -> bool:
        """Report whether a match ends the walk through the tier: anything but Log (POL-12)."""
        return self.action != "Log"

    @property
    def path(self) -> FieldPath:
        """Where it stands in its manifest."""
        return ("spec", self.way, self.index)

    @property
    def matches_everything(self) -> bool:
        """Report whether no packet of either family escapes it."""
        return {box.family for box in self.boxes if box.is_whole} == {4, 6}

    def __str__(self) -> str:
        return f"{self.way} rule {self.index} of {self.policy.key}"


class PolicyFacts:
    """An enforced policy: its place in the order, whom it selects, and its rules."""

    def __init__(self, policy: Policy, lane: PolicyList) -> None:
        self.resource: AnyResource = policy.resource
        self.key = policy.resource.key
        self.name = policy.name
        self.namespace = policy.namespace
        self.tier = policy.tier
        self.order = policy.order
        self.sort_key = policy.sort_key
        self.governs: frozenset[Way] = policy.governs
        self.lane: PolicyList = lane
        self._policy = policy

    @property
    def is_forwarded(self) -> bool:
        """Report whether it is in the forward list of host endpoints too (POL-9)."""
        return isinstance(self.resource, GlobalNetworkPolicy) and self.resource.spec.apply_on_forward

    @cached_property
    def scope(self) -> Node | None:
        """The endpoints it selects; None for a kind the linter does not read."""
        if isinstance(self.resource, ClusterPolicy):
            return cluster_scope(self.resource)
        if isinstance(self.resource, NetworkPolicy | GlobalNetworkPolicy | KubernetesNetworkPolicy):
            return policy_scope(self.resource)
        return None

    @cached_property
    def _rules(self) -> dict[Way, tuple[RuleFacts, ...]]:
        return {way: tuple(self._read(way)) for way in WAYS}

    def rules(self, way: Way) -> tuple[RuleFacts, ...]:
        """Its rules for a direction, enforced or not (POL-8)."""
        return self._rules[way]

    @property
    def all_rules(self) -> Iterator[RuleFacts]:
        """The rules of the directions it governs."""
        return (rule for way in WAYS if way in self.governs for rule in self.rules(way))

    def _read(self, way: Way) -> Iterator[RuleFacts]:
        match self.resource:
            case NetworkPolicy(spec=spec) | GlobalNetworkPolicy(spec=spec):
                for index, rule in enumerate(spec.ingress if way == "ingress" else spec.egress):
                    boxes = tuple(rule_boxes(rule, self.namespace))
                    yield RuleFacts(self, way, index, rule.action, rule, boxes)
            case KubernetesNetworkPolicy(spec=spec):
                rules: tuple[IngressRule | EgressRule, ...] = (spec.ingress if way == "ingress" else spec.egress) or ()
                for index, one in enumerate(rules):
                    peers = one.from_ if isinstance(one, IngressRule) else one.to
                    boxes = tuple(kubernetes_boxes(peers, one.ports, self.namespace, way))
                    yield RuleFacts(self, way, index, "Allow", one, boxes)
            case (
                KubernetesClusterNetworkPolicy(spec=spec)
                | KubernetesAdminNetworkPolicy(spec=spec)
                | KubernetesBaselineAdminNetworkPolicy(spec=spec)
            ):
                found: tuple[ClusterRule, ...] = spec.ingress if way == "ingress" else spec.egress
                for index, each in enumerate(found):
                    yield RuleFacts(self, way, index, cluster_action(each), each, tuple(cluster_boxes(each, way)))
            case _:
                for prepared in self._policy.rules(way):
                    yield RuleFacts(self, way, prepared.index, prepared.action, None, ())


class Subject:
    """A state under the linter."""

    def __init__(self, state: State, sources: SourceMap | None = None) -> None:
        self.state = state
        self.sources: SourceMap = sources or {}

    def finding(self, rule_id: str, key: Key, path: FieldPath, message: str) -> Finding:
        """A finding about a field of a resource."""
        rule = RULES[rule_id]
        sourced = self.sources.get(key)
        return Finding(
            id=rule.id,
            severity=rule.severity,
            title=rule.title,
            resource=str(key),
            field=format_path(path),
            message=message,
            file=sourced.origin.file if sourced else "",
            line=sourced.origin.line_of(path) if sourced else 0,
            page=rule.page,
        )

    def spelled(self, key: Key, path: FieldPath) -> bool | None:
        """Report whether the manifest spells a field; None when there is no text to look into."""
        sourced = self.sources.get(key)
        if sourced is None or sourced.origin.extent is None:
            return None
        return sourced.origin.line(path) is not None

    def text(self, key: Key, path: FieldPath) -> str | None:
        """A scalar as the manifest has it."""
        sourced = self.sources.get(key)
        return sourced.origin.text(path) if sourced else None

    @cached_property
    def policies(self) -> tuple[PolicyFacts, ...]:
        """Every policy that is enforced somewhere, in the order of the whole walk."""
        place = {tier.name: number for number, tier in enumerate(self.tiers)}
        found = [PolicyFacts(policy, "normal") for policy in self._for_pods]
        found += [PolicyFacts(Policy(resource), _lane(resource)) for resource in self._for_hosts]
        return tuple(sorted(found, key=lambda facts: (place[facts.tier], facts.sort_key)))

    @cached_property
    def _for_pods(self) -> list[Policy]:
        return [policy for policy in enforced_policies(self.state) if not getattr(policy, "staged", False)]

    @cached_property
    def _for_hosts(self) -> list[GlobalNetworkPolicy]:
        """Those that are inert for pods (POL-10)."""
        return [resource for resource in self.state.all(GlobalNetworkPolicy) if _lane(resource) != "normal"]

    @cached_property
    def tiers(self) -> tuple[OrderedTier, ...]:
        """The tiers in order, with the missing ones that a policy names (POL-1, POL-4)."""
        return ordered_tiers(self.state, [*self._for_pods, *map(Policy, self._for_hosts)])

    def in_tier(self, tier: str) -> tuple[PolicyFacts, ...]:
        """The policies of a tier, in order."""
        return self._by_tier.get(tier, ())

    def meeting(self, tier: str, namespace: str) -> tuple[PolicyFacts, ...]:
        """The policies of a tier, in order, that may apply to an endpoint a policy of that namespace applies to.

        That of a global policy may be anywhere.
        """
        if not namespace:
            return self.in_tier(tier)
        found = self._meeting.get((tier, namespace))
        if found is None:
            near = tuple(facts for facts in self.in_tier(tier) if facts.namespace in ("", namespace))
            found = self._meeting[tier, namespace] = near
        return found

    def before(self, policy: PolicyFacts) -> Iterator[PolicyFacts]:
        """The policies of its tier that come before it and may apply to endpoints of its own."""
        for other in self.meeting(policy.tier, policy.namespace):
            if other is policy:
                return
            yield other

    @cached_property
    def _meeting(self) -> dict[tuple[str, str], tuple[PolicyFacts, ...]]:
        return {}

    @cached_property
    def _by_tier(self) -> dict[str, tuple[PolicyFacts, ...]]:
        groups: dict[str, list[PolicyFacts]] = {}
        for facts in self.policies:
            groups.setdefault(facts.tier, []).append(facts)
        return {name: tuple(group) for name, group in groups.items()}

    @cached_property
    def peers(self) -> Peers:
        """Who owns which address."""
        return Peers(self.state)

    @cached_property
    def endpoints(self) -> tuple[Owner, ...]:
        """Every workload endpoint, as selectors see it."""
        return tuple(self.peers.owner(endpoint) for _, endpoint in sorted(self.state.endpoints.items()))

    @cached_property
    def families(self) -> frozenset[Family]:
        """The address families the endpoints have; both while there are none."""
        found = {6 if ":" in text else 4 for owner in self.state.endpoints.values() for text in owner.addresses}
        return frozenset(found or {4, 6})  # type: ignore[arg-type]

    @property
    def is_dual_stack(self) -> bool:
        """Report whether endpoints have addresses of both families."""
        return len(self.families) == 2

    @cached_property
    def sets(self) -> tuple[tuple[NetworkSet | GlobalNetworkSet, Mapping[str, str]], ...]:
        """Every network set with its labels as selectors see them."""
        return tuple((resource, seen(self.peers.set_owner(resource))) for resource in self.set_resources)

    @property
    def set_resources(self) -> tuple[NetworkSet | GlobalNetworkSet, ...]:
        """Every network set."""
        return (*self.state.all(NetworkSet), *self.state.all(GlobalNetworkSet))

    @cached_property
    def crowd(self) -> Crowd:
        """Everybody a policy may select: pods, and host endpoints."""
        return Crowd(map(seen, (*self.endpoints, *self.host_owners)))

    @cached_property
    def hosts(self) -> Crowd:
        """Every host endpoint."""
        return Crowd(map(seen, self.host_owners))

    @cached_property
    def host_owners(self) -> tuple[Owner, ...]:
        """Every host endpoint, as selectors see it."""
        return tuple(host_owner(self.state, endpoint) for endpoint in self.state.all(HostEndpoint))

    @cached_property
    def owners(self) -> Crowd:
        """Everybody a rule's selector may match: endpoints of pods and hosts, and network sets."""
        return Crowd([*map(seen, (*self.endpoints, *self.host_owners)), *(labels for _, labels in self.sets)])


class Crowd:
    """Label sets, each once, with the question whether any matches a tree answered and remembered."""

    def __init__(self, members: Iterable[Mapping[str, str]]) -> None:
        self.members = [dict(pairs) for pairs in {tuple(sorted(labels.items())) for labels in members}]
        self._with: dict[tuple[str, str], list[dict[str, str]]] = {}
        for labels in self.members:
            for pair in labels.items():
                self._with.setdefault(pair, []).append(labels)
        self._names = {name for name, _ in self._with}
        self._answers: dict[Node, bool] = {}

    def __bool__(self) -> bool:
        return bool(self.members)

    def has(self, node: Node) -> bool:
        """Report whether anybody matches."""
        found = self._answers.get(node)
        if found is None:
            found = self._answers[node] = any(map(matcher(node), self._candidates(node)))
        return found

    def has_label(self, name: str) -> bool:
        """Report whether anybody has a label of that name."""
        return name in self._names

    def _candidates(self, node: Node) -> list[dict[str, str]]:
        """Those who have the rarest of the label values that any match needs."""
        rarest = self.members
        for name, values in conditions(node).items():
            if name not in self._names:
                return []
            if values is not None:
                holders = [labels for value in values for labels in self._with.get((name, value), ())]
                rarest = min(rarest, holders, key=len)
        return rarest


def _lane(policy: GlobalNetworkPolicy) -> PolicyList:
    """The list it is in (POL-9)."""
    return "untracked" if policy.spec.do_not_track else "preDNAT" if policy.spec.pre_dnat else "normal"
