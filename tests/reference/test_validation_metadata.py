# ruff: noqa: E501 - a table has one line per case
"""Names, labels and annotations that are refused, each with its message.

A case is a template (the text around it, and how the message begins), what is wrong, and the rest of the message.
"""

from __future__ import annotations

import pytest

from reference.resources import ManifestError, parse

# fmt: off
PODM = ("apiVersion: v1\nkind: Pod\nmetadata: {body}\n", "m.yaml:3: document 1, ")
NSM = ("apiVersion: v1\nkind: Namespace\nmetadata: {body}\n", "m.yaml:3: document 1, ")
NPM = ("apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {body}\n", "m.yaml:3: document 1, ")
GNPM = ("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {body}\n", "m.yaml:3: document 1, ")
TIERM = ("apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {body}\n", "m.yaml:3: document 1, ")
PROFM = ("apiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {body}\n", "m.yaml:3: document 1, ")
SETM = ("apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {body}\n", "m.yaml:3: document 1, ")
GSETM = ("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {body}\n", "m.yaml:3: document 1, ")

CASES = [
    (PODM, "{name: Web}", 'Pod Web: metadata.name: "Web" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    (PODM, "{name: 'a..b'}", 'Pod a..b: metadata.name: "a..b" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    (PODM, "{name: " + "a" * 254 + "}", 'Pod ' + 'a' * 254 + ': metadata.name: "' + 'a' * 59 + '… (254 characters) is 254 characters long; at most 253'),
    (PODM, "{name: ''}", "Pod: metadata.name: required, but empty"),
    (NSM, "{name: a.b}", 'Namespace a.b: metadata.name: "a.b" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
    (NSM, "{name: " + "a" * 64 + "}", 'Namespace ' + 'a' * 64 + ': metadata.name: "' + 'a' * 64 + '" is 64 characters long; at most 63'),
    (NSM, "{name: shop, namespace: shop}", "Namespace shop/shop: metadata.namespace: a Namespace belongs to no namespace; remove the field"),
    (GNPM, "{name: a, namespace: b}", "GlobalNetworkPolicy b/a: metadata.namespace: a GlobalNetworkPolicy belongs to no namespace; remove the field"),
    (PODM, "{name: a, namespace: A.B}", 'Pod A.B/a: metadata.namespace: "A.B" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
    (NPM, "{name: Web, namespace: shop}", 'NetworkPolicy shop/Web: metadata.name: "Web" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    (NPM, "{name: security.web, namespace: shop}", 'NetworkPolicy shop/security.web: metadata.name: "security.web" is neither a DNS label nor the old form with its own tier, "default.web"'),
    (GNPM, "{name: knp.default.web}", 'GlobalNetworkPolicy knp.default.web: metadata.name: "knp.default.web" is neither a DNS label nor the old form with its own tier, "default.web"'),
    (TIERM, "{name: a.b}", 'Tier a.b: metadata.name: "a.b" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
    (TIERM, "{name: a_b}", 'Tier a_b: metadata.name: "a_b" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
    (PROFM, "{name: kns.shop}", 'Profile kns.shop: metadata.name: "kns.shop": profiles kns.* and ksa.* are made from namespaces and service accounts'),
    (PROFM, "{name: ksa.shop.default}", 'Profile ksa.shop.default: metadata.name: "ksa.shop.default": profiles kns.* and ksa.* are made from namespaces and service accounts'),
    (PODM, "{name: a, labels: {'a b': c}}", 'Pod a: metadata.labels["a b"]: "a b" is not a key (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (PODM, "{name: a, labels: {example.com/a: 'b c'}}", 'Pod a: metadata.labels["example.com/a"]: "b c" is not a label value (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (PODM, "{name: a, labels: {'Ex_ample/a': b}}", 'Pod a: metadata.labels["Ex_ample/a"]: "Ex_ample/a" is not a key: the part before the slash must be a DNS name'),
    (PODM, "{name: a, labels: {app: " + "x" * 64 + "}}", 'Pod a: metadata.labels.app: "' + 'x' * 64 + '" is 64 characters long; at most 63'),
    (PODM, "{name: a, labels: {" + "x" * 64 + ": v}}", 'Pod a: metadata.labels.' + 'x' * 64 + ': "' + 'x' * 64 + '" is not a key: a name of 1 to 63 characters is needed'),
    (PODM, "{name: a, annotations: {'a b': c}}", 'Pod a: metadata.annotations["a b"]: "a b" is not a key (letters, digits, -, _ and ., a letter or digit at both ends)'),
    (PODM, "{name: a, annotations: {big: " + "x" * 262144 + "}}", "Pod a: metadata.annotations: 262147 bytes of annotations; at most 262144"),
    (SETM, "{name: a, labels: {projectcalico.org/namespace: shop}}", 'NetworkSet a: metadata.labels["projectcalico.org/namespace"]: this label is set by Calico, not by users'),
    (GSETM, "{name: a, labels: {projectcalico.org/namespace: shop}}", 'GlobalNetworkSet a: metadata.labels["projectcalico.org/namespace"]: this label is set by Calico, not by users'),
    (PODM, "{name: a, annotations: {cni.projectcalico.org/ipAddrs: 10.0.0.1}}", "Pod a: metadata.annotations[\"cni.projectcalico.org/ipAddrs\"]: expected a JSON list of strings such as '[\"10.244.0.5\"]', found \"10.0.0.1\""),
    (PODM, "{name: a, annotations: {cni.projectcalico.org/ipAddrs: '[]'}}", 'Pod a: metadata.annotations["cni.projectcalico.org/ipAddrs"]: an empty list; name an address or remove the annotation'),
    (PODM, "{name: a, annotations: {cni.projectcalico.org/ipAddrs: '[1]'}}", "Pod a: metadata.annotations[\"cni.projectcalico.org/ipAddrs\"]: expected a JSON list of strings such as '[\"10.244.0.5\"]', found \"[1]\""),
    (PODM, "{name: a, annotations: {cni.projectcalico.org/ipAddrs: '[\"x\"]'}}", 'Pod a: metadata.annotations["cni.projectcalico.org/ipAddrs"]: "x" is not an IP address'),
    (PODM, "{name: a, annotations: {cni.projectcalico.org/ipAddrs: '[\"10.0.0.1\",\"10.0.0.2\"]'}}", 'Pod a: metadata.annotations["cni.projectcalico.org/ipAddrs"]: two IPv4 addresses, 10.0.0.1 and 10.0.0.2; one of each family'),
    (PODM, "{name: a, annotations: {cni.projectcalico.org/ipv4pools: pool}}", "Pod a: metadata.annotations[\"cni.projectcalico.org/ipv4pools\"]: expected a JSON list of strings such as '[\"default-ipv4-ippool\"]', found \"pool\""),
    (NSM, "{name: a, annotations: {cni.projectcalico.org/ipv4pools: '[\"fd00::/64\"]'}}", 'Namespace a: metadata.annotations["cni.projectcalico.org/ipv4pools"]: fd00::/64 is IPv6; this annotation names IPv4 pools'),
    (NSM, "{name: a, annotations: {cni.projectcalico.org/ipv6pools: '[\"Pool_1\"]'}}", 'Namespace a: metadata.annotations["cni.projectcalico.org/ipv6pools"]: "Pool_1" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
]
# fmt: on


@pytest.mark.parametrize(("template", "body", "message"), CASES)
def test_invalid(template: tuple[str, str], body: str, message: str) -> None:
    """The first thing wrong is told in one line: file, line, document, resource, field, and what to do."""
    text, beginning = template

    with pytest.raises(ManifestError) as caught:
        parse(text.replace("{body}", body), "m.yaml")

    assert str(caught.value) == beginning + message
