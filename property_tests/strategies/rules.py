"""Calico rules, valid by construction (2b.2) and biased to boundaries."""

from __future__ import annotations

from typing import Literal

from hypothesis import strategies as st

from property_tests.strategies.addresses import cidr
from property_tests.strategies.choices import Choices, drawn
from property_tests.strategies.services import SERVICE
from property_tests.strategies.vocabulary import (
    ACCOUNT_LABELS,
    ENDPOINT_LABELS,
    NAMESPACE_SELECTOR_LABELS,
    NAMESPACES,
    PORT_NAMES,
    selector,
)
from reference.endpoints import Family
from reference.resources.calico import (
    Action,
    Direction,
    EntityRule,
    HTTPMatch,
    ICMPFields,
    ProtocolName,
    Rule,
    ServiceAccountMatch,
    ServiceMatch,
)

_PORTED: tuple[ProtocolName, ...] = ("TCP", "TCP", "UDP", "SCTP", "tcp", 6, 17, 132)
_FOUR: tuple[ProtocolName, ...] = ("ICMP", 1)
_SIX: tuple[ProtocolName, ...] = ("ICMPv6", 58)
_OTHER: tuple[ProtocolName, ...] = ("UDPLite", 47, 255)
_ACTIONS: tuple[Action, ...] = ("Allow", "Allow", "Allow", "Deny", "Deny", "Pass", "Log")
_CONDITIONS = ("selector", "nets", "ports", "namespaces", "accounts", "not_nets", "not_selector", "not_ports")
PORTS: tuple[int | str, ...] = (80, 81, 8080, "80:82", "8080:8090", "1:79", "443:443", 1, 65535, "1024:65535")
ICMP_TYPES = (8, 0, 3, 128, 254)

Side = Literal["source", "destination"]
_SIDES: tuple[Side, ...] = ("source", "destination")
_NOT_PROTOCOLS: tuple[ProtocolName, ...] = ("UDP", "TCP", 132, 47)


def rule(choices: Choices, direction: Direction, namespace: str | None) -> Rule:
    """A rule of a policy in `namespace`, or of a global one (None)."""
    family: Family = choices.pick((4, 6))
    protocol = _protocol(choices, family)
    action = choices.pick(_ACTIONS)
    sides: dict[Side, EntityRule] = {
        side: entity(choices, family, protocol, namespace) if choices.chance(50) else EntityRule() for side in _SIDES
    }
    if choices.chance(12):
        sides["destination" if direction == "Egress" else "source"] = _service(choices, namespace)
    named_family = any(side.nets or side.not_nets for side in sides.values()) or protocol in _FOUR + _SIX
    pinned = choices.chance(40 if named_family else 15)
    return Rule(
        action=action,
        ip_version=family if pinned else None,
        protocol=protocol,
        not_protocol=choices.pick(_NOT_PROTOCOLS) if choices.chance(10) else None,
        icmp=_icmp(choices) if protocol in _FOUR + _SIX and choices.chance(50) else None,
        not_icmp=_icmp(choices) if protocol in _FOUR + _SIX and choices.chance(25) else None,
        source=sides["source"],
        destination=sides["destination"],
        http=_http(choices, direction, action, protocol),
    )


def _service(choices: Choices, namespace: str | None) -> EntityRule:
    """A service, in the policy's own namespace or another; a global policy must say which (RULE-12)."""
    places = NAMESPACES if namespace is None else ("", "", *NAMESPACES)
    return EntityRule(services=ServiceMatch(name=SERVICE, namespace=choices.pick(places)))


def _protocol(choices: Choices, family: Family) -> ProtocolName | None:
    kind = choices.pick(("none", "none", "ported", "ported", "ported", "icmp", "other"))
    match kind:
        case "none":
            return None
        case "ported":
            return choices.pick(_PORTED)
        case "icmp":
            return choices.pick(_FOUR if family == 4 else _SIX)
        case _:
            return choices.pick(_OTHER)


def _icmp(choices: Choices) -> ICMPFields:
    return ICMPFields(type=choices.pick(ICMP_TYPES), code=choices.pick((None, 0, 1, 255)))


def _http(choices: Choices, direction: Direction, action: Action, protocol: ProtocolName | None) -> HTTPMatch | None:
    """Allowed only where 2b.2 allows it; L4 does not see it (RULE-15)."""
    possible = direction == "Ingress" and action == "Allow" and protocol in (None, "TCP")
    return HTTPMatch(methods=("GET",)) if possible and choices.chance(5) else None


def entity(choices: Choices, family: Family, protocol: ProtocolName | None, namespace: str | None) -> EntityRule:
    """One side of a rule: one to three kinds of condition, all of one family."""
    kinds = set(choices.some(_CONDITIONS, 1, choices.pick((1, 1, 2, 3))))
    return EntityRule(
        nets=tuple(cidr(choices, family) for _ in range(choices.integer(1, 2))) if "nets" in kinds else (),
        not_nets=tuple(cidr(choices, family, whole=False) for _ in range(choices.integer(1, 2)))
        if "not_nets" in kinds
        else (),
        selector=selector(choices, ENDPOINT_LABELS) if "selector" in kinds else "",
        not_selector=selector(choices, ENDPOINT_LABELS, 1) if "not_selector" in kinds else "",
        namespace_selector=namespace_selector(choices) if "namespaces" in kinds else "",
        ports=_ports(choices, protocol) if "ports" in kinds else (),
        not_ports=_ports(choices, protocol) if "not_ports" in kinds else (),
        service_accounts=_accounts(choices) if "accounts" in kinds else None,
    )


def namespace_selector(choices: Choices) -> str:
    """An entity's namespaceSelector: the two special words, or labels of namespaces (RULE-9)."""
    kind = choices.pick(("labels", "labels", "all()", "global()"))
    return selector(choices, NAMESPACE_SELECTOR_LABELS, 1) if kind == "labels" else kind


def _accounts(choices: Choices) -> ServiceAccountMatch:
    names = tuple(choices.some(("bot", "default", "nobody"), 0, 2))
    by_label = not names or choices.chance(30)
    return ServiceAccountMatch(names=names, selector=selector(choices, ACCOUNT_LABELS, 1) if by_label else "")


def _ports(choices: Choices, protocol: ProtocolName | None) -> tuple[int | str, ...]:
    """Ports only with a protocol that has them; without a protocol only names (2b.2)."""
    if protocol in _PORTED:
        return tuple(choices.pick((*PORTS, *PORT_NAMES)) for _ in range(choices.integer(1, 3)))
    if protocol is None:
        return tuple(choices.some(PORT_NAMES, 1, 2))
    return ()


def rules(direction: Direction, namespace: str | None = None) -> st.SearchStrategy[Rule]:
    """Rules of one direction, for a policy in `namespace` or a global one."""
    return drawn(rule, direction, namespace)
