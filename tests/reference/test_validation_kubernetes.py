# ruff: noqa: E501 - a table has one line per case
"""What the API server refuses of Kubernetes' own kinds, each with its message.

A case is a template (the text around it, and how the message begins), what is wrong, and the rest of the message.
"""

from __future__ import annotations

import pytest

from reference.resources import ManifestError, parse

# fmt: off
KNP = ("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1, NetworkPolicy shop/web: ")
POD = ("apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {body}\n", "m.yaml:4: document 1, Pod shop/web: ")
PODS = ("apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nstatus: {body}\n", "m.yaml:4: document 1, Pod shop/web: ")
NODE = ("apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n{body}\n", "m.yaml:4: document 1, Node node-1: ")

CASES = [
    (KNP, "{podSelector: {matchLabels: {app: 'a b'}}}", 'spec.podSelector.matchLabels.app: "a b" is not a label value (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (KNP, "{podSelector: {matchLabels: {'/x': a}}}", 'spec.podSelector.matchLabels["/x"]: "/x" is not a key: the part before the slash must be a DNS name'),
    (KNP, "{podSelector: {matchExpressions: [{key: app, operator: In}]}}", "spec.podSelector.matchExpressions[0].values: In needs at least one value"),
    (KNP, "{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: []}]}}", "spec.podSelector.matchExpressions[0].values: NotIn needs at least one value"),
    (KNP, "{podSelector: {matchExpressions: [{key: app, operator: Exists, values: [a]}]}}", "spec.podSelector.matchExpressions[0].values: Exists takes no values"),
    (KNP, "{podSelector: {matchExpressions: [{key: app, operator: DoesNotExist, values: [a]}]}}", "spec.podSelector.matchExpressions[0].values: DoesNotExist takes no values"),
    (KNP, "{podSelector: {matchExpressions: [{key: 'a b', operator: Exists}]}}", 'spec.podSelector.matchExpressions[0].key: "a b" is not a key (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (KNP, "{podSelector: {matchExpressions: [{key: app, operator: In, values: [ok, 'no good']}]}}", 'spec.podSelector.matchExpressions[0].values[1]: "no good" is not a label value (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (KNP, "{podSelector: {}, policyTypes: [Ingress, Egress, Ingress]}", "spec.policyTypes: 3 entries; there are two directions"),
    (KNP, "{ingress: [{from: [{}]}]}", "spec.ingress[0].from[0]: an empty peer; give podSelector, namespaceSelector or ipBlock"),
    (KNP, "{egress: [{to: [{podSelector: {}}, {}]}]}", "spec.egress[0].to[1]: an empty peer; give podSelector, namespaceSelector or ipBlock"),
    (KNP, "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}", "spec.ingress[0].from[0].podSelector: cannot stand beside ipBlock; make it a peer of its own"),
    (KNP, "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}]}]}", "spec.ingress[0].from[0].namespaceSelector: cannot stand beside ipBlock; make it a peer of its own"),
    (KNP, "{ingress: [{from: [{ipBlock: {cidr: nonsense}}]}]}", 'spec.ingress[0].from[0].ipBlock.cidr: "nonsense" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
    (KNP, "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]}", "spec.ingress[0].from[0].ipBlock.cidr: 10.0.0.1 is an address, not a CIDR; write 10.0.0.1/32"),
    (KNP, "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}", "spec.ingress[0].from[0].ipBlock.except[0]: 11.0.0.0/16 is not a smaller part of 10.0.0.0/8"),
    (KNP, "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.0.0.0/8]}}]}]}", "spec.ingress[0].from[0].ipBlock.except[1]: 10.0.0.0/8 is not a smaller part of 10.0.0.0/8"),
    (KNP, "{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: ['fd00::/16']}}]}]}", "spec.egress[0].to[0].ipBlock.except[0]: fd00::/16 is not a smaller part of 10.0.0.0/8"),
    (KNP, "{egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [ten]}}]}]}", 'spec.egress[0].to[0].ipBlock.except[0]: "ten" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
    (KNP, "{egress: [{to: [{namespaceSelector: {matchLabels: {a: '-'}}}]}]}", 'spec.egress[0].to[0].namespaceSelector.matchLabels.a: "-" is not a label value (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (KNP, "{ingress: [{ports: [{port: 0}]}]}", "spec.ingress[0].ports[0].port: 0 is not a port from 1 to 65535"),
    (KNP, "{ingress: [{ports: [{port: 70000}]}]}", "spec.ingress[0].ports[0].port: 70000 is not a port from 1 to 65535"),
    (KNP, "{ingress: [{ports: [{port: '80'}]}]}", 'spec.ingress[0].ports[0].port: "80" is a number in quotes; remove the quotes'),
    (KNP, "{ingress: [{ports: [{port: Web_1}]}]}", 'spec.ingress[0].ports[0].port: "Web_1" is not a port name (a-z, 0-9 and single -, at least one letter)'),
    (KNP, "{ingress: [{ports: [{port: a-very-long-port-name}]}]}", 'spec.ingress[0].ports[0].port: "a-very-long-port-name" is 21 characters long; a port name has at most 15'),
    (KNP, "{ingress: [{ports: [{endPort: 90}]}]}", "spec.ingress[0].ports[0].endPort: needs port, the first of the range"),
    (KNP, "{ingress: [{ports: [{port: http, endPort: 90}]}]}", 'spec.ingress[0].ports[0].endPort: needs a number as port, not the name "http"'),
    (KNP, "{ingress: [{ports: [{port: 90, endPort: 80}]}]}", "spec.ingress[0].ports[0].endPort: 80 is below port 90"),
    (KNP, "{ingress: [{ports: [{port: 90, endPort: 70000}]}]}", "spec.ingress[0].ports[0].endPort: 70000 is not a port from 1 to 65535"),
    (POD, "{containers: [{name: Web}]}", 'spec.containers[0].name: "Web" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
    (POD, "{containers: [{name: a}, {name: a}]}", 'spec.containers[1].name: "a" is there twice'),
    (POD, "{initContainers: [{name: a}], containers: [{name: a}]}", 'spec.containers[0].name: "a" is there twice'),
    (POD, "{containers: [{name: a, ports: [{containerPort: 0}]}]}", "spec.containers[0].ports[0].containerPort: 0 is not a port from 1 to 65535"),
    (POD, "{containers: [{name: a, ports: [{containerPort: 65536}]}]}", "spec.containers[0].ports[0].containerPort: 65536 is not a port from 1 to 65535"),
    (POD, "{containers: [{name: a, ports: [{containerPort: 80, hostPort: 70000}]}]}", "spec.containers[0].ports[0].hostPort: 70000 is not a port from 1 to 65535"),
    (POD, "{containers: [{name: a, ports: [{containerPort: 80, name: http_1}]}]}", 'spec.containers[0].ports[0].name: "http_1" is not a port name (a-z, 0-9 and single -, at least one letter)'),
    (POD, "{containers: [{name: a, ports: [{containerPort: 80, name: http}, {containerPort: 81, name: http}]}]}", 'spec.containers[0].ports[1].name: "http" is there twice in one container'),
    (POD, "{nodeName: Node_1}", 'spec.nodeName: "Node_1" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    (POD, "{serviceAccountName: Api}", 'spec.serviceAccountName: "Api" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    (POD, "{nodeSelector: {'a b': c}}", 'spec.nodeSelector["a b"]: "a b" is not a key (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (PODS, "{podIP: 10.0.0}", 'status.podIP: "10.0.0" is not an IP address'),
    (PODS, "{podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.2}]}", "status.podIPs[1].ip: a second IPv4 address; a pod has one of each family"),
    (PODS, "{podIPs: [{ip: x}]}", 'status.podIPs[0].ip: "x" is not an IP address'),
    (NODE, "status: {addresses: [{type: InternalIP, address: node-1}]}", 'status.addresses[0].address: "node-1" is not an IP address'),
    (NODE, "spec: {podCIDR: 10.0.0.0}", "spec.podCIDR: 10.0.0.0 is an address, not a CIDR; write 10.0.0.0/32"),
    (NODE, "spec: {podCIDRs: [10.0.0.0/24, x]}", 'spec.podCIDRs[1]: "x" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
]
# fmt: on


@pytest.mark.parametrize(("template", "body", "message"), CASES)
def test_invalid(template: tuple[str, str], body: str, message: str) -> None:
    """The first thing wrong is told in one line: file, line, document, resource, field, and what to do."""
    text, beginning = template

    with pytest.raises(ManifestError) as caught:
        parse(text.replace("{body}", body), "m.yaml")

    assert str(caught.value) == beginning + message
