# ruff: noqa: E501 - a table has one line per case
"""What makes a Calico resource invalid (2b.2, 1.3), each with its message.

A case is a template (the text around it, and how the message begins), what is wrong, and the rest of the message.
"""

from __future__ import annotations

import pytest

from reference.resources import ManifestError, parse

# fmt: off
NP = ("apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1, NetworkPolicy shop/web: ")
GNP = ("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: web}\nspec: {body}\n", "m.yaml:4: document 1, GlobalNetworkPolicy web: ")
SET = ("apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {name: peers, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1, NetworkSet shop/peers: ")
PROF = ("apiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {name: web}\nspec: {body}\n", "m.yaml:4: document 1, Profile web: ")
POOL = ("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: blue}\nspec: {body}\n", "m.yaml:4: document 1, IPPool blue: ")
TIER = ("apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: default}\nspec: {body}\n", "m.yaml:4: document 1, Tier default: ")
ADMIN = ("apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: kube-admin}\nspec: {body}\n", "m.yaml:4: document 1, Tier kube-admin: ")

CASES = [
    (TIER, "{order: 5}", "spec: tier default is built in: its order stays 1000000 and its defaultAction Deny; make a tier of your own instead"),
    (ADMIN, "{order: 1000}", "spec: tier kube-admin is built in: its order stays 1000 and its defaultAction Pass; make a tier of your own instead"),
    (NP, "{tier: Default}", 'spec.tier: "Default" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
    (NP, "{tier: a.b}", 'spec.tier: "a.b" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
    (NP, "{selector: app ==}", "spec.selector: selector 'app ==', column 7: found the end, expected a quoted value"),
    (NP, "{selector: global()}", "spec.selector: global() may only be used in the namespaceSelector of a rule's source or destination"),
    (NP, "{serviceAccountSelector: '(global())'}", "spec.serviceAccountSelector: global() may only be used in the namespaceSelector of a rule's source or destination"),
    (GNP, "{namespaceSelector: global()}", "spec.namespaceSelector: global() may only be used in the namespaceSelector of a rule's source or destination"),
    (NP, "{types: [Ingress, Ingress]}", "spec.types[1]: Ingress is there twice"),
    (NP, "{performanceHints: [AssumeNeededOnEveryNod]}", 'spec.performanceHints[0]: "AssumeNeededOnEveryNod" is not a hint; did you mean "AssumeNeededOnEveryNode"?'),
    (NP, "{performanceHints: [AssumeNeededOnEveryNode, AssumeNeededOnEveryNode]}", "spec.performanceHints[1]: AssumeNeededOnEveryNode is there twice"),
    (GNP, "{preDNAT: true, doNotTrack: true, applyOnForward: true}", "spec.preDNAT: cannot be together with doNotTrack"),
    (GNP, "{preDNAT: true, applyOnForward: true, egress: [{action: Allow}]}", "spec.egress: a preDNAT policy has no egress rules"),
    (GNP, "{preDNAT: true, applyOnForward: true, types: [Ingress, Egress]}", "spec.types[1]: a preDNAT policy cannot govern Egress"),
    (GNP, "{preDNAT: true}", "spec.preDNAT: needs applyOnForward: true"),
    (GNP, "{doNotTrack: true}", "spec.doNotTrack: needs applyOnForward: true"),
    (NP, "{ingress: [" + "{action: Allow}, " * 1025 + "]}", "spec.ingress: 1025 rules; at most 1024"),
    (SET, "{nets: [10.0.0.0/8, 300.1.1.1]}", 'spec.nets[1]: "300.1.1.1" is not an IP address or a CIDR'),
    (SET, "{nets: [example.com]}", 'spec.nets[0]: "example.com" is not an IP address or a CIDR'),
    (PROF, "{labelsToApply: {'a b': c}}", 'spec.labelsToApply["a b"]: "a b" is not a key (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (PROF, "{ingress: [{action: Allow, protocol: TCP, source: {services: {name: a}}}]}", "spec.ingress[0].source.services.namespace: required where the policy itself has no namespace"),
    (PROF, "{egress: [{action: Allow, source: {nets: [x/8]}}]}", 'spec.egress[0].source.nets[0]: "x/8" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
    (POOL, "{cidr: 10.0.0.1/16}", "spec.cidr: 10.0.0.1/16 has bits set outside its mask; write 10.0.0.0/16"),
    (POOL, "{cidr: 10.0.0.1}", "spec.cidr: 10.0.0.1 is an address, not a CIDR; write 10.0.0.1/32"),
    (POOL, "{cidr: ten}", 'spec.cidr: "ten" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
    (POOL, "{cidr: 169.254.1.0/24}", "spec.cidr: 169.254.1.0/24 overlaps the link-local range 169.254.0.0/16"),
    (POOL, "{cidr: 'fe80::/64'}", "spec.cidr: fe80::/64 overlaps the link-local range fe80::/10"),
    (POOL, "{cidr: 10.0.0.0/16, blockSize: 19}", "spec.blockSize: 19: an IPv4 block is a /20 to a /32"),
    (POOL, "{cidr: 10.0.0.0/16, blockSize: 33}", "spec.blockSize: 33: an IPv4 block is a /20 to a /32"),
    (POOL, "{cidr: 'fd00::/64', blockSize: 26}", "spec.blockSize: 26: an IPv6 block is a /116 to a /128"),
    (POOL, "{cidr: 10.0.0.0/28}", "spec.blockSize: a block of /26 is larger than the pool 10.0.0.0/28"),
    (POOL, "{cidr: 'fd00::/64', ipipMode: Always}", "spec.ipipMode: IPIP carries IPv4 only; use vxlanMode, or Never"),
    (POOL, "{cidr: 10.0.0.0/16, ipipMode: Always, vxlanMode: CrossSubnet}", "spec.vxlanMode: CrossSubnet, but ipipMode is Always; one of them must be Never"),
    (POOL, "{cidr: 10.0.0.0/16, nodeSelector: 'zone = a'}", "spec.nodeSelector: selector 'zone = a', column 6: found '=', expected an operator (==, !=, in, not in, contains, starts with, ends with)"),
    (POOL, "{cidr: 10.0.0.0/16, nodeSelector: global()}", "spec.nodeSelector: global() may only be used in the namespaceSelector of a rule's source or destination"),
    (POOL, "{cidr: 10.0.0.0/16, namespaceSelector: 'team == \"a\"'}", "spec.namespaceSelector: tunnels belong to no namespace; set allowedUses: [Workload]"),
    (POOL, "{cidr: 10.0.0.0/16, allowedUses: [Workload, Workload]}", "spec.allowedUses[1]: Workload is there twice"),
    (POOL, "{cidr: 10.0.0.0/16, allowedUses: [Workload, LoadBalancer]}", "spec.allowedUses: LoadBalancer cannot be combined with other uses"),
    (POOL, "{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], vxlanMode: Always}", "spec.vxlanMode: Always, but a LoadBalancer pool has no encapsulation"),
    (POOL, "{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], disableBGPExport: true}", "spec.disableBGPExport: a LoadBalancer pool is always exported"),
    (POOL, "{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], nodeSelector: has(a)}", "spec.nodeSelector: a LoadBalancer pool belongs to no node; use all()"),
]
# fmt: on


@pytest.mark.parametrize(("template", "body", "message"), CASES)
def test_invalid(template: tuple[str, str], body: str, message: str) -> None:
    """The first thing wrong is told in one line: file, line, document, resource, field, and what to do."""
    text, beginning = template

    with pytest.raises(ManifestError) as caught:
        parse(text.replace("{body}", body), "m.yaml")

    assert str(caught.value) == beginning + message
