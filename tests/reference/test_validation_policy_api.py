# ruff: noqa: E501 - a table has one line per case
"""What the API server refuses of policy.networking.k8s.io, each with its message (K8S-12).

A case is a kind, what stands in its spec (subject and whatever else is needed are filled in), and the message.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from reference.resources import ManifestError, load

V1, V2 = "policy.networking.k8s.io/v1alpha1", "policy.networking.k8s.io/v1alpha2"
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cnp": (V2, "ClusterNetworkPolicy", {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}}),
    "anp": (V1, "AdminNetworkPolicy", {"priority": 1, "subject": {"namespaces": {}}}),
    "banp": (V1, "BaselineAdminNetworkPolicy", {"subject": {"namespaces": {}}}),
}


def manifest(kind: str, body: str, name: str = "default") -> dict[str, Any]:
    """A manifest; a field of the spec that is null is left out."""
    version, word, base = KINDS[kind]
    return {
        "apiVersion": version,
        "kind": word,
        "metadata": {"name": name},
        "spec": {**base, **yaml.safe_load(f"{{{body}}}")},
    }


def refusal(source: dict[str, Any]) -> str:
    """Why it is refused, without where."""
    with pytest.raises(ManifestError) as caught:
        load(source)
    return str(caught.value).partition("default: ")[2] or str(caught.value)


FROM = "from: [{namespaces: {}}]"
TO = "to: [{namespaces: {}}]"
LABEL = "is not a label value (letters, digits, -, _ and ., a letter or digit at both ends)"
CASES = [
    # -- ClusterNetworkPolicy
    ("cnp", "tier: null", "spec.tier: required, but missing"),
    ("cnp", "tier: admin", 'spec.tier: expected Admin or Baseline, found "admin"; did you mean "Admin"?'),
    ("cnp", "tier: default", 'spec.tier: expected Admin or Baseline, found "default"'),
    ("cnp", "priority: null", "spec.priority: required, but missing"),
    ("cnp", "priority: -1", "spec.priority: -1 is not a priority from 0 to 1000"),
    ("cnp", "priority: 1001", "spec.priority: 1001 is not a priority from 0 to 1000"),
    ("cnp", "priority: '5'", 'spec.priority: expected a whole number, found the string "5"; remove the quotes'),
    ("cnp", "priority: 1.5", "spec.priority: expected a whole number, found the number 1.5"),
    ("cnp", "subject: null", "spec.subject: required, but missing"),
    ("cnp", "subject: {}", "spec.subject: nothing is given; give exactly one of namespaces, pods"),
    ("cnp", "subject: {namespaces: {}, pods: {podSelector: {}}}", "spec.subject: namespaces and pods are given; give exactly one of namespaces, pods"),
    ("cnp", "subject: {pods: {}}", "spec.subject.pods.podSelector: required, but missing"),
    ("cnp", "subject: {namespaceSelector: {}}", "spec.subject.namespaceSelector: unknown field; did you mean \"namespaces\"?"),
    ("cnp", "subject: {namespaces: {matchLabels: {a: '-'}}}", f'spec.subject.namespaces.matchLabels.a: "-" {LABEL}'),
    ("cnp", "subject: {pods: {podSelector: {matchExpressions: [{key: a, operator: In}]}}}", "spec.subject.pods.podSelector.matchExpressions[0].values: In needs at least one value"),
    ("cnp", "subject: {pods: {podSelector: {}, namespaceSelector: {matchLabels: {a: '-'}}}}", f'spec.subject.pods.namespaceSelector.matchLabels.a: "-" {LABEL}'),
    ("cnp", "order: 5", "spec.order: unknown field; known: tier, priority, subject, ingress, egress"),
    ("cnp", f"ingress: [{{{FROM}}}]", "spec.ingress[0].action: required, but missing"),
    ("cnp", f"ingress: [{{action: Allow, {FROM}}}]", 'spec.ingress[0].action: expected Accept, Deny or Pass, found "Allow"'),
    ("cnp", "ingress: [{action: Deny}]", "spec.ingress[0].from: required, but missing"),
    ("cnp", "ingress: [{action: Deny, from: []}]", "spec.ingress[0].from: an empty list; name a peer, namespaces: {} for every pod"),
    ("cnp", "egress: [{action: Deny, to: []}]", "spec.egress[0].to: an empty list; name a peer, namespaces: {} for every pod"),
    ("cnp", "ingress: [{action: Deny, from: [{}]}]", "spec.ingress[0].from[0]: nothing is given; give exactly one of namespaces, pods"),
    ("cnp", "ingress: [{action: Deny, from: [{networks: [10.0.0.0/8]}]}]", "spec.ingress[0].from[0].networks: unknown field; known: namespaces, pods"),
    ("cnp", "ingress: [{action: Deny, from: [{podSelector: {}}]}]", "spec.ingress[0].from[0].podSelector: unknown field; known: namespaces, pods"),
    ("cnp", "egress: [{action: Deny, to: [{}]}]", "spec.egress[0].to[0]: nothing is given; give exactly one of namespaces, pods, networks, nodes, domainNames"),
    ("cnp", "egress: [{action: Deny, to: [{nodes: {}, networks: [10.0.0.0/8]}]}]", "spec.egress[0].to[0]: networks and nodes are given; give exactly one of namespaces, pods, networks, nodes, domainNames"),
    ("cnp", "egress: [{action: Deny, to: [{networks: []}]}]", "spec.egress[0].to[0].networks: an empty list; name a CIDR"),
    ("cnp", "egress: [{action: Deny, to: [{networks: [10.0.0.1]}]}]", "spec.egress[0].to[0].networks[0]: 10.0.0.1 is an address, not a CIDR; write 10.0.0.1/32"),
    ("cnp", "egress: [{action: Deny, to: [{networks: [any]}]}]", 'spec.egress[0].to[0].networks[0]: "any" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
    ("cnp", "egress: [{action: Deny, to: [{networks: [10.0.0.0/8, 10.0.0.0/8]}]}]", "spec.egress[0].to[0].networks[1]: 10.0.0.0/8 is there twice"),
    ("cnp", f"egress: [{{action: Deny, to: [{{networks: [{', '.join(f'10.{n}.0.0/16' for n in range(26))}]}}]}}]", "spec.egress[0].to[0].networks: 26 CIDRs; at most 25"),
    ("cnp", "egress: [{action: Accept, to: [{domainNames: []}]}]", "spec.egress[0].to[0].domainNames: an empty list; name a domain"),
    ("cnp", "egress: [{action: Accept, to: [{domainNames: ['*']}]}]", 'spec.egress[0].to[0].domainNames[0]: "*" is not a domain such as example.com or *.example.com'),
    ("cnp", "egress: [{action: Accept, to: [{domainNames: [a.b, a.b]}]}]", "spec.egress[0].to[0].domainNames[1]: a.b is there twice"),
    ("cnp", "egress: [{action: Deny, to: [{nodes: {matchLabels: {a: '-'}}}]}]", f'spec.egress[0].to[0].nodes.matchLabels.a: "-" {LABEL}'),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, ports: []}}]", "spec.ingress[0].ports: unknown field; known: action, from, name, protocols"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: []}}]", "spec.ingress[0].protocols: an empty list; leave the field out to match every packet"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{}}]}}]", "spec.ingress[0].protocols[0]: nothing is given; give exactly one of tcp, udp, sctp, destinationNamedPort"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{tcp: {{}}}}]}}]", "spec.ingress[0].protocols[0].tcp.destinationPort: required, but missing"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{icmp: {{}}}}]}}]", "spec.ingress[0].protocols[0].icmp: unknown field; known: tcp, udp, sctp, destinationNamedPort"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{tcp: {{destinationPort: {{number: 1}}}}, udp: {{destinationPort: {{number: 1}}}}}}]}}]", "spec.ingress[0].protocols[0]: tcp and udp are given; give exactly one of tcp, udp, sctp, destinationNamedPort"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{tcp: {{destinationPort: {{}}}}}}]}}]", "spec.ingress[0].protocols[0].tcp.destinationPort: nothing is given; give exactly one of number, range"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{tcp: {{destinationPort: {{number: 1, range: {{start: 1, end: 2}}}}}}}}]}}]", "spec.ingress[0].protocols[0].tcp.destinationPort: number and range are given; give exactly one of number, range"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{udp: {{destinationPort: {{number: 0}}}}}}]}}]", "spec.ingress[0].protocols[0].udp.destinationPort.number: 0 is not a port from 1 to 65535"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{tcp: {{destinationPort: {{number: http}}}}}}]}}]", 'spec.ingress[0].protocols[0].tcp.destinationPort.number: expected a whole number, found the string "http"'),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{sctp: {{destinationPort: {{range: {{start: 5, end: 5}}}}}}}}]}}]", "spec.ingress[0].protocols[0].sctp.destinationPort.range.end: 5 is not above start 5"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{sctp: {{destinationPort: {{range: {{start: 5, end: 70000}}}}}}}}]}}]", "spec.ingress[0].protocols[0].sctp.destinationPort.range.end: 70000 is not a port from 1 to 65535"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{sctp: {{destinationPort: {{range: {{start: 5}}}}}}}}]}}]", "spec.ingress[0].protocols[0].sctp.destinationPort.range.end: required, but missing"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, protocols: [{{destinationNamedPort: '80'}}]}}]", 'spec.ingress[0].protocols[0].destinationNamedPort: "80" is a number in quotes; remove the quotes'),
    ("cnp", "egress: [{action: Deny, to: [{namespaces: {}}, {networks: [10.0.0.0/8]}], protocols: [{tcp: {destinationPort: {number: 1}}}, {destinationNamedPort: http}]}]", "spec.egress[0].protocols[1].destinationNamedPort: a port has a name only at a pod; networks, nodes and domainNames are no pods"),
    ("cnp", f"ingress: [{{action: Deny, {FROM}, name: {'n' * 101}}}]", "spec.ingress[0].name: 101 characters; at most 100"),
    ("cnp", f"ingress: [{', '.join([f'{{action: Deny, {FROM}}}'] * 26)}]", "spec.ingress: 26 rules; at most 25"),
    ("cnp", f"egress: [{{action: Deny, to: [{', '.join(['{namespaces: {}}'] * 26)}]}}]", "spec.egress[0].to: 26 peers; at most 25"),
    ("cnp", f"egress: [{{action: Deny, {TO}, protocols: [{', '.join(['{destinationNamedPort: a}'] * 26)}]}}]", "spec.egress[0].protocols: 26 protocols; at most 25"),
    # -- AdminNetworkPolicy
    ("anp", "priority: 1001", "spec.priority: 1001 is not a priority from 0 to 1000"),
    ("anp", "tier: Admin", "spec.tier: unknown field; known: priority, subject, ingress, egress"),
    ("anp", "subject: {pods: {podSelector: {}}}", "spec.subject.pods.namespaceSelector: required, but missing; {} is every namespace"),
    ("anp", "ingress: [{action: Deny, from: [{pods: {podSelector: {}}}]}]", "spec.ingress[0].from[0].pods.namespaceSelector: required, but missing; {} is every namespace"),
    ("anp", f"ingress: [{{action: Accept, {FROM}}}]", 'spec.ingress[0].action: expected Allow, Deny or Pass, found "Accept"'),
    ("anp", f"ingress: [{{action: Deny, {FROM}, protocols: []}}]", "spec.ingress[0].protocols: unknown field; known: action, from, name, ports"),
    ("anp", f"ingress: [{{action: Deny, {FROM}, ports: []}}]", "spec.ingress[0].ports: an empty list; leave the field out to match every packet"),
    ("anp", f"ingress: [{{action: Deny, {FROM}, ports: [{{}}]}}]", "spec.ingress[0].ports[0]: nothing is given; give exactly one of portNumber, portRange, namedPort"),
    ("anp", f"ingress: [{{action: Deny, {FROM}, ports: [{{namedPort: a, portNumber: {{port: 1}}}}]}}]", "spec.ingress[0].ports[0]: portNumber and namedPort are given; give exactly one of portNumber, portRange, namedPort"),
    ("anp", f"ingress: [{{action: Deny, {FROM}, ports: [{{portNumber: {{port: 65536}}}}]}}]", "spec.ingress[0].ports[0].portNumber.port: 65536 is not a port from 1 to 65535"),
    ("anp", f"ingress: [{{action: Deny, {FROM}, ports: [{{portNumber: {{protocol: ICMP, port: 1}}}}]}}]", 'spec.ingress[0].ports[0].portNumber.protocol: expected SCTP, TCP or UDP, found "ICMP"'),
    ("anp", f"ingress: [{{action: Deny, {FROM}, ports: [{{portRange: {{start: 9, end: 8}}}}]}}]", "spec.ingress[0].ports[0].portRange.end: 8 is not above start 9"),
    ("anp", f"ingress: [{{action: Deny, {FROM}, ports: [{{namedPort: A_B}}]}}]", 'spec.ingress[0].ports[0].namedPort: "A_B" is not a port name (a-z, 0-9 and single -, at least one letter)'),
    ("anp", "egress: [{action: Deny, to: [{nodes: {}}], ports: [{namedPort: http}]}]", "spec.egress[0].ports[0].namedPort: a port has a name only at a pod; networks, nodes and domainNames are no pods"),
    ("anp", f"ingress: [{', '.join([f'{{action: Deny, {FROM}}}'] * 101)}]", "spec.ingress: 101 rules; at most 100"),
    # -- BaselineAdminNetworkPolicy
    ("banp", "priority: 5", "spec.priority: unknown field; known: subject, ingress, egress"),
    ("banp", f"ingress: [{{action: Pass, {FROM}}}]", 'spec.ingress[0].action: expected Allow or Deny, found "Pass"'),
    ("banp", f"egress: [{{action: Pass, {TO}}}]", 'spec.egress[0].action: expected Allow or Deny, found "Pass"'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "message"), CASES)
def test_refused(kind: str, body: str, message: str) -> None:
    """An invalid policy gives this one message."""
    assert refusal(manifest(kind, body)) == message


def test_one_baseline() -> None:
    """The baseline of v1alpha1 has one name."""
    with pytest.raises(
        ManifestError, match=r'metadata.name: "mine"; there is one BaselineAdminNetworkPolicy, named default'
    ):
        load(manifest("banp", "", name="mine"))


def test_cluster_scope() -> None:
    """A namespace is refused."""
    source = manifest("cnp", "")
    source["metadata"]["namespace"] = "shop"
    with pytest.raises(
        ManifestError, match=r"metadata.namespace: a ClusterNetworkPolicy belongs to no namespace; remove the field"
    ):
        load(source)


def test_versions() -> None:
    """Each kind has its version, and the message says which."""
    with pytest.raises(ManifestError) as caught:
        load({**manifest("cnp", ""), "apiVersion": V1})

    assert str(caught.value).endswith(f'apiVersion: "{V1}" has no ClusterNetworkPolicy; use {V2}')
