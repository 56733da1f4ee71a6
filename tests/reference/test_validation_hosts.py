# ruff: noqa: E501 - a table has one line per case
"""What makes a HostEndpoint, a FelixConfiguration or a KubeControllersConfiguration invalid, each with its message (2b.2).

A case is a template (the text around it, and how the message begins), what is wrong, and the rest of the message.
"""

from __future__ import annotations

import pytest

from reference.resources import ManifestError, parse, to_yaml
from reference.resources.felix_fields import UNINTERPRETED

# fmt: off
HEP = ("apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {name: h}\nspec: {body}\n", "m.yaml:4: document 1, HostEndpoint h: ")
FELIX = ("apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {body}\n", "m.yaml:4: document 1, FelixConfiguration default: ")
FELIX_NAME = ("apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: {body}}\nspec: {}\n", "m.yaml:3: document 1, FelixConfiguration {body}: ")
KUBE = ("apiVersion: projectcalico.org/v3\nkind: KubeControllersConfiguration\nmetadata: {name: default}\nspec: {controllers: {node: {body}}}\n", "m.yaml:4: document 1, KubeControllersConfiguration default: ")
PROFILE = ("apiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {name: {body}}\nspec: {}\n", "m.yaml:3: document 1, Profile {body}: ")

CASES = [
    (HEP, "{interfaceName: eth0}", "spec.node: required, but missing; name a node, or a host outside the cluster"),
    (HEP, "{node: n1}", "spec: has neither interfaceName nor expectedIPs; give one of them, or interfaceName: '*'"),
    (HEP, "{node: n1, interfaceName: abcdefghijklmnop}", 'spec.interfaceName: "abcdefghijklmnop" is 16 characters long; an interface name has at most 15'),
    (HEP, "{node: n1, interfaceName: eth 0}", "spec.interfaceName: \"eth 0\" is not an interface name (letters, digits, -, _ and .), and not '*'"),
    (HEP, "{node: n1, interfaceName: 'eth*'}", "spec.interfaceName: \"eth*\" is not an interface name (letters, digits, -, _ and .), and not '*'"),
    (HEP, "{node: n1, expectedIPs: [10.0.0.300]}", 'spec.expectedIPs[0]: "10.0.0.300" is not an IP address'),
    (HEP, "{node: n1, expectedIPs: [10.0.0.0/8]}", 'spec.expectedIPs[0]: "10.0.0.0/8" is not an IP address'),
    (HEP, "{node: n1, interfaceName: eth0, profiles: [A]}", 'spec.profiles[0]: "A" is not a DNS name (a-z, 0-9, - and ., a letter or digit at both ends of each part)'),
    (HEP, "{node: n1, interfaceName: eth0, ports: [{protocol: TCP, port: 1}]}", "spec.ports[0].name: required, but missing; a named port has name, protocol and port"),
    (HEP, "{node: n1, interfaceName: eth0, ports: [{name: a, port: 1}]}", "spec.ports[0].protocol: required, but missing; a named port has name, protocol and port"),
    (HEP, "{node: n1, interfaceName: eth0, ports: [{name: a, protocol: TCP}]}", "spec.ports[0].port: required, but missing; a named port has name, protocol and port"),
    (HEP, "{node: n1, interfaceName: eth0, ports: [{name: a b, protocol: TCP, port: 1}]}", 'spec.ports[0].name: "a b" is not a port name (letters, digits, _, . and -, at most 128)'),
    (HEP, "{node: n1, interfaceName: eth0, ports: [{name: a, protocol: ICMP, port: 1}]}", 'spec.ports[0].protocol: "ICMP" is not a protocol with ports; TCP, UDP and SCTP have'),
    (HEP, "{node: n1, interfaceName: eth0, ports: [{name: a, protocol: TCP, port: 65536}]}", "spec.ports[0].port: 65536 is not a port from 1 to 65535"),
    (HEP, "{node: n1, interface: eth0}", 'spec.interface: unknown field; did you mean "interfaceName"?'),
    (FELIX, "{vxlanPort: 0}", "spec.vxlanPort: 0 is not a port from 1 to 65535"),
    (FELIX, "{vxlanPort: 65536}", "spec.vxlanPort: 65536 is not a port from 1 to 65535"),
    (FELIX, "{defaultEndpointToHostAction: Reject}", 'spec.defaultEndpointToHostAction: "Reject" is not an action; known: Drop, Accept, Return'),
    (FELIX, "{defaultEndpointToHostAction: acept}", 'spec.defaultEndpointToHostAction: "acept" is not an action; did you mean "Accept"?'),
    (FELIX, "{failsafeInboundHostPorts: 'tcp:22'}", 'spec.failsafeInboundHostPorts: "tcp:22" is not a list of ports; write a list, or "none" for no failsafe port at all'),
    (FELIX, "{failsafeInboundHostPorts: [{port: 0}]}", "spec.failsafeInboundHostPorts[0].port: 0 is not a port from 1 to 65535"),
    (FELIX, "{failsafeOutboundHostPorts: [{port: 1, protocol: icmp}]}", 'spec.failsafeOutboundHostPorts[0].protocol: "icmp" is not a protocol with ports; TCP, UDP and SCTP have'),
    (FELIX, "{failsafeOutboundHostPorts: [{port: 1, net: office}]}", 'spec.failsafeOutboundHostPorts[0].net: "office" is not an IP address or a CIDR'),
    (FELIX, "{failsafeInboundHostPort: []}", 'spec.failsafeInboundHostPort: unknown field; did you mean "failsafeInboundHostPorts"?'),
    (FELIX_NAME, "node-1", 'metadata.name: "node-1" configures nothing; call it default, or node.<name of the machine>'),
    (KUBE, "{hostEndpoint: {autoCreate: true}}", "spec.controllers.node.hostEndpoint.autoCreate: expected Disabled or Enabled, found the boolean true"),
    (KUBE, "{hostEndpoint: {autoCreate: Enabled, templates: [{generateName: a}]}}", "spec.controllers.node.hostEndpoint.templates: templates are not supported; write the HostEndpoints out, or use autoCreate: Enabled"),
    (PROFILE, "projectcalico-default-allow", 'metadata.name: "projectcalico-default-allow" is built in and allows everything; choose another name'),
]
# fmt: on


@pytest.mark.parametrize(("template", "body", "message"), CASES)
def test_invalid(template: tuple[str, str], body: str, message: str) -> None:
    """The first thing wrong is told in one line: file, line, document, resource, field, and what to do."""
    text, beginning = (part.replace("{body}", body) for part in template)

    with pytest.raises(ManifestError) as caught:
        parse(text, "m.yaml")

    assert str(caught.value) == beginning + message


def test_felix_fields_are_kept() -> None:
    """Every other setting of Felix is accepted as it is, and comes out again."""
    body = ", ".join(f"{name}: x" for name in UNINTERPRETED)
    text = FELIX[0].replace("{body}", f"{{{body}}}")
    (resource,) = parse(text, "m.yaml").resources

    assert parse(to_yaml([resource]), "again.yaml").resources == (resource,)
    assert all(getattr(resource.spec, name) == "x" for name in UNINTERPRETED)  # type: ignore[union-attr]


def test_addresses_are_written_in_one_way() -> None:
    """Expected addresses are compared as text, so they are stored in canonical form."""
    (resource,) = parse(HEP[0].replace("{body}", "{node: n1, expectedIPs: ['2001:DB8::0:1']}"), "m.yaml").resources

    assert resource.spec.expected_ips == ("2001:db8::1",)  # type: ignore[union-attr]
