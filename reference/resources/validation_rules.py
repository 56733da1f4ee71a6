"""One Calico rule: what 2b.2 forbids in protocols, ports, nets, selectors, services and http."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from reference.resources.addresses import parse_cidr
from reference.resources.calico import EntityRule, HTTPMatch, HTTPPath, ICMPFields, ProtocolName, Rule, ServiceMatch
from reference.resources.faults import FieldPath, fail, parsed, shown, suggestion
from reference.resources.names import CALICO_PORT_NAME, dns_subdomain, is_number
from reference.resources.validation_metadata import check_annotations
from reference.selectors import Global, SelectorError, parse
from reference.selectors.nodes import And, Node, Not, Or

Way = Literal["ingress", "egress"]

PROTOCOLS = {"tcp": "TCP", "udp": "UDP", "icmp": "ICMP", "icmpv6": "ICMPv6", "sctp": "SCTP", "udplite": "UDPLite"}
_WITH_PORTS = frozenset(("tcp", "udp", "sctp", 6, 17, 132))
_ICMP_FAMILY: dict[int | str, int] = {"icmp": 4, 1: 4, "icmpv6": 6, 58: 6}
_ENTITIES: tuple[Literal["source", "destination"], ...] = ("source", "destination")
_MAX_PORTS = 50
_MAX_NETS = 256
_MAX_SELECTOR = 1024
_MAX_HTTP = 20
_MAX_HTTP_PATH = 1024


def check_rule(rule: Rule, way: Way, path: FieldPath, *, namespaced: bool) -> None:
    """Everything 2b.2 says about one rule of a policy or a profile.

    Raises:
        FieldError: the first thing wrong.
    """
    _check_protocols(rule, path)
    for name, icmp in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if icmp is not None:
            _check_icmp(icmp, rule.protocol, (*path, name))
    for side in _ENTITIES:
        _check_entity(getattr(rule, side), rule, (*path, side))
    _check_families(rule, path)
    _check_services(rule, way, path, namespaced=namespaced)
    if rule.http is not None:
        _check_http(rule.http, rule, way, (*path, "http"))
    if rule.metadata is not None:
        check_annotations(rule.metadata.annotations, (*path, "metadata", "annotations"))


def folded(protocol: ProtocolName | None) -> int | str | None:
    """A protocol in one case, for comparing (RULE-2)."""
    return protocol.lower() if isinstance(protocol, str) else protocol


def _check_protocols(rule: Rule, path: FieldPath) -> None:
    """RULE-2, and RULE-4: the family that an ICMP protocol implies must be the rule's."""
    for name, protocol in (("protocol", rule.protocol), ("notProtocol", rule.not_protocol)):
        where = (*path, name)
        value = folded(protocol)
        if isinstance(value, int) and not 1 <= value <= 255:
            fail(where, f"{value} is not a protocol number from 1 to 255")
        if isinstance(value, str) and value not in PROTOCOLS:
            _fail_protocol(str(protocol), where)
        family = _ICMP_FAMILY.get(value) if value is not None else None
        if family and rule.ip_version and family != rule.ip_version:
            fail((*path, "ipVersion"), f"{rule.ip_version}, but {protocol} is an IPv{family} protocol")


def _fail_protocol(value: str, path: FieldPath) -> None:
    if value.isdecimal():
        fail(path, f"{shown(value)} is a number in quotes; remove the quotes")
    known = ", ".join(PROTOCOLS.values())
    hint = suggestion(value, PROTOCOLS.values()) or f"; known: {known}, or a number from 1 to 255"
    fail(path, f"{shown(value)} is not a protocol{hint}")


def _check_icmp(icmp: ICMPFields, protocol: ProtocolName | None, path: FieldPath) -> None:
    """RULE-3."""
    if protocol is None or folded(protocol) not in _ICMP_FAMILY:
        said = "the rule has none" if protocol is None else f"the rule has {protocol}"
        fail(path, f"needs protocol ICMP or ICMPv6; {said}")
    if icmp.type is not None and not 0 <= icmp.type <= 254:
        fail((*path, "type"), f"{icmp.type} is not an ICMP type from 0 to 254")
    if icmp.code is not None and icmp.type is None:
        fail((*path, "code"), "a code needs a type beside it")
    if icmp.code is not None and not 0 <= icmp.code <= 255:
        fail((*path, "code"), f"{icmp.code} is not an ICMP code from 0 to 255")


