"""Which services an address stands behind: what rules with `services` ask (RULE-12).

Read from the EndpointSlices as they are, whoever wrote them: ready or not, held by a pod or by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from msgspec.structs import replace

from reference.packet import PROTOCOLS
from reference.resources import EndpointSlice
from reference.resources.calico import EntityRule, Rule
from reference.state import State

ServiceName = tuple[str, str]  # namespace, name
ServicePorts = frozenset[tuple[int, int]]  # (port, protocol number): what the backend serves there
Services = Mapping[ServiceName, ServicePorts]

NO_SERVICES: Services = {}


def services_by_address(state: State) -> dict[str, Services]:
    """For every address in an EndpointSlice, its services and the ports they have there.

    A port without a number adds none; an address without any port is a member all the same. A slice whose label names
    no service belongs to none, and names of hosts are no addresses.
    """
    found: dict[str, dict[ServiceName, ServicePorts]] = {}
    for one in state.all(EndpointSlice):
        if not one.service or one.address_type == "FQDN":
            continue
        ports = frozenset((port.port, PROTOCOLS[port.protocol]) for port in one.ports if port.port is not None)
        name = (one.namespace, one.service)
        for text in {text for backend in one.endpoints for text in backend.addresses}:
            known = found.setdefault(str(ip_address(text)), {})
            known[name] = known.get(name, frozenset()) | ports
    return dict(found)


def with_own_namespace(rule: Rule, namespace: str) -> Rule:
    """The rule with the namespace of its services spelled out: the policy's, where it names none (RULE-12)."""
    source, destination = _spelled(rule.source, namespace), _spelled(rule.destination, namespace)
    if source is rule.source and destination is rule.destination:
        return rule
    return replace(rule, source=source, destination=destination)


def _spelled(entity: EntityRule, namespace: str) -> EntityRule:
    service = entity.services
    if service is None or service.namespace or not namespace:
        return entity
    return replace(entity, services=replace(service, namespace=namespace))
