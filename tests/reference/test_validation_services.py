# ruff: noqa: E501 - a table has one line per case
"""What the API server refuses of Service and EndpointSlice, each with its message; and what is filled in."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from reference.resources import EndpointSlice, ManifestError, Service, load, manifest

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}}
SLICE = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "web", "namespace": "shop"}}


def source(body: str) -> dict[str, Any]:
    """A manifest: of a Service when the text begins with `spec`, otherwise of an EndpointSlice."""
    base = SERVICE if body.startswith("spec") else {"addressType": "IPv4", **SLICE}
    return {**base, **yaml.safe_load(f"{{{body}}}")}


LABEL_VALUE = "is not a label value (letters, digits, -, _ and ., a letter or digit at both ends)"
DNS_LABEL = "is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)"
CASES = [
    ("spec: {}", "spec.ports: required, but missing; only a headless Service or one of type ExternalName has none"),
    ("spec: {ports: [{}]}", "spec.ports[0].port: required, but missing"),
    ("spec: {ports: [{port: 0}]}", "spec.ports[0].port: 0 is not a port from 1 to 65535"),
    ("spec: {ports: [{port: http}]}", 'spec.ports[0].port: expected a whole number, found the string "http"'),
    ("spec: {ports: [{port: 80, targetPort: 70000}]}", "spec.ports[0].targetPort: 70000 is not a port from 1 to 65535"),
    ("spec: {ports: [{port: 80, targetPort: '80'}]}", 'spec.ports[0].targetPort: "80" is a number in quotes; remove the quotes'),
    ("spec: {ports: [{port: 80, targetPort: Web}]}", 'spec.ports[0].targetPort: "Web" is not a port name (a-z, 0-9 and single -, at least one letter)'),
    ("spec: {ports: [{port: 80, protocol: ICMP}]}", 'spec.ports[0].protocol: expected SCTP, TCP or UDP, found "ICMP"'),
    ("spec: {ports: [{port: 80, nodePort: 70000}], type: NodePort}", "spec.ports[0].nodePort: 70000 is not a port from 1 to 65535"),
    ("spec: {ports: [{port: 80, nodePort: 30080}]}", "spec.ports[0].nodePort: a Service of type ClusterIP has no node ports"),
    ("spec: {ports: [{port: 80}, {port: 81}]}", "spec.ports[0].name: required where a Service has several ports"),
    ("spec: {ports: [{port: 80, name: a}, {port: 81}]}", "spec.ports[1].name: required where a Service has several ports"),
    ("spec: {ports: [{port: 80, name: a}, {port: 81, name: a}]}", 'spec.ports[1].name: "a" is there twice'),
    ("spec: {ports: [{port: 80, name: a}, {port: 80, name: b}]}", "spec.ports[1].port: 80/TCP is there twice"),
    ("spec: {ports: [{port: 80, name: A}]}", f'spec.ports[0].name: "A" {DNS_LABEL}'),
    ("spec: {ports: [{port: 80}], selector: {app: '-'}}", f'spec.selector.app: "-" {LABEL_VALUE}'),
    ("spec: {ports: [{port: 80}], selector: {matchLabels: {app: web}}}", "spec.selector.matchLabels: expected a string, found a mapping"),
    ("spec: {ports: [{port: 80}], type: clusterip}", 'spec.type: expected ClusterIP, ExternalName, LoadBalancer or NodePort, found "clusterip"; did you mean "ClusterIP"?'),
    ("spec: {type: ExternalName}", "spec.externalName: required where type is ExternalName"),
    ("spec: {type: ExternalName, externalName: a_b}", 'spec.externalName: "a_b" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    ("spec: {type: ExternalName, externalName: a.b, clusterIP: 10.0.0.1}", "spec.clusterIP: a Service of type ExternalName has no address"),
    ("spec: {type: NodePort, clusterIP: None, ports: [{port: 80}]}", "spec.clusterIP: None, but a Service of type NodePort is not headless"),
    ("spec: {clusterIP: 10.0.0, ports: [{port: 80}]}", 'spec.clusterIP: "10.0.0" is not an IP address'),
    ("spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, x], ports: [{port: 80}]}", 'spec.clusterIPs[1]: "x" is not an IP address'),
    ("spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.2], ports: [{port: 80}]}", 'spec.clusterIPs[0]: "10.0.0.2", but clusterIP is "10.0.0.1"'),
    ("spec: {ipFamilies: [IPv4, IPv4], ports: [{port: 80}]}", "spec.ipFamilies[1]: IPv4 is there twice"),
    ("spec: {ipFamilies: [IPv4, IPv6], ports: [{port: 80}]}", "spec.ipFamilies[1]: a second family needs ipFamilyPolicy PreferDualStack or RequireDualStack"),
    ("spec: {ipFamilies: [ipv4], ports: [{port: 80}]}", 'spec.ipFamilies[0]: expected IPv4 or IPv6, found "ipv4"; did you mean "IPv4"?'),
    ("addressType: null", "addressType: required, but missing"),
    ("addressType: ipv4", 'addressType: expected FQDN, IPv4 or IPv6, found "ipv4"; did you mean "IPv4"?'),
    ("endpoints: [{}]", "endpoints[0].addresses: required, but missing"),
    ("endpoints: [{addresses: []}]", "endpoints[0].addresses: an empty list; a backend has an address"),
    ("endpoints: [{addresses: [10.0.0.1/32]}]", 'endpoints[0].addresses[0]: "10.0.0.1/32" is not an IP address'),
    ("endpoints: [{addresses: ['fd00::1']}]", "endpoints[0].addresses[0]: fd00::1 is IPv6, but addressType is IPv4"),
    ("addressType: IPv6, endpoints: [{addresses: ['fd00::1', 10.0.0.1]}]", "endpoints[0].addresses[1]: 10.0.0.1 is IPv4, but addressType is IPv6"),
    ("addressType: FQDN, endpoints: [{addresses: [a_b]}]", 'endpoints[0].addresses[0]: "a_b" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    ("endpoints: [{addresses: [10.0.0.1], nodeName: A}]", 'endpoints[0].nodeName: "A" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    ("endpoints: [{address: 10.0.0.1}]", 'endpoints[0].address: unknown field; did you mean "addresses"?'),
    (f"endpoints: [{{addresses: [{', '.join(f'10.0.0.{n}' for n in range(101))}]}}]", "endpoints[0].addresses: 101 entries; at most 100"),
    (f"endpoints: [{', '.join(['{addresses: [10.0.0.1]}'] * 1001)}]", "endpoints: 1001 entries; at most 1000"),
    ("ports: [{port: 0}]", "ports[0].port: 0 is not a port from 1 to 65535"),
    ("ports: [{port: 80}, {port: 81}]", 'ports[1].name: "" is there twice'),
    ("ports: [{name: A, port: 80}]", f'ports[0].name: "A" {DNS_LABEL}'),
    ("metadata: {name: a}, subsets: []", "subsets: unknown field; known: metadata, addressType, endpoints, ports"),
    ("metadata: {name: a, labels: {kubernetes.io/service-name: a.b}}", 'metadata.labels["kubernetes.io/service-name"]: "a.b" is not a DNS label (a-z, 0-9 and -, a letter or digit at both ends)'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), CASES)
def test_refused(body: str, message: str) -> None:
    """An invalid Service or EndpointSlice gives this one message."""
    with pytest.raises(ManifestError) as caught:
        load(source(body))
    assert str(caught.value).partition(": document 1, ")[2].partition(": ")[2] == message


ACCEPTED = [
    "spec: {clusterIP: None, selector: {app: web}}",
    "spec: {type: ExternalName, externalName: example.com}",
    "spec: {type: LoadBalancer, ports: [{port: 80, nodePort: 0, appProtocol: http}], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}}",
    "spec: {ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}], ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4]}",
    "endpoints: [], ports: []",
    "endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}, hostname: a, zone: z, targetRef: {kind: Pod, name: a}}], ports: [{port: null}]",
]  # fmt: skip


@pytest.mark.parametrize("body", ACCEPTED)
def test_round_trip(body: str) -> None:
    """What is accepted comes out as it went in, and loads to the same."""
    (resource,) = load(source(body)).resources

    assert isinstance(resource, Service | EndpointSlice)
    assert load(manifest(resource)).resources == (resource,)


def test_addresses_are_spelled_one_way() -> None:
    """An IPv6 address is compared by its bits, not by its text."""
    (found,) = load(source("addressType: IPv6, endpoints: [{addresses: ['FD00:0::1']}]")).resources

    assert isinstance(found, EndpointSlice)
    assert found.endpoints[0].addresses == ("fd00::1",)
