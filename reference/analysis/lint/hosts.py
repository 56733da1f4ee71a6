"""Host endpoints: MUS601 and MUS602."""

from __future__ import annotations

from collections.abc import Iterator

from reference.analysis.lint.labels import seen
from reference.analysis.lint.subject import WAYS, Finding, Subject
from reference.policy.peers import Owner, host_owner
from reference.profiles import profile
from reference.resources import HostEndpoint
from reference.resources.hosts import ALL_INTERFACES, DEFAULT_ALLOW_PROFILE
from reference.selectors.matching import matcher


def lock_outs(subject: Subject) -> Iterator[Finding]:
    """MUS601: a host endpoint that no policy selects in some direction, and no profile either (HEP-7)."""
    for endpoint in subject.state.all(HostEndpoint):
        if any(profile(subject.state, name) is not None for name in endpoint.spec.profiles):
            continue
        closed = [way for way in WAYS if not _is_governed(subject, host_owner(subject.state, endpoint), way)]
        if closed:
            names = endpoint.spec.profiles
            path = ("spec", "profiles") if names else ("spec",)
            none = f"no profile named {' or '.join(names)} exists" if names else "it has no profile"
            yield subject.finding(
                "MUS601", endpoint.key, path,
                f"no policy governs its {' and '.join(closed)} and {none}: only failsafe ports of the host stay open; "
                f"add profile {DEFAULT_ALLOW_PROFILE}, or a policy that selects it",
            )  # fmt: skip


def _is_governed(subject: Subject, owner: Owner, way: str) -> bool:
    labels = seen(owner)
    return any(
        policy.lane == "normal" and way in policy.governs and (policy.scope is None or matcher(policy.scope)(labels))
        for policy in subject.policies
        if not policy.namespace
    )


def untracked_everywhere(subject: Subject) -> Iterator[Finding]:
    """MUS602: an untracked policy all of whose host endpoints have interface `*` (HEP-4)."""
    hosts = [(host, seen(host_owner(subject.state, host))) for host in subject.state.all(HostEndpoint)]
    for policy in subject.policies:
        if policy.lane != "untracked" or policy.scope is None:
            continue
        selected = [host for host, labels in hosts if matcher(policy.scope)(labels)]
        if selected and all(host.spec.interface_name == ALL_INTERFACES for host in selected):
            yield subject.finding(
                "MUS602", policy.key, ("spec", "doNotTrack"),
                f"it does nothing on a host endpoint with interfaceName \"*\", as {selected[0].key} is; name the "
                "interface there, or take doNotTrack out",
            )  # fmt: skip
