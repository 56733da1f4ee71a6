"""What the linter calls dead is dead: the same cluster without it (semantics section 6 in spirit; POL-12, POL-13)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from property_tests.properties.edits import with_rules
from property_tests.strategies.choices import Choices
from property_tests.strategies.clusters import Cluster
from property_tests.strategies.rules import rule as any_rule
from reference.analysis.lint import Finding
from reference.analysis.lint.cluster_rules import ClusterPolicy
from reference.resources import AnyResource, GlobalNetworkPolicy, KubernetesNetworkPolicy, NetworkPolicy
from reference.resources.calico import Direction, EntityRule, Rule

T = TypeVar("T")
Place = tuple[str, str, int | None]  # resource, direction, rule; None: all rules of the direction

DEAD_RULES = frozenset({"MUS101", "MUS102", "MUS104"})
DEAD_DIRECTIONS = frozenset({"MUS103", "MUS105"})
DEAD_RESOURCES = frozenset({"MUS201", "MUS204", "MUS208", "MUS602"})
DEAD_SELECTORS = frozenset({"MUS202", "MUS205"})  # of a rule, or of a whole policy
CLAIMS = DEAD_RULES | DEAD_DIRECTIONS | DEAD_RESOURCES | DEAD_SELECTORS

_FIELD = re.compile(r"spec\.(ingress|egress)(?:\[(\d+)\])?")
_SIDE = re.compile(r"spec\.(ingress|egress)\[\d+\]\.(source|destination)\.")


def without_the_dead(resources: Cluster, findings: Iterable[Finding]) -> Cluster:
    """The defaulted resources without the rules and resources that the findings say have no effect, all at once."""
    findings = list(findings)
    gone = {finding.resource for finding in findings if _is_whole(finding)}
    places = {place for finding in findings for place in _places(finding)}
    return [_pruned(resource, places) for resource in resources if str(resource.key) not in gone]


def _is_whole(finding: Finding) -> bool:
    """Report whether the finding says that its whole resource has no effect."""
    return finding.id in DEAD_RESOURCES or (finding.id == "MUS205" and not _FIELD.match(finding.field))


def _places(finding: Finding) -> Iterable[Place]:
    found = _FIELD.match(finding.field)
    if found and finding.id in DEAD_DIRECTIONS:
        yield finding.resource, found[1], None
    elif found and (finding.id in DEAD_RULES or _is_of_a_rule(finding)):
        yield finding.resource, found[1], int(found[2])


def _is_of_a_rule(finding: Finding) -> bool:
    """Report whether a selector that matches nobody makes its rule match nothing; one peer in a list does not."""
    negative = "excludes nobody" in finding.message
    return finding.id in DEAD_SELECTORS and not negative and bool(_SIDE.match(finding.field))


def _pruned(resource: AnyResource, places: set[Place]) -> AnyResource:
    if not isinstance(resource, NetworkPolicy | GlobalNetworkPolicy | KubernetesNetworkPolicy | ClusterPolicy):
        return resource
    spec, name = resource.spec, str(resource.key)
    changed = replace(
        spec,
        ingress=_kept(spec.ingress or (), name, "ingress", places),
        egress=_kept(spec.egress or (), name, "egress", places),
    )
    return replace(resource, spec=changed)


def _kept(rules: Sequence[T], name: str, way: str, places: set[Place]) -> tuple[T, ...]:
    if (name, way, None) in places:
        return ()
    return tuple(rule for index, rule in enumerate(rules) if (name, way, index) not in places)


def with_narrowed_rules(choices: Choices, resources: Cluster) -> Cluster:
    """After each Calico rule some that resemble it: most match a part of what it does, a few just beside it."""

    def change(rules: tuple[Rule, ...], direction: Direction) -> tuple[Rule, ...]:
        found: list[Rule] = []
        for one in rules:
            found.append(one)
            if choices.chance(50):
                found.append(_narrowed(choices, one, direction))
        return tuple(found)

    return [with_rules(resource, change) for resource in resources]


def _narrowed(choices: Choices, one: Rule, direction: Direction) -> Rule:
    """The rule with one side taken from another rule where it says nothing, and another action."""
    other = any_rule(choices, direction, None)
    action = choices.pick(("Allow", "Deny", "Pass", "Log")) if one.http is None else "Allow"
    source, destination = one.source, one.destination
    if choices.chance(50):
        source = _with(source, other.source)
    else:
        destination = _with(destination, other.destination)
    return replace(one, action=action, source=source, destination=destination)


def _with(mine: EntityRule, other: EntityRule) -> EntityRule:
    """One side with the selectors of another where it has none; nets and ports stay, so that it stays valid."""
    if mine.services is not None:
        return mine
    return replace(
        mine,
        selector=mine.selector or other.selector,
        not_selector=mine.not_selector or other.not_selector,
        namespace_selector=mine.namespace_selector or other.namespace_selector,
    )