def _check_entity(entity: EntityRule, rule: Rule, path: FieldPath) -> None:
    for name, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        if ports:
            _check_ports(ports, rule.protocol, (*path, name))
    for name, text in (("selector", entity.selector), ("notSelector", entity.not_selector)):
        check_selector(text, (*path, name))
    check_selector(entity.namespace_selector, (*path, "namespaceSelector"), global_allowed=True)
    accounts = entity.service_accounts
    if accounts is not None:
        where = (*path, "serviceAccounts")
        for index, account in enumerate(accounts.names):
            problem = dns_subdomain(account)
            if problem:
                fail((*where, "names", index), problem)
        check_selector(accounts.selector, (*where, "selector"))


def _check_ports(ports: tuple[int | str, ...], protocol: ProtocolName | None, path: FieldPath) -> None:
    if len(ports) > _MAX_PORTS:
        fail(path, f"{len(ports)} entries; at most {_MAX_PORTS}")
    numeric = [_check_port(port, (*path, index)) for index, port in enumerate(ports)]
    if protocol is None and any(numeric):
        fail((*path, numeric.index(True)), f"port {ports[numeric.index(True)]} needs a protocol: TCP, UDP or SCTP")
    if protocol is not None and folded(protocol) not in _WITH_PORTS:
        fail(path, f"protocol {protocol} has no ports; TCP, UDP and SCTP have")


def _check_port(port: int | str, path: FieldPath) -> bool:
    """Check one entry, and report whether it is numeric (RULE-5)."""
    if isinstance(port, int):
        _check_port_number(port, path)
        return True
    first, colon, last = port.partition(":")
    if colon:
        if not (is_number(first) and is_number(last)):
            fail(path, f"{shown(port)} is not a range such as 8080:8090")
        _check_port_number(int(first), path)
        _check_port_number(int(last), path)
        if int(first) > int(last):
            fail(path, f"{shown(port)} ends before it begins; write {last}:{first}")
        return True
    if is_number(port):
        _check_port_number(int(port), path)
        return True
    if not CALICO_PORT_NAME.fullmatch(port):
        fail(path, f"{shown(port)} is not a port, a range or a port name (letters, digits, _, . and -, at most 128)")
    return False


def _check_port_number(port: int, path: FieldPath) -> None:
    if not 1 <= port <= 65535:
        fail(path, f"{port} is not a port from 1 to 65535")


def _check_families(rule: Rule, path: FieldPath) -> None:
    """Nets parse, and all of a rule are of one family, which is the rule's (RULE-13)."""
    first: tuple[int, str] | None = None
    for net, where in _nets(rule, path):
        network = parsed(parse_cidr, net, where)
        if where[-2] == "notNets" and network.prefixlen == 0:
            fail(where, f"{net} excludes every address, so the rule would never match")
        if rule.ip_version and network.version != rule.ip_version:
            fail(where, f"{net} is IPv{network.version}, but the rule's ipVersion is {rule.ip_version}")
        if first and first[0] != network.version:
            fail(
                where, f"{net} is IPv{network.version}, but {first[1]} in the same rule is IPv{first[0]}; use two rules"
            )
        first = first or (network.version, net)


def _nets(rule: Rule, path: FieldPath) -> Iterator[tuple[str, FieldPath]]:
    for side in _ENTITIES:
        entity: EntityRule = getattr(rule, side)
        for name, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
            if len(nets) > _MAX_NETS:
                fail((*path, side, name), f"{len(nets)} entries; at most {_MAX_NETS}; put them in a NetworkSet")
            for index, net in enumerate(nets):
                yield net, (*path, side, name, index)


