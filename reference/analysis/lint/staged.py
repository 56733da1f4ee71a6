"""Staged policies: everything the linter knows, said of them as if they were committed, and MUS801 … MUS804.

A staged policy is never enforced, so nothing can be found about what it does today. What its author wants to know is
what it will do: the state after committing is linted too, and what is found there about a policy that stands in for a
staged one is said of the staged one. What only then becomes true of other resources is said as well, and marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec.structs import replace

from reference.analysis.lint.labels import seen
from reference.analysis.lint.subject import WAYS, Finding, PolicyFacts, Subject
from reference.analysis.preview import Proposal, committed, proposals
from reference.resources import Key
from reference.selectors.matching import matcher

Check = Callable[[Subject], Iterable[Finding]]
_UNUSED_SET = "MUS204"
_MOST_NAMED = 3  # endpoints, in a message


def with_committed(subject: Subject, check: Check) -> Iterator[Finding]:
    """What a check finds now, and what it finds once the staged policies are committed."""
    now = list(check(subject))
    found = list(proposals(subject.state))
    if not found:
        yield from now
        return
    after = _after(subject, found)
    later = list(check(after))
    still = {_identity(finding) for finding in later}
    yield from (finding for finding in now if finding.id != _UNUSED_SET or _identity(finding) in still)
    yield from _of_others_and_staged(now, later, {str(each.policy.key): each for each in found})
    yield from _proposed(subject, after, found)


def _after(subject: Subject, found: Iterable[Proposal]) -> Subject:
    """The state after committing, in which policies come from where their staged selves do."""
    sources = dict(subject.sources)
    for each in found:
        if each.commit.action == "Set" and each.staged.key in subject.sources:
            sources[each.policy.key] = subject.sources[each.staged.key]
    return Subject(committed(subject.state), sources)


def _of_others_and_staged(
    now: Iterable[Finding], later: Iterable[Finding], proposed: Mapping[str, Proposal]
) -> Iterator[Finding]:
    known = {_identity(finding) for finding in now}
    for finding in later:
        proposal = proposed.get(finding.resource)
        if proposal is not None and proposal.commit.result in ("created", "replaced"):
            yield replace(
                finding,
                resource=str(proposal.staged.key),
                message=f"once committed: {finding.message}",
                committed=True,
            )
        elif _identity(finding) not in known:
            message = f"once the staged policies are committed: {finding.message}"
            yield replace(finding, message=message, committed=True)


def _identity(finding: Finding) -> tuple[str, str, str, str]:
    return finding.id, finding.resource, finding.field, finding.message


def _proposed(subject: Subject, after: Subject, found: Iterable[Proposal]) -> Iterator[Finding]:
    facts: dict[Key, PolicyFacts] = {policy.key: policy for policy in after.policies}
    for each in found:
        commit, key = each.commit, each.staged.key
        match commit.action, commit.result:
            case "Delete", "nothing":
                yield subject.finding("MUS801", key, ("spec", "stagedAction"), f"{commit.why}; name one that exists")
            case "Set", "unchanged":
                yield subject.finding("MUS802", key, ("spec",), f"{commit.policy} is the same; it can go")
            case ("Set", "replaced") | ("Delete", "deleted"):
                what = "both" if commit.action == "Set" else "the enforced one as if nothing would happen"
                yield subject.finding(
                    "MUS803", key, ("metadata", "name"),
                    f"{commit.policy} would be {commit.result}, but a pending trace walks {what}; ask muslin preview",
                )  # fmt: skip
        if commit.action == "Set" and each.policy.key in facts:
            yield from _activation(subject, after, each, facts[each.policy.key])


def _activation(subject: Subject, after: Subject, proposal: Proposal, policy: PolicyFacts) -> Iterator[Finding]:
    """MUS804: whom the policy governs in its tier, where nothing enforced does today."""
    tier = next(tier for tier in after.tiers if tier.name == policy.tier)
    if policy.lane != "normal" or tier.default_action != "Deny" or policy.scope is None:
        return
    selected = matcher(policy.scope)
    endpoints = [owner for owner in after.endpoints if selected(seen(owner))]
    for way in WAYS:
        if way not in policy.governs:
            continue
        governing = [
            matcher(other.scope)
            for other in subject.meeting(policy.tier, "")
            if other.lane == "normal" and way in other.governs and other.scope is not None
        ]
        fresh = [
            owner.endpoint.name
            for owner in endpoints
            if owner.endpoint is not None and not any(governs(seen(owner)) for governs in governing)
        ]
        if fresh:
            more = f" and {len(fresh) - _MOST_NAMED} more" if len(fresh) > _MOST_NAMED else ""
            yield subject.finding(
                "MUS804", proposal.staged.key, ("spec",),
                f"no policy of tier {policy.tier} governs {way} of {', '.join(fresh[:_MOST_NAMED])}{more} today; once "
                f"committed, all {way} that no rule of the tier matches is denied",
            )  # fmt: skip
