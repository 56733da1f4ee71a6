"""Rules without one of their fields.

Whether one field alone kept a rule from matching is answered by the rule itself, made again without that field: if it
then matches, nothing else stood in the way. So no field is judged in a second way that could differ from the first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec.structs import fields, replace

from reference.policy.cluster_policies import ClusterRule
from reference.policy.kubernetes import KubernetesRule
from reference.policy.rules import CalicoRule, PolicyRule
from reference.resources.calico import EntityRule, Rule

_INERT = {"action", "metadata", "http", "source", "destination"}  # they keep no packet from matching (RULE-15)
_FIELDS = {  # of each part, what narrows it down: name in manifests -> attribute and default
    part: {f.encode_name: (f.name, f.default) for f in fields(part) if f.name not in _INERT}
    for part in (Rule, EntityRule)
}


class Relaxed(NamedTuple):
    """A rule without one of its fields, and how many are left."""

    rule: PolicyRule
    others: int


Kept = dict[tuple[PolicyRule, str], Relaxed | None]  # what was made of the rules of one state, by field


def relax(rule: PolicyRule, field: str, namespace: str) -> Relaxed | None:
    """The rule without a field, as `miss` names fields; None for a rule of a kind that cannot be taken apart."""
    if isinstance(rule, (KubernetesRule, ClusterRule)):
        simpler = rule.without(field)
        return None if simpler is None else Relaxed(simpler, rule.restrictions - 1)
    if not isinstance(rule, CalicoRule):
        return None
    side, _, name = field.partition(".")
    if name == "namespace":  # nothing the user wrote: the policy's own namespace (RULE-9)
        return Relaxed(CalicoRule(rule.rule, rule.index, ""), restrictions(rule.rule))
    if name:
        entity = rule.rule.source if side == "source" else rule.rule.destination
        bare = replace(rule.rule, **{side: _without(entity, name)})
    else:
        bare = _without(rule.rule, field.removesuffix(" family"))  # ICMP of the other family misses by its protocol
    return Relaxed(CalicoRule(bare, rule.index, namespace), restrictions(bare))


def _without(part: Any, name: str) -> Any:  # noqa: ANN401 - a Rule or an EntityRule, and the same again
    attribute, default = _FIELDS[type(part)][name]
    return replace(part, **{attribute: default})


def restrictions(rule: Rule) -> int:
    """How many fields narrow a rule down."""
    return _narrowing(rule) + _narrowing(rule.source) + _narrowing(rule.destination)


def _narrowing(part: Rule | EntityRule) -> int:
    return sum(getattr(part, name) != default for name, default in _FIELDS[type(part)].values())
