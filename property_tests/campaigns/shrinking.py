"""Making a failing cluster small: fewer resources, then simpler ones, then a simpler packet.

Delta debugging: a change stays when the failure stays. Nothing here knows what the failure is; the caller's `fails`
says whether a candidate still shows it, and takes whatever is invalid for "no".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import msgspec
from msgspec.structs import replace

from reference.packet import Packet
from reference.resources import AnyResource

Fails = Callable[[Sequence[AnyResource], Packet], bool]
FailsAlone = Callable[[Sequence[AnyResource]], bool]


def shrink(
    resources: Sequence[AnyResource], packet: Packet, fails: Fails, enough: Callable[[], bool]
) -> tuple[tuple[AnyResource, ...], Packet]:
    """A smaller cluster and a simpler packet that still fail; the same again when nothing smaller does.

    `enough` is asked before each attempt and ends the search early when it says so.
    """

    def asking(one: Packet) -> FailsAlone:
        return lambda candidate: not enough() and fails(candidate, one)

    best = tuple(resources)
    while not enough():
        before = (best, packet)
        best = _simpler(_fewer(best, asking(packet)), asking(packet))
        packet = next((plainer for plainer in _plainer(packet) if asking(plainer)(best)), packet)
        if (best, packet) == before:
            break
    return best, packet


def _fewer(resources: tuple[AnyResource, ...], fails: FailsAlone) -> tuple[AnyResource, ...]:
    """Leave out halves, then quarters … then single resources, as long as the rest fails."""
    size = max(len(resources) // 2, 1)
    while size:
        start = 0
        while start < len(resources):
            candidate = resources[:start] + resources[start + size :]
            if fails(candidate):
                resources = candidate
            else:
                start += size
        size //= 2
    return resources


def _simpler(resources: tuple[AnyResource, ...], fails: FailsAlone) -> tuple[AnyResource, ...]:
    """Simplify one resource after the other, each until none of its simpler variants fails."""
    for position in range(len(resources)):
        found: AnyResource | None = resources[position]
        while found is not None:
            resources = (*resources[:position], found, *resources[position + 1 :])
            before, after = resources[:position], resources[position + 1 :]
            found = next((v for v in variants(resources[position]) if fails((*before, v, *after))), None)
    return resources


def variants(value: Any) -> Iterator[Any]:  # noqa: ANN401 - any struct
    """Every struct one step simpler: a field at its default, an entry left out, or one of its parts simpler."""
    for field in msgspec.structs.fields(value):
        current = getattr(value, field.name)
        if not field.required:
            default = _default(field)
            if current == default:
                continue
            yield replace(value, **{field.name: default})
        for part in _parts(current):
            yield replace(value, **{field.name: part})


def _default(field: msgspec.structs.FieldInfo) -> Any:  # noqa: ANN401 - of any field's type
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _parts(value: Any) -> Iterator[Any]:  # noqa: ANN401 - any field's value
    if isinstance(value, msgspec.Struct):
        yield from variants(value)
    elif isinstance(value, tuple):
        for index, entry in enumerate(value):
            if len(value) > 1:
                yield value[:index] + value[index + 1 :]
            yield from ((*value[:index], part, *value[index + 1 :]) for part in _parts(entry))
    elif isinstance(value, dict) and len(value) > 1:
        for key in value:
            yield {other: value[other] for other in value if other != key}


def _plainer(packet: Packet) -> Iterator[Packet]:
    """The same ends in plainer protocols and ports, the plainest first; nothing when the packet is that plain."""
    candidates = [
        Packet(source=packet.source, destination=packet.destination, protocol=6, destination_port=80),
        Packet(source=packet.source, destination=packet.destination, protocol=17, destination_port=80),
        replace(packet, source_port=40000) if packet.source_port else packet,
        replace(packet, icmp_code=0) if packet.icmp_type is not None else packet,
    ]
    return takewhile(lambda candidate: candidate != packet, candidates)
