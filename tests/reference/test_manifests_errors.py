# ruff: noqa: E501 - a table has one line per case
"""Manifests of the wrong shape: each with the one line it gets.

A case is a template (the text around it, and how the message begins), what is wrong, and the rest of the message.
"""

from __future__ import annotations

import pytest

from reference.resources import ManifestError, parse
from reference.resources.kinds import manifest_kinds

# fmt: off
RAW = ("{body}", "m.yaml:")
PODM = ("apiVersion: v1\nkind: Pod\nmetadata: {body}\n", "m.yaml:3: document 1")
NP = ("apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1")
GNP = ("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: web}\nspec: {body}\n", "m.yaml:4: document 1")
TIER = ("apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: security}\nspec: {body}\n", "m.yaml:4: document 1")
SET = ("apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {name: peers, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1")
POOL = ("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: blue}\nspec: {body}\n", "m.yaml:4: document 1")
KNP = ("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1")
POD = ("apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1")

CASES = [
    (RAW, "kind: Pod\n", "1: document 1, Pod: apiVersion: required, but missing"),
    (RAW, "apiVersion: v1\n", "1: document 1: kind: required, but missing"),
    (RAW, "apiversion: v1\nkind: Pod\n", '1: document 1, Pod: apiversion: unknown field; did you mean "apiVersion"?'),
    (RAW, "apiVersion: v1\nkind: 7\n", "2: document 1, 7: kind: expected a string, found 7"),
    (RAW, "apiVersion: v1\nkind: Deployment\n", '2: document 1, Deployment: kind: unknown kind "Deployment"; known: ' + ", ".join(manifest_kinds())),
    (RAW, "apiVersion: v1\nkind: Pdo\n", '2: document 1, Pdo: kind: unknown kind "Pdo"; did you mean "Pod"?'),
    (RAW, "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\n", '1: document 1, NetworkPolicy: apiVersion: "extensions/v1beta1" has no NetworkPolicy; use networking.k8s.io/v1 or projectcalico.org/v3 or crd.projectcalico.org/v1'),
    (RAW, "apiVersion: v2\nkind: Pod\n", '1: document 1, Pod: apiVersion: "v2" has no Pod; use v1'),
    (RAW, "apiVersion: projectcalico.org/v1\nkind: Tier\n", '1: document 1, Tier: apiVersion: "projectcalico.org/v1" has no Tier; use projectcalico.org/v3 or crd.projectcalico.org/v1'),
    (RAW, "- a\n- b\n", "1: document 1: expected a mapping with apiVersion and kind, found a list"),
    (RAW, "just text\n", '1: document 1: expected a mapping with apiVersion and kind, found the text "just text"'),
    (RAW, "apiVersion: v1\nkind: PodsList\n", '2: document 1, PodsList: kind: unknown kind "PodsList"; did you mean "Pod"?'),
    (RAW, "apiVersion: v2\nkind: List\n", '1: document 1, List: apiVersion: "v2" has no List; use v1'),
    (RAW, "apiVersion: v1\nkind: List\nitems: {}\n", "3: document 1, List: items: expected a list, found a mapping"),
    (RAW, "apiVersion: v1\nkind: List\nitem: []\n", "3: document 1, List: item: unknown field; a List has apiVersion, kind, metadata and items"),
    (RAW, "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: B\n", '11: document 1, Pod B: items[1].metadata.name: "B" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    (RAW, "apiVersion: v1\nkind: PodList\nitems: [7]\n", "3: document 1: items[0]: expected a mapping with apiVersion and kind, found the value 7"),
    (RAW, "apiVersion: v1\nkind: Pod\n", "1: document 1, Pod: metadata: required, but missing"),
    (RAW, "apiVersion: v1\nkind: Pod\nmetadata: {}\n", "3: document 1, Pod: metadata.name: required, but missing"),
    (RAW, "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", "3: document 1, Pod: metadata.name: required; names are not generated from generateName here"),
    (RAW, "apiVersion: v1\nkind: Pod\nmetadata: web\n", '3: document 1, Pod: metadata: expected a mapping, found the string "web"'),
    (RAW, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nresource: Pod\n", "4: document 1, Pod a: resource: unknown field"),
    (RAW, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspce: {}\n", '4: document 1, Pod a: spce: unknown field; did you mean "spec"?'),
    (PODM, "{name: 7}", ', Pod 7: metadata.name: expected a string, found the number 7; quote it: "7"'),
    (PODM, "{name: a, labels: {on: 'x'}}", ": metadata.labels: key on is not a string; quote it"),
    (PODM, "{name: a, labels: {app: yes}}", ', Pod a: metadata.labels.app: expected a string, found the boolean yes; quote it: "yes"'),
    (PODM, "{name: a, labels: {app: 1}}", ', Pod a: metadata.labels.app: expected a string, found the number 1; quote it: "1"'),
    (PODM, "{name: a, labels: {example.com/v: 1.10}}", ', Pod a: metadata.labels["example.com/v"]: expected a string, found the number 1.10; quote it: "1.10"'),
    (PODM, "{name: a, labels: {app: [x]}}", ", Pod a: metadata.labels.app: expected a string, found a list"),
    (PODM, "{name: a, labels: [x]}", ", Pod a: metadata.labels: expected a mapping, found a list"),
    (PODM, "{name: a, annotations: {rev: 0x1F}}", ', Pod a: metadata.annotations.rev: expected a string, found the number 0x1F; quote it: "0x1F"'),
    (NP, "{ingres: []}", ', NetworkPolicy shop/web: spec.ingres: unknown field; did you mean "ingress"?'),
    (NP, "{ingress: {action: Allow}}", ", NetworkPolicy shop/web: spec.ingress: expected a list, found a mapping"),
    (NP, "{ingress: [Allow]}", ', NetworkPolicy shop/web: spec.ingress[0]: expected a mapping, found the string "Allow"'),
    (NP, "{ingress: [{action: Alow}]}", ', NetworkPolicy shop/web: spec.ingress[0].action: expected Allow, Deny, Log or Pass, found "Alow"; did you mean "Allow"?'),
    (NP, "{ingress: [{action: 7}]}", ", NetworkPolicy shop/web: spec.ingress[0].action: expected Allow, Deny, Log or Pass, found the number 7"),
    (NP, "{ingress: [{}]}", ", NetworkPolicy shop/web: spec.ingress[0].action: required, but missing"),
    (NP, "{ingress: [{action: Allow, source: {nets: [10.0.0.0/8, 7]}}]}", ', NetworkPolicy shop/web: spec.ingress[0].source.nets[1]: expected a string, found the number 7; quote it: "7"'),
    (NP, "{ingress: [{action: Allow, source: {nets: 10.0.0.0/8}}]}", ', NetworkPolicy shop/web: spec.ingress[0].source.nets: expected a list, found the string "10.0.0.0/8"'),
    (NP, "{ingress: [{action: Allow, source: {net: [10.0.0.0/8]}}]}", ', NetworkPolicy shop/web: spec.ingress[0].source.net: unknown field; did you mean "nets"?'),
    (NP, "{ingress: [{action: Allow, ipVersion: 5}]}", ", NetworkPolicy shop/web: spec.ingress[0].ipVersion: expected 4 or 6, found 5"),
    (NP, "{ingress: [{action: Allow, ipVersion: '4'}]}", ', NetworkPolicy shop/web: spec.ingress[0].ipVersion: expected 4 or 6, found the string "4"; remove the quotes'),
    (NP, "{ingress: [{action: Allow, protocol: true}]}", ", NetworkPolicy shop/web: spec.ingress[0].protocol: expected a whole number or a string, found the boolean true"),
    (NP, "{ingress: [{action: Allow, protocol: TCP, destination: {ports: [80.5]}}]}", ", NetworkPolicy shop/web: spec.ingress[0].destination.ports[0]: expected a whole number or a string, found the number 80.5"),
    (NP, "{ingress: [null]}", ", NetworkPolicy shop/web: spec.ingress[0]: expected a mapping, found nothing (null)"),
    (NP, "{order: '10'}", ', NetworkPolicy shop/web: spec.order: expected a number, found the string "10"; remove the quotes'),
    (NP, "{order: high}", ', NetworkPolicy shop/web: spec.order: expected a number, found the string "high"'),
    (NP, "{order: .inf}", ": spec.order: .inf is not a number that JSON has"),
    (NP, "{types: [ingress]}", ', NetworkPolicy shop/web: spec.types[0]: expected Egress or Ingress, found "ingress"; did you mean "Ingress"?'),
    (NP, "{types: Ingress}", ', NetworkPolicy shop/web: spec.types: expected a list, found the string "Ingress"'),
    (NP, "{doNotTrack: true}", ", NetworkPolicy shop/web: spec.doNotTrack: unknown field; known: tier, order, selector, serviceAccountSelector, types, ingress, egress, performanceHints"),
    (GNP, "{doNotTrack: 'true'}", ', GlobalNetworkPolicy web: spec.doNotTrack: expected true or false, found the string "true"; remove the quotes'),
    (GNP, "{applyOnForward: 1}", ", GlobalNetworkPolicy web: spec.applyOnForward: expected true or false, found the number 1"),
    (TIER, "{defaultAction: Allow}", ', Tier security: spec.defaultAction: expected Deny or Pass, found "Allow"'),
    (TIER, "{defaultAction: pass}", ', Tier security: spec.defaultAction: expected Deny or Pass, found "pass"; did you mean "Pass"?'),
    (SET, "{nets: [null]}", ", NetworkSet shop/peers: spec.nets[0]: expected a string, found nothing (null)"),
    (POOL, "{}", ", IPPool blue: spec.cidr: required, but missing"),
    (RAW, "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: blue}\n", "1: document 1, IPPool blue: spec: required, but missing"),
    (POOL, "{cidr: 10.0.0.0/16, blockSize: '26'}", ', IPPool blue: spec.blockSize: expected a whole number, found the string "26"; remove the quotes'),
    (POOL, "{cidr: 10.0.0.0/16, ipipMode: always}", ', IPPool blue: spec.ipipMode: expected Always, CrossSubnet or Never, found "always"; did you mean "Always"?'),
    (POOL, "{cidr: 10.0.0.0/16, allowedUses: [Pods]}", ', IPPool blue: spec.allowedUses[0]: expected LoadBalancer, Tunnel or Workload, found "Pods"'),
    (POOL, "{cidr: 10.0.0.0/16, natOutgoing: yes please}", ', IPPool blue: spec.natOutgoing: expected true or false, found the string "yes please"'),
    (KNP, "{podSelector: all}", ', NetworkPolicy shop/web: spec.podSelector: expected a mapping, found the string "all"'),
    (KNP, "{podSelector: {matchLabels: {app: true}}}", ', NetworkPolicy shop/web: spec.podSelector.matchLabels.app: expected a string, found the boolean true; quote it: "true"'),
    (KNP, "{podSelector: {matchExpressions: [{key: a, operator: in}]}}", ', NetworkPolicy shop/web: spec.podSelector.matchExpressions[0].operator: expected DoesNotExist, Exists, In or NotIn, found "in"; did you mean "In"?'),
    (KNP, "{podSelector: {matchExpressions: [{operator: In}]}}", ", NetworkPolicy shop/web: spec.podSelector.matchExpressions[0].key: required, but missing"),
    (KNP, "{ingress: [{from: {podSelector: {}}}]}", ", NetworkPolicy shop/web: spec.ingress[0].from: expected a list, found a mapping"),
    (KNP, "{ingress: [{to: []}]}", ", NetworkPolicy shop/web: spec.ingress[0].to: unknown field; known: from, ports"),
    (KNP, "{ingress: [{ports: [{port: true}]}]}", ", NetworkPolicy shop/web: spec.ingress[0].ports[0].port: expected a whole number or a string, found the boolean true"),
    (KNP, "{ingress: [{ports: [{protocol: ICMP}]}]}", ', NetworkPolicy shop/web: spec.ingress[0].ports[0].protocol: expected SCTP, TCP or UDP, found "ICMP"'),
    (KNP, "{ingress: [{from: [{ipBlock: {}}]}]}", ", NetworkPolicy shop/web: spec.ingress[0].from[0].ipBlock.cidr: required, but missing"),
    (POD, "{containers: [{name: a, ports: [{containerPort: '80'}]}]}", ', Pod shop/web: spec.containers[0].ports[0].containerPort: expected a whole number, found the string "80"; remove the quotes'),
    (POD, "{containers: [{ports: []}]}", ", Pod shop/web: spec.containers[0].name: required, but missing"),
    (POD, "{containers: [{name: a, ports: [{name: http}]}]}", ", Pod shop/web: spec.containers[0].ports[0].containerPort: required, but missing"),
    (POD, "{container: []}", ', Pod shop/web: spec.container: unknown field; did you mean "containers"?'),
    (POD, "{hostNetwork: 'yes'}", ', Pod shop/web: spec.hostNetwork: expected true or false, found the string "yes"'),
    (RAW, "a: 1\na: 2\n", "2: document 1: a: the key is there twice"),
    (RAW, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    app: x\n    app: y\n", "7: document 1: metadata.labels.app: the key is there twice"),
    (RAW, "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a\n", "4: document 1: not YAML: a tab where YAML wants spaces"),
    (RAW, "a: [1, 2\nb: 3\n", "2: document 1: not YAML: did not find expected ',' or ']'"),
    (RAW, "a: b: c\n", "1: document 1: not YAML: mapping values are not allowed in this context"),
    (RAW, "a: 'open\n", "2: document 1: not YAML: found unexpected end of stream"),
    (RAW, "a: *nothing\n", "1: document 1: not YAML: found undefined alias"),
    (RAW, "a: !secret x\n", '1: document 1: a: "x" with tag "!secret" is not understood'),
    (RAW, "a: !!int x\n", '1: document 1: a: "x" with tag "tag:yaml.org,2002:int" is not understood'),
    (RAW, "a: !!set {x}\n", '1: document 1: a: tag "tag:yaml.org,2002:set" is not understood'),
    (RAW, "? [a]\n: b\n", "1: document 1: a key must be a string"),
    (RAW, "a: \x01\n", "1: document 1: not YAML: control characters are not allowed"),
    (RAW, "a: 1\n---\nb: [\n", "1: document 1: apiVersion: required, but missing"),
    (RAW, "yes: 1\n", "1: document 1: key yes is not a string; quote it"),
    (RAW, "<<: 7\n", "1: document 1: << wants a mapping or a list of mappings"),
    (RAW, "a: &x [*x]\n", "1: document 1: nested more than 100 levels deep"),
]
# fmt: on


@pytest.mark.parametrize(("template", "body", "message"), CASES)
def test_invalid(template: tuple[str, str], body: str, message: str) -> None:
    """The first thing wrong is told in one line: file, line, document, resource, field, and what to do."""
    text, beginning = template

    with pytest.raises(ManifestError) as caught:
        parse(text.replace("{body}", body), "m.yaml")

    assert str(caught.value) == beginning + message
