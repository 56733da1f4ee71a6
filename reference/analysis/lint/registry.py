"""What the linter knows to look for: a stable id for each kind of finding, its severity, and why it matters.

Ids are never used again for something else. Hundreds are families: 1 rules that never decide, 2 selection, 3 tiers and
order, 4 matching and address families, 5 Kubernetes only, 6 hosts, 7 profiles, 8 staged policies. Each has a page in
`docs/lint/`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "note"]
RANKS: dict[Severity, int] = {"note": 0, "warning": 1, "error": 2}


class LintRule(msgspec.Struct, frozen=True):
    """One thing the linter looks for."""

    id: str
    name: str  # for machines and links: words and dashes
    severity: Severity
    title: str  # one line
    reason: str  # why a person should care; cites the statements of the semantics

    @property
    def page(self) -> str:
        """Its page, from the root of the project."""
        return f"docs/lint/{self.id}.md"


_RULES = (
    LintRule(
        "MUS101", "shadowed-rule", "warning", "A rule never decides: earlier rules match all that it matches",
        "Rules are tried in order and the first match decides (POL-12), so a rule whose packets are all taken by "
        "earlier Allow, Deny or Pass rules has no effect.",
    ),
    LintRule(
        "MUS102", "rule-after-catch-all", "warning", "A rule stands after one that matches everything",
        "An Allow, Deny or Pass rule without conditions decides every packet that reaches it (POL-12); nothing after "
        "it in the policy is looked at.",
    ),
    LintRule(
        "MUS103", "unreachable-policy", "warning", "A policy is never reached",
        "An earlier policy of its tier, or an earlier tier, decides every packet of every endpoint it selects "
        "(POL-12, POL-13).",
    ),
    LintRule(
        "MUS104", "impossible-rule", "warning", "A rule can match no packet",
        "All fields of a rule must hold together (RULE-1); these contradict each other.",
    ),
    LintRule(
        "MUS105", "rules-outside-types", "warning", "Rules for a direction that the types leave out are ignored",
        "A policy governs only the directions in its types; its rules for the other are not enforced (POL-8).",
    ),
    LintRule(
        "MUS201", "selects-nothing", "warning", "A policy selects no endpoint",
        "A policy without endpoints changes nothing. Most often a label or a namespace is misspelt.",
    ),
    LintRule(
        "MUS202", "peer-matches-nothing", "warning", "A rule's selector matches no endpoint and no network set",
        "Matching by selector is matching by the addresses of those it selects (RULE-8): with nobody selected a "
        "positive selector matches no packet, and a negative one excludes none.",
    ),
    LintRule(
        "MUS203", "unknown-named-port", "warning", "A named port that no endpoint declares",
        "A port name stands for the ports that endpoints declare under it, with the rule's protocol (RULE-6); one that "
        "nobody declares matches nothing.",
    ),
    LintRule(
        "MUS204", "unused-network-set", "note", "A network set that no rule's selector matches",
        "Network sets only act as peers, through their labels (NS-2).",
    ),
    LintRule(
        "MUS205", "contradictory-selector", "warning", "A selector that nothing can ever match",
        "Its conditions exclude each other, whatever labels there are (SEL-4).",
    ),
    LintRule(
        "MUS206", "misspelt-label", "warning", "A selector names a reserved label that does not exist",
        "Labels of the domains projectcalico.org and kubernetes.io are given by the system (2f); one that it does not "
        "give is absent everywhere.",
    ),
    LintRule(
        "MUS207", "forged-label", "warning", "A pod's label is removed before use",
        "Labels beginning with pcns. or pcsa. stand for labels of the namespace and the service account; a pod's own "
        "are dropped so that it cannot forge them (K8S-14).",
    ),
    LintRule(
        "MUS208", "inert-for-pods", "warning", "A doNotTrack or preDNAT policy selects only pods",
        "Such policies act on host endpoints only; for a pod they are inert and do not even make their tier count "
        "(POL-10).",
    ),
    LintRule(
        "MUS301", "missing-tier", "warning", "A policy names a tier that does not exist",
        "It is enforced all the same, after every other tier, and its tier ends in a denial (POL-4).",
    ),
    LintRule(
        "MUS302", "order-tie", "note", "Two policies that contradict each other have the same order",
        "Ties are broken by name/namespace/kind (POL-3), so renaming one of them changes what is allowed.",
    ),
    LintRule(
        "MUS303", "tier-order-tie", "note", "Two tiers have the same order",
        "Ties are broken by name (POL-1), so renaming a tier changes which is walked first.",
    ),
    LintRule(
        "MUS304", "direction-without-rules", "warning", "A policy governs a direction for which it has no rules",
        "The direction is in its types, so the policy activates the tier's end action there and all that no other "
        "policy of the tier matches is denied (POL-7, POL-11, POL-13).",
    ),
    LintRule(
        "MUS305", "default-deny", "note", "A policy without any rule: default deny",
        "It selects its endpoints and so activates the end of its tier (POL-7, POL-13). A useful idiom, if it is "
        "meant.",
    ),
    LintRule(
        "MUS306", "deny-list-denies-all", "warning", "A policy of Deny rules only denies everything else too",
        "What its rules do not match reaches the end of the tier, which denies (POL-13), as no other policy of the "
        "tier that may apply to the same endpoints allows or passes anything.",
    ),
    LintRule(
        "MUS401", "deny-of-one-family", "warning", "A Deny rule of one address family leaves the other open",
        "A rule with nets of one family says nothing of the other (RULE-13), and the endpoints here have both.",
    ),
    LintRule(
        "MUS402", "not-nets-of-one-family", "warning", "notNets of one family take the whole rule out of the other",
        "When a negated net list has nothing of a packet's family the rule does not apply to that family at all "
        "(RULE-13), instead of excluding nothing.",
    ),
    LintRule(
        "MUS403", "everything-of-one-family", "warning", "A /0 net means everything of one family only",
        "0.0.0.0/0 is every IPv4 address and no IPv6 address, ::/0 the other way round (RULE-13), and the endpoints "
        "here have both.",
    ),
    LintRule(
        "MUS404", "icmp-of-the-other-family", "warning", "An ICMP type of the other family's ICMP",
        "ICMP is IPv4's and ICMPv6 IPv6's (RULE-4), and their types differ: an echo request is 8 in one, 128 in the "
        "other.",
    ),
    LintRule(
        "MUS405", "lone-not-selector", "warning", "A lone notSelector in a global policy matches the whole internet",
        "In a policy without a namespace it means: not an address of an endpoint that matches. Addresses that belong "
        "to no endpoint at all pass (RULE-7).",
    ),
    LintRule(
        "MUS406", "http-ignored", "note", "http is not seen at layers 3 and 4",
        "The kernel evaluates the rule as if http were absent: the connection is admitted, and a request is refused "
        "only where an L7 proxy checks it (RULE-15).",
    ),
    LintRule(
        "MUS407", "host-bits", "warning", "A CIDR with host bits set means its whole network",
        "10.0.0.7/24 is masked to 10.0.0.0/24 (K8S-9). A single address is /32 or /128.",
    ),
    LintRule(
        "MUS501", "empty-port-entry", "warning", "A port entry without a port and a protocol means all of TCP",
        "The protocol of an entry is TCP when it is absent, and an entry without a port is every port (K8S-10): `- {}` "
        "is not everything, UDP stays closed.",
    ),
    LintRule(
        "MUS502", "separate-selectors", "warning", "namespaceSelector and podSelector stand in separate entries",
        "Entries of a list are alternatives: every pod of those namespaces, or such pods of this namespace. Both in "
        "one entry mean such pods of those namespaces (K8S-9).",
    ),
    LintRule(
        "MUS503", "empty-list-means-any", "warning", "An empty list means any, not none",
        "An empty from, to or ports is the same as an absent one: every peer, every port (K8S-9, K8S-10).",
    ),
    LintRule(
        "MUS504", "egress-without-dns", "note", "An egress policy that lets no DNS query out",
        "Once a policy governs egress, look-ups need a rule for port 53 like all other traffic (POL-13); without one "
        "names do not resolve.",
    ),
    LintRule(
        "MUS505", "unknown-peer-kind", "warning", "A cluster-scoped policy names a kind of peer that Calico does not "
        "know",
        "With a peer by nodes or domainNames a rule fails closed: Deny and Pass become a denial of everything, Accept "
        "is dropped (K8S-12).",
    ),
    LintRule(
        "MUS601", "host-lock-out", "error", "A host endpoint closes its host",
        "With a host endpoint present, and neither a policy nor a profile that lets traffic through, all that the host "
        "sends and receives itself is dropped, except on failsafe ports (HEP-7).",
    ),
    LintRule(
        "MUS602", "untracked-on-all-interfaces", "warning", "doNotTrack does nothing on a host endpoint for all "
        "interfaces",
        "Untracked policy needs a named interface or an address; it is ignored on interface * (HEP-4).",
    ),
    LintRule(
        "MUS701", "pass-in-profile", "warning", "Pass in a profile means different things",
        "iptables and nftables go on to the next profile, eBPF denies (POL-14).",
    ),
    LintRule(
        "MUS801", "staged-delete-of-nothing", "warning", "A staged Delete finds nothing to delete",
        "stagedAction Delete deletes the policy of its name in its tier; there is none, so committing it does nothing.",
    ),
    LintRule(
        "MUS802", "staged-as-enforced", "note", "A staged policy says what is enforced already",
        "Committing it changes nothing.",
    ),
    LintRule(
        "MUS803", "staged-beside-enforced", "note", "Calico's pending trace does not show what committing does",
        "A pending trace walks a staged policy beside the enforced one of its name and does not know Delete (FL-6); "
        "committing replaces or deletes.",
    ),
    LintRule(
        "MUS804", "staged-activation", "note", "Committing a staged policy turns on default deny",
        "The end of a tier denies for an endpoint as soon as one enforced policy of the tier governs it; a tier with "
        "staged policies only is as good as absent (POL-13).",
    ),
)  # fmt: skip

RULES: dict[str, LintRule] = {rule.id: rule for rule in _RULES}
