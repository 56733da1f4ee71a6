"""Services and EndpointSlices, valid by construction: few names and ports, so that rules, slices and pods collide."""

from __future__ import annotations

from typing import Literal

from property_tests.strategies.addresses import anchors
from property_tests.strategies.choices import Choices
from property_tests.strategies.vocabulary import NAMESPACES, POD_LABELS, PORT_NAMES
from reference.endpoints import Family
from reference.resources import EndpointSlice, Metadata, Service
from reference.resources.services import (
    SERVICE_NAME_LABEL,
    Backend,
    BackendPort,
    EndpointConditions,
    ServicePort,
    ServiceSpec,
)

SERVICE = "web"  # the one name, in every namespace: what rules ask for is there
PORT_NUMBERS = (80, 8080)
_PROTOCOLS: tuple[Literal["TCP", "UDP", "SCTP"], ...] = ("TCP", "TCP", "UDP", "SCTP")
_TYPES: dict[Family, Literal["IPv4", "IPv6"]] = {4: "IPv4", 6: "IPv6"}


def service(choices: Choices, namespace: str) -> Service:
    """A service, most often with a selector; its target ports are numbers, names or left out."""
    chosen = choices.some(tuple(POD_LABELS), 1, 1) if choices.chance(85) else []
    dual = choices.chance(60)
    return Service(
        metadata=Metadata(name=SERVICE, namespace=namespace),
        spec=ServiceSpec(
            selector={key: choices.pick(POD_LABELS[key]) for key in chosen},
            ports=tuple(_port(choices, number) for number in range(choices.integer(1, 2))),
            ip_families=choices.pick(((), (), ("IPv4",), ("IPv6",))),
            ip_family_policy="PreferDualStack" if dual else None,
        ),
    )


def _port(choices: Choices, number: int) -> ServicePort:
    targets: tuple[int | str | None, ...] = (*PORT_NUMBERS, *PORT_NAMES, *PORT_NAMES, None)
    return ServicePort(
        name=f"port-{number}",
        port=80 + number,  # no two alike, whatever their protocols
        protocol=choices.pick(_PROTOCOLS),
        target_port=choices.pick(targets),
    )


def endpoint_slice(choices: Choices, number: int) -> EndpointSlice:
    """A slice somebody wrote by hand: addresses of pods, nodes or nobody; ports without a number; not ready ones."""
    family: Family = choices.pick((4, 6))
    labels = {SERVICE_NAME_LABEL: SERVICE} if choices.chance(95) else {}
    return EndpointSlice(
        metadata=Metadata(name=f"by-hand-{number}", namespace=choices.pick(NAMESPACES), labels=labels),
        address_type=_TYPES[family],
        endpoints=tuple(
            Backend(
                addresses=(choices.pick(anchors(family)),),
                conditions=choices.pick((None, EndpointConditions(ready=False))),
            )
            for _ in range(choices.integer(0, 4))
        ),
        ports=tuple(_backend_port(choices, place) for place in range(choices.pick((0, 1, 2, 2)))),
    )


def _backend_port(choices: Choices, place: int) -> BackendPort:
    port = None if choices.chance(15) else choices.pick(PORT_NUMBERS)
    return BackendPort(name=f"port-{place}", port=port, protocol=choices.pick(_PROTOCOLS))
