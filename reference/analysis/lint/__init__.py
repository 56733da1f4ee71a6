"""The linter: what is legal in a set of manifests and probably not meant.

`lint` takes a state and where its resources came from; `RULES` says what it looks for. It never guesses: what is said
to have no effect has none, and what depends on who exists is only said when the manifests say who exists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from reference.analysis.lint import decisions, families, hosts, kubernetes_only, profiles, selection, staged, tiers
from reference.analysis.lint.registry import RANKS, RULES, LintRule, Severity
from reference.analysis.lint.subject import Finding, Subject
from reference.resources import SourceMap
from reference.state import State

__all__ = ["RANKS", "RULES", "Finding", "LintRule", "Severity", "lint", "worst"]

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    decisions.never_deciding,
    decisions.rules_outside_types,
    selection.selects_nothing,
    selection.peers_match_nothing,
    selection.unknown_named_ports,
    selection.unused_sets,
    selection.contradictions,
    selection.misspelt_labels,
    selection.forged_labels,
    selection.inert_for_pods,
    tiers.missing_tiers,
    tiers.order_ties,
    tiers.tier_ties,
    tiers.activations,
    families.one_family,
    families.wrong_icmp_types,
    families.lone_not_selectors,
    families.http_matches,
    families.host_bits,
    kubernetes_only.empty_port_entries,
    kubernetes_only.separate_selectors,
    kubernetes_only.empty_lists,
    kubernetes_only.egress_without_dns,
    kubernetes_only.unknown_kinds_of_peers,
    hosts.lock_outs,
    hosts.untracked_everywhere,
    profiles.passes,
)


def lint(state: State, sources: SourceMap | None = None, ignore: Collection[str] = ()) -> tuple[Finding, ...]:
    """All findings, in the order of files and lines; those whose id is in `ignore` are left out.

    `sources` gives files and lines; without it findings name resources and fields only. Staged policies are looked at
    as what they will be once they are committed.
    """
    found = staged.with_committed(Subject(state, sources), _check)
    wanted = (finding for finding in found if finding.id not in ignore)
    return tuple(sorted(wanted, key=lambda finding: (finding.file, finding.line, finding.id, finding.field)))


def _check(subject: Subject) -> Iterator[Finding]:
    return (finding for check in CHECKS for finding in check(subject))


def worst(findings: Collection[Finding]) -> Severity | None:
    """The highest severity among them; None when there are none."""
    return max((finding.severity for finding in findings), key=RANKS.__getitem__, default=None)
