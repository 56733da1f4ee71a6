"""HostEndpoint and the two kinds that configure hosts (2b.2, 2d)."""

from __future__ import annotations

import re

from reference.resources.addresses import parse_address, parse_cidr
from reference.resources.faults import FieldPath, fail, parsed, shown, suggestion
from reference.resources.hosts import (
    ALL_INTERFACES,
    DEFAULT_ALLOW_PROFILE,
    FailsafePorts,
    FelixConfiguration,
    HostEndpoint,
    HostEndpointPort,
    KubeControllersConfiguration,
)
from reference.resources.names import CALICO_PORT_NAME, dns_subdomain

_INTERFACE = re.compile(r"[A-Za-z0-9_.-]+")
_LONGEST_INTERFACE = 15
_NODE_PREFIX = "node."
_PORTED = ("TCP", "UDP", "SCTP")
_PORTED_NUMBERS = (6, 17, 132)
_HOST_ACTIONS = ("Drop", "Accept", "Return")


def check_hosts(resource: HostEndpoint | FelixConfiguration | KubeControllersConfiguration) -> None:
    """A host endpoint, or what configures them."""
    match resource:
        case HostEndpoint():
            check_host_endpoint(resource)
        case FelixConfiguration():
            check_felix_configuration(resource)
        case KubeControllersConfiguration():
            check_kube_controllers_configuration(resource)


def check_host_endpoint(endpoint: HostEndpoint) -> None:
    """An interface or addresses to find it by; named ports that are whole (2b.2)."""
    spec = endpoint.spec
    if not spec.node:
        fail(("spec", "node"), "required, but missing; name a node, or a host outside the cluster")
    _check_interface(spec.interface_name)
    if not spec.interface_name and not spec.expected_ips:
        fail(("spec",), "has neither interfaceName nor expectedIPs; give one of them, or interfaceName: '*'")
    for index, address in enumerate(spec.expected_ips):
        parsed(parse_address, address, ("spec", "expectedIPs", index))
    for index, profile in enumerate(spec.profiles):
        problem = dns_subdomain(profile)
        if problem:
            fail(("spec", "profiles", index), problem)
    for index, port in enumerate(spec.ports):
        check_named_port(port, ("spec", "ports", index))


def _check_interface(name: str) -> None:
    path: FieldPath = ("spec", "interfaceName")
    if name in ("", ALL_INTERFACES):
        return
    if len(name) > _LONGEST_INTERFACE:
        fail(path, f"{shown(name)} is {len(name)} characters long; an interface name has at most {_LONGEST_INTERFACE}")
    if not _INTERFACE.fullmatch(name):
        fail(path, f"{shown(name)} is not an interface name (letters, digits, -, _ and .), and not '*'")


def check_named_port(port: HostEndpointPort, path: FieldPath) -> None:
    """A port that policy may name: with a name, a protocol that has ports, and a number."""
    for field, value in (("name", port.name), ("protocol", port.protocol), ("port", port.port)):
        if value in ("", 0):
            fail((*path, field), "required, but missing; a named port has name, protocol and port")
    if not CALICO_PORT_NAME.fullmatch(port.name):
        fail((*path, "name"), f"{shown(port.name)} is not a port name (letters, digits, _, . and -, at most 128)")
    _check_protocol(port.protocol, (*path, "protocol"))
    _check_number(port.port, (*path, "port"))


def _check_protocol(protocol: str | int, path: FieldPath) -> None:
    known = protocol in _PORTED_NUMBERS if isinstance(protocol, int) else protocol.upper() in _PORTED
    if not known:
        hint = suggestion(str(protocol), _PORTED) or "; TCP, UDP and SCTP have"
        fail(path, f"{shown(protocol)} is not a protocol with ports{hint}")


def _check_number(port: int, path: FieldPath) -> None:
    if not 1 <= port <= 65535:
        fail(path, f"{port} is not a port from 1 to 65535")


def check_felix_configuration(configuration: FelixConfiguration) -> None:
    """The settings that decide about packets; the others are taken as they are."""
    name, spec = configuration.name, configuration.spec
    if name != "default" and not (name.startswith(_NODE_PREFIX) and len(name) > len(_NODE_PREFIX)):
        fail(("metadata", "name"), f"{shown(name)} configures nothing; call it default, or node.<name of the machine>")
    action = spec.default_endpoint_to_host_action
    if action is not None and action.capitalize() not in _HOST_ACTIONS:
        hint = suggestion(action, _HOST_ACTIONS) or f"; known: {', '.join(_HOST_ACTIONS)}"
        fail(("spec", "defaultEndpointToHostAction"), f"{shown(action)} is not an action{hint}")
    if spec.vxlan_port is not None:
        _check_number(spec.vxlan_port, ("spec", "vxlanPort"))
    _check_failsafes(spec.failsafe_inbound_host_ports, ("spec", "failsafeInboundHostPorts"))
    _check_failsafes(spec.failsafe_outbound_host_ports, ("spec", "failsafeOutboundHostPorts"))


def _check_failsafes(ports: FailsafePorts, path: FieldPath) -> None:
    """HEP-9."""
    if isinstance(ports, str):
        if ports.lower() != "none":
            fail(path, f'{shown(ports)} is not a list of ports; write a list, or "none" for no failsafe port at all')
        return
    for index, entry in enumerate(ports or ()):
        where = (*path, index)
        _check_protocol(entry.protocol, (*where, "protocol"))
        _check_number(entry.port, (*where, "port"))
        if entry.net:
            parsed(lambda text: parse_cidr(text, host_bits=True, bare=True), entry.net, (*where, "net"))


def check_kube_controllers_configuration(configuration: KubeControllersConfiguration) -> None:
    """There is one, called `default`; templates of host endpoints are not made (HEP-8)."""
    if configuration.name != "default":
        fail(("metadata", "name"), f"{shown(configuration.name)} configures nothing; call it default")
    node = configuration.spec.controllers.node
    if node is not None and node.host_endpoint.templates:
        path = ("spec", "controllers", "node", "hostEndpoint", "templates")
        fail(path, "templates are not supported; write the HostEndpoints out, or use autoCreate: Enabled")


def check_profile_name(name: str) -> None:
    """The built-in profile stays what it is (HEP-8)."""
    if name == DEFAULT_ALLOW_PROFILE:
        fail(("metadata", "name"), f"{shown(name)} is built in and allows everything; choose another name")