def _check_services(rule: Rule, way: Way, path: FieldPath, *, namespaced: bool) -> None:
    """RULE-12: the destination of an egress rule, or the source of an ingress rule, and little beside it."""
    right = "destination" if way == "egress" else "source"
    for side in _ENTITIES:
        entity: EntityRule = getattr(rule, side)
        if entity.services is None:
            continue
        where = (*path, side, "services")
        if side != right:
            fail(where, f"an {way} rule can name services as its {right} only")
        _check_service(entity.services, where, namespaced=namespaced)
        for name, value in _beside_services(entity, side):
            if value:
                fail((*path, side, name), "cannot stand beside services")


def _check_service(service: ServiceMatch, path: FieldPath, *, namespaced: bool) -> None:
    if not service.name:
        fail((*path, "name"), "required, but missing")
    if not service.namespace and not namespaced:
        fail((*path, "namespace"), "required where the policy itself has no namespace")


def _beside_services(entity: EntityRule, side: str) -> tuple[tuple[str, object], ...]:
    ports = (("ports", entity.ports), ("notPorts", entity.not_ports)) if side == "destination" else ()
    return (
        *ports,
        ("selector", entity.selector),
        ("notSelector", entity.not_selector),
        ("nets", entity.nets),
        ("notNets", entity.not_nets),
        ("namespaceSelector", entity.namespace_selector),
        ("serviceAccounts", entity.service_accounts is not None),
    )


def _check_http(http: HTTPMatch, rule: Rule, way: Way, path: FieldPath) -> None:
    """RULE-15: only in an ingress rule that allows TCP."""
    if way == "egress":
        fail(path, "an egress rule cannot match http")
    if rule.action != "Allow":
        fail(path, f"only an Allow rule can match http; this one says {rule.action}")
    if rule.protocol is not None and folded(rule.protocol) not in ("tcp", 6):
        fail(path, f"http needs protocol TCP; the rule has {rule.protocol}")
    for name, entries in (("methods", http.methods), ("paths", http.paths)):
        if len(entries) > _MAX_HTTP:
            fail((*path, name), f"{len(entries)} entries; at most {_MAX_HTTP}")
    for index, method in enumerate(http.methods):
        if method in http.methods[:index]:
            fail((*path, "methods", index), f"{shown(method)} is there twice")
    for index, entry in enumerate(http.paths):
        _check_http_path(entry, (*path, "paths", index))


def _check_http_path(entry: HTTPPath, path: FieldPath) -> None:
    if bool(entry.exact) == bool(entry.prefix):
        fail(path, f"{'both' if entry.exact else 'neither'} of exact and prefix; give one")
    text = entry.exact or entry.prefix
    where = (*path, "exact" if entry.exact else "prefix")
    if not text.startswith("/"):
        fail(where, f"{shown(text)} does not begin with /")
    if any(sign in text for sign in " ?#"):
        fail(where, f"{shown(text)} contains a space, ? or #")
    if len(text) > _MAX_HTTP_PATH:
        fail(where, f"{len(text)} characters; at most {_MAX_HTTP_PATH}")


def check_selector(text: str, path: FieldPath, *, global_allowed: bool = False) -> None:
    """A selector parses (2c), is not too long, and keeps `global()` where RULE-9 gives it a meaning."""
    if not text:
        return
    if len(text) > _MAX_SELECTOR:
        fail(path, f"{len(text)} characters; a selector has at most {_MAX_SELECTOR}")
    try:
        node = parse(text).node
    except SelectorError as error:
        fail(path, str(error))
    if "global" not in text or (global_allowed and isinstance(node, Global)) or not _has_global(node):
        return
    if global_allowed:
        fail(path, "global() cannot be combined with other selectors")
    fail(path, "global() may only be used in the namespaceSelector of a rule's source or destination")


def _has_global(node: Node) -> bool:
    if isinstance(node, (And, Or)):
        return any(_has_global(operand) for operand in node.operands)
    return _has_global(node.operand) if isinstance(node, Not) else isinstance(node, Global)
