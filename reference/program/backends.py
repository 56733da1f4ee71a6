"""EndpointSlices as items of their own, apart from endpoints: no selector a user writes ever sees one (RULE-12)."""

from __future__ import annotations

from functools import lru_cache

from reference.endpoints import EndpointPort
from reference.packet import PROTOCOLS
from reference.program.matching import Item, ItemKey
from reference.program.nets import net
from reference.resources import EndpointSlice
from reference.selectors import Equals, Selector
from reference.selectors.selector import selector_of

_SERVICE = "service"
ANY_NAME = ""  # of the ports of a slice: a rule speaks of all of them


@lru_cache(maxsize=4096)
def of_service(namespace: str, name: str) -> Selector:
    """The slices of a service."""
    return selector_of(Equals(_SERVICE, f"{namespace}/{name}"))


def backends(key: ItemKey, endpoint_slice: EndpointSlice) -> Item:
    """The addresses of a slice and, with the numbers they have, its ports; readiness is not looked at."""
    labels = {_SERVICE: f"{endpoint_slice.namespace}/{endpoint_slice.service}"} if endpoint_slice.service else {}
    texts: list[str] = []
    if endpoint_slice.address_type != "FQDN":
        texts = [text for backend in endpoint_slice.endpoints for text in backend.addresses]
    nets = tuple(dict.fromkeys((each.family, each.text) for each in map(net, texts)))
    ports = dict.fromkeys((PROTOCOLS[port.protocol], port.port) for port in endpoint_slice.ports if port.port)
    numbered = tuple(EndpointPort(ANY_NAME, protocol, number or 0) for protocol, number in ports)
    return Item(key, labels, nets, is_endpoint=False, ports=numbered)
