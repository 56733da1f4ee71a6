"""Profiles: MUS701."""

from __future__ import annotations

from collections.abc import Iterator

from reference.analysis.lint.subject import Finding, Subject
from reference.resources import Profile


def passes(subject: Subject) -> Iterator[Finding]:
    """MUS701: Pass in a profile, which dataplanes read differently (POL-14)."""
    for profile in subject.state.all(Profile):
        for way, rules in (("ingress", profile.spec.ingress), ("egress", profile.spec.egress)):
            for index, rule in enumerate(rules):
                if rule.action == "Pass":
                    yield subject.finding(
                        "MUS701", profile.key, ("spec", way, index, "action"),
                        "iptables and nftables go on to the next profile, eBPF denies; say Allow or Deny",
                    )  # fmt: skip
