"""Whose verdict it was: the rule that decided at each end, and the manifest lines it stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import dedent

from msgspec.structs import replace

from reference.policy.verdict import Hit, Verdict
from reference.resources import Key
from reference.resources.faults import FieldPath
from reference.resources.manifests import Origin, Sourced
from reports.results import Blame

MOST_LINES = 8  # of a rule that a report quotes
KINDS = {
    "np": "NetworkPolicy",
    "gnp": "GlobalNetworkPolicy",
    "knp": "KubernetesNetworkPolicy",
    "kcnp": "KubernetesClusterNetworkPolicy",
    "kanp": "KubernetesAdminNetworkPolicy",
    "kbanp": "KubernetesBaselineAdminNetworkPolicy",
    "pro": "Profile",
}


def blame(verdict: Verdict, sources: Mapping[Key, Sourced]) -> Iterator[Blame]:
    """What decided at each end, egress first; without file and line where no manifest said it (a built-in profile)."""
    for side in verdict.trace:
        if side.hits:
            hit = side.hits[-1]
            sourced = sources.get(Key(KINDS[hit.kind], hit.namespace, hit.name))
            end = f"{side.direction} of {side.endpoint}"
            found = Blame(policy=hit.policy, rule=hit.rule, tier=hit.tier, end=end, action=hit.action)
            yield found if sourced is None else _located(found, sourced.origin, _field(hit, side.direction))


def _field(hit: Hit, direction: str) -> FieldPath:
    """The field of a policy that decided: its rule, or at the end of a tier the policy itself, by its name."""
    return ("spec", direction, hit.rule) if hit.rule >= 0 else ("metadata", "name")


def _located(found: Blame, origin: Origin, field: FieldPath) -> Blame:
    return replace(found, file=origin.file, line=origin.line_of(field), text=excerpt(origin, field))


def excerpt(origin: Origin, field: FieldPath) -> str:
    """The lines of a manifest that spell a field, without their common indent; "" where there are none."""
    found = origin.extent.node((*origin.prefix, *field)) if origin.extent else None
    if origin.extent is None or found is None:
        return ""
    first, node = found
    last = first + node.end_mark.line - node.start_mark.line
    lines = origin.extent.text.splitlines()[first - 1 : last]
    if not getattr(node, "flow_style", True):  # a block ends where the next thing begins
        while len(lines) > 1 and not _is_inside(lines[-1], lines[0]):
            lines.pop()
    more = ["…"] if len(lines) > MOST_LINES else []
    return "\n".join([*dedent("\n".join(lines[:MOST_LINES])).rstrip().splitlines(), *more])


def _is_inside(line: str, first: str) -> bool:
    """Report whether a line belongs to the block that began with another."""
    text = line.lstrip()
    return text != "" and not text.startswith("#") and _indent(line) > _indent(first)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
