# ruff: noqa: E501 - a table has one line per case
"""What makes a Calico rule invalid (2b.2), each with its message.

A case is a template (the text around it, and how the message begins), what is wrong, and the rest of the message.
"""

from __future__ import annotations

import pytest

from reference.resources import ManifestError, parse

# fmt: off
ING = ("apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n  ingress:\n  - {body}\n", "m.yaml:6: document 1, NetworkPolicy shop/web: spec.ingress[0]")
EGR = ("apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n  egress:\n  - {body}\n", "m.yaml:6: document 1, NetworkPolicy shop/web: spec.egress[0]")
GING = ("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: web}\nspec:\n  ingress:\n  - {body}\n", "m.yaml:6: document 1, GlobalNetworkPolicy web: spec.ingress[0]")

CASES = [
    (ING, "{action: Allow, protocol: TPC}", '.protocol: "TPC" is not a protocol; did you mean "TCP"?'),
    (ING, "{action: Allow, protocol: bogus}", '.protocol: "bogus" is not a protocol; known: TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite, or a number from 1 to 255'),
    (ING, '{action: Allow, protocol: "6"}', '.protocol: "6" is a number in quotes; remove the quotes'),
    (ING, "{action: Allow, protocol: 0}", ".protocol: 0 is not a protocol number from 1 to 255"),
    (ING, "{action: Allow, notProtocol: 256}", ".notProtocol: 256 is not a protocol number from 1 to 255"),
    (ING, "{action: Allow, protocol: ICMP, ipVersion: 6}", ".ipVersion: 6, but ICMP is an IPv4 protocol"),
    (ING, "{action: Allow, notProtocol: icmpv6, ipVersion: 4}", ".ipVersion: 4, but icmpv6 is an IPv6 protocol"),
    (ING, "{action: Allow, protocol: 58, ipVersion: 4}", ".ipVersion: 4, but 58 is an IPv6 protocol"),
    (ING, "{action: Allow, icmp: {type: 8}}", ".icmp: needs protocol ICMP or ICMPv6; the rule has none"),
    (ING, "{action: Allow, protocol: TCP, icmp: {type: 8}}", ".icmp: needs protocol ICMP or ICMPv6; the rule has TCP"),
    (ING, "{action: Allow, notICMP: {type: 8}}", ".notICMP: needs protocol ICMP or ICMPv6; the rule has none"),
    (ING, "{action: Allow, protocol: ICMP, icmp: {type: 255}}", ".icmp.type: 255 is not an ICMP type from 0 to 254"),
    (ING, "{action: Allow, protocol: ICMP, icmp: {type: -1}}", ".icmp.type: -1 is not an ICMP type from 0 to 254"),
    (ING, "{action: Allow, protocol: ICMPv6, icmp: {code: 3}}", ".icmp.code: a code needs a type beside it"),
    (ING, "{action: Allow, protocol: ICMP, icmp: {type: 3, code: 256}}", ".icmp.code: 256 is not an ICMP code from 0 to 255"),
    (ING, "{action: Allow, destination: {ports: [80]}}", ".destination.ports[0]: port 80 needs a protocol: TCP, UDP or SCTP"),
    (ING, "{action: Allow, destination: {ports: [http, 80]}}", ".destination.ports[1]: port 80 needs a protocol: TCP, UDP or SCTP"),
    (ING, "{action: Allow, source: {notPorts: [80]}}", ".source.notPorts[0]: port 80 needs a protocol: TCP, UDP or SCTP"),
    (ING, "{action: Allow, protocol: ICMP, destination: {ports: [80]}}", ".destination.ports: protocol ICMP has no ports; TCP, UDP and SCTP have"),
    (ING, "{action: Allow, protocol: UDPLite, destination: {notPorts: [http]}}", ".destination.notPorts: protocol UDPLite has no ports; TCP, UDP and SCTP have"),
    (ING, "{action: Allow, protocol: TCP, destination: {ports: [0]}}", ".destination.ports[0]: 0 is not a port from 1 to 65535"),
    (ING, "{action: Allow, protocol: TCP, destination: {ports: [443, 65536]}}", ".destination.ports[1]: 65536 is not a port from 1 to 65535"),
    (ING, '{action: Allow, protocol: TCP, destination: {ports: ["90:80"]}}', '.destination.ports[0]: "90:80" ends before it begins; write 80:90'),
    (ING, '{action: Allow, protocol: TCP, destination: {ports: ["0:80"]}}', ".destination.ports[0]: 0 is not a port from 1 to 65535"),
    (ING, '{action: Allow, protocol: TCP, destination: {ports: ["80:"]}}', '.destination.ports[0]: "80:" is not a range such as 8080:8090'),
    (ING, '{action: Allow, protocol: TCP, destination: {ports: ["http 2"]}}', '.destination.ports[0]: "http 2" is not a port, a range or a port name (letters, digits, _, . and -, at most 128)'),
    (ING, '{action: Allow, protocol: TCP, destination: {ports: ["70000"]}}', ".destination.ports[0]: 70000 is not a port from 1 to 65535"),
    (ING, '{action: Allow, protocol: TCP, destination: {ports: [""]}}', '.destination.ports[0]: "" is not a port, a range or a port name (letters, digits, _, . and -, at most 128)'),
    (ING, '{action: Allow, protocol: TCP, destination: {ports: [-1]}}', ".destination.ports[0]: -1 is not a port from 1 to 65535"),
    (ING, "{action: Allow, protocol: TCP, destination: {ports: " + str(list(range(1, 52))) + "}}", ".destination.ports: 51 entries; at most 50"),
    (ING, "{action: Allow, source: {nets: [10.0.0.0/33]}}", '.source.nets[0]: "10.0.0.0/33" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
    (ING, "{action: Allow, source: {nets: [10.0.0.0/8, nonsense]}}", '.source.nets[1]: "nonsense" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
    (ING, "{action: Allow, source: {nets: [10.0.0.1]}}", ".source.nets[0]: 10.0.0.1 is an address, not a CIDR; write 10.0.0.1/32"),
    (ING, "{action: Allow, source: {nets: [10.0.0.1/8]}}", ".source.nets[0]: 10.0.0.1/8 has bits set outside its mask; write 10.0.0.0/8"),
    (ING, "{action: Allow, source: {nets: [10.0.0.0/255.0.0.0]}}", '.source.nets[0]: "10.0.0.0/255.0.0.0" is not a CIDR such as 10.0.0.0/8 or fd00::/64'),
    (ING, '{action: Allow, source: {nets: ["fe80::1%eth0/128"]}}', '.source.nets[0]: "fe80::1%eth0/128" has a scope; write it without'),
    (ING, '{action: Allow, source: {nets: ["::ffff:10.0.0.0/104"]}}', '.source.nets[0]: "::ffff:10.0.0.0/104" is an IPv4 address inside an IPv6 one; write it as IPv4'),
    (ING, '{action: Allow, source: {nets: [10.0.0.0/8]}, destination: {nets: ["fd00::/8"]}}', ".destination.nets[0]: fd00::/8 is IPv6, but 10.0.0.0/8 in the same rule is IPv4; use two rules"),
    (ING, '{action: Allow, source: {nets: [10.0.0.0/8], notNets: ["fd00::/8"]}}', ".source.notNets[0]: fd00::/8 is IPv6, but 10.0.0.0/8 in the same rule is IPv4; use two rules"),
    (ING, '{action: Allow, ipVersion: 4, source: {nets: ["fd00::/8"]}}', ".source.nets[0]: fd00::/8 is IPv6, but the rule's ipVersion is 4"),
    (ING, '{action: Allow, source: {notNets: [0.0.0.0/0]}}', ".source.notNets[0]: 0.0.0.0/0 excludes every address, so the rule would never match"),
    (ING, '{action: Allow, source: {notNets: ["::/0"]}}', ".source.notNets[0]: ::/0 excludes every address, so the rule would never match"),
    (ING, "{action: Allow, source: {nets: " + str(["10.0.0.0/24"] * 257) + "}}", ".source.nets: 257 entries; at most 256; put them in a NetworkSet"),
    (ING, '{action: Allow, source: {selector: "a = 1"}}', ".source.selector: selector 'a = 1', column 3: found '=', expected an operator (==, !=, in, not in, contains, starts with, ends with)"),
    (ING, '{action: Allow, destination: {notSelector: "has("}}', ".destination.notSelector: selector 'has(', column 5: found the end, expected a label"),
    (ING, '{action: Allow, source: {selector: "global()"}}', ".source.selector: global() may only be used in the namespaceSelector of a rule's source or destination"),
    (ING, '{action: Allow, source: {namespaceSelector: "global() || a == \'b\'"}}', ".source.namespaceSelector: global() cannot be combined with other selectors"),
    (ING, '{action: Allow, source: {namespaceSelector: "!global()"}}', ".source.namespaceSelector: global() cannot be combined with other selectors"),
    (ING, "{action: Allow, source: {selector: " + "a" * 1025 + "}}", ".source.selector: 1025 characters; a selector has at most 1024"),
    (ING, '{action: Allow, source: {serviceAccounts: {selector: "x"}}}', ".source.serviceAccounts.selector: selector 'x', column 2: found the end, expected an operator (==, !=, in, not in, contains, starts with, ends with)"),
    (ING, '{action: Allow, source: {serviceAccounts: {names: [api, No_Body]}}}', '.source.serviceAccounts.names[1]: "No_Body" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    (ING, "{action: Allow, destination: {services: {name: db}}}", ".destination.services: an ingress rule can name services as its source only"),
    (EGR, "{action: Allow, source: {services: {name: db}}}", ".source.services: an egress rule can name services as its destination only"),
    (EGR, "{action: Allow, destination: {services: {namespace: shop}}}", ".destination.services.name: required, but missing"),
    (GING, "{action: Allow, source: {services: {name: db}}}", ".source.services.namespace: required where the policy itself has no namespace"),
    (EGR, "{action: Allow, protocol: TCP, destination: {services: {name: db}, ports: [5432]}}", ".destination.ports: cannot stand beside services"),
    (EGR, "{action: Allow, destination: {services: {name: db}, selector: all()}}", ".destination.selector: cannot stand beside services"),
    (EGR, "{action: Allow, destination: {services: {name: db}, notNets: [10.0.0.0/8]}}", ".destination.notNets: cannot stand beside services"),
    (EGR, "{action: Allow, destination: {services: {name: db}, namespaceSelector: all()}}", ".destination.namespaceSelector: cannot stand beside services"),
    (EGR, "{action: Allow, destination: {services: {name: db}, serviceAccounts: {}}}", ".destination.serviceAccounts: cannot stand beside services"),
    (EGR, "{action: Allow, http: {methods: [GET]}}", ".http: an egress rule cannot match http"),
    (ING, "{action: Deny, http: {methods: [GET]}}", ".http: only an Allow rule can match http; this one says Deny"),
    (ING, "{action: Allow, protocol: UDP, http: {methods: [GET]}}", ".http: http needs protocol TCP; the rule has UDP"),
    (ING, "{action: Allow, http: {methods: [GET, PUT, GET]}}", '.http.methods[2]: "GET" is there twice'),
    (ING, "{action: Allow, http: {methods: " + str([f"M{i}" for i in range(21)]) + "}}", ".http.methods: 21 entries; at most 20"),
    (ING, "{action: Allow, http: {paths: [{exact: /a, prefix: /b}]}}", ".http.paths[0]: both of exact and prefix; give one"),
    (ING, "{action: Allow, http: {paths: [{}]}}", ".http.paths[0]: neither of exact and prefix; give one"),
    (ING, "{action: Allow, http: {paths: [{exact: a}]}}", '.http.paths[0].exact: "a" does not begin with /'),
    (ING, '{action: Allow, http: {paths: [{exact: /ok}, {prefix: "/a?b"}]}}', '.http.paths[1].prefix: "/a?b" contains a space, ? or #'),
    (ING, "{action: Allow, http: {paths: [{exact: /" + "a" * 1024 + "}]}}", ".http.paths[0].exact: 1025 characters; at most 1024"),
    (ING, '{action: Allow, metadata: {annotations: {"a b": c}}}', '.metadata.annotations["a b"]: "a b" is not a key (letters, digits, -, _ and ., a letter or digit at both ends)'),
]
# fmt: on


@pytest.mark.parametrize(("template", "body", "message"), CASES)
def test_invalid(template: tuple[str, str], body: str, message: str) -> None:
    """The first thing wrong is told in one line: file, line, document, resource, field, and what to do."""
    text, beginning = template

    with pytest.raises(ManifestError) as caught:
        parse(text.replace("{body}", body), "m.yaml")

    assert str(caught.value) == beginning + message
