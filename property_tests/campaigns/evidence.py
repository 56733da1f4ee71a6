"""From a failing cluster and packet to a mismatch one can read: made small, and written down as a scenario."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from property_tests.campaigns.reproduction import as_scenario
from property_tests.campaigns.results import Mismatch
from property_tests.campaigns.shrinking import shrink
from property_tests.campaigns.witnesses import Witness
from property_tests.strategies.packets import interest
from property_tests.worlds import pinned
from reference import policy
from reference.packet import Packet
from reference.resources import AnyResource
from reference.state import State

SHRINKING_SECONDS = 20.0


def shrunk(resources: Sequence[AnyResource], one: Packet, witness: Witness, number: int) -> Mismatch:
    """The mismatch, as small as the time for shrinking allows, addresses pinned so that they stay what they were."""

    def differs(candidate: Sequence[AnyResource], packet: Packet) -> bool:
        return bool(witness.objects(candidate, packet))

    state = witness.world().apply(*resources).state
    smallest: Sequence[AnyResource] = pinned(resources, state)
    plainest = one
    if not differs(smallest, one):
        smallest = resources
    if differs(smallest, one):  # otherwise it came from what was there before, or from chance: nothing to make smaller
        until = time.monotonic() + SHRINKING_SECONDS
        one = next((held for held in _between_pods(one, state) if differs(smallest, held)), one)
        smallest, plainest = shrink(smallest, one, differs, lambda: time.monotonic() > until)
    state = witness.world().apply(*smallest).state
    verdict = policy.evaluate(state, plainest)
    said = witness.objects(smallest, plainest) or "differed once, and not again"
    return Mismatch(
        resources=tuple(smallest),
        packet=plainest,
        allowed=verdict.allowed,
        other=witness.name,
        said=said,
        number=number,
        scenario=as_scenario(smallest, verdict, state, witness, said),
    )


def _between_pods(one: Packet, state: State) -> Iterator[Packet]:
    """The same packet with its strange end, if it has one, at a pod: a scenario can send that for real."""
    for pod in interest(state, held_only=True).pods[one.family]:
        if one.source not in state.addresses:
            yield replace(one, source=pod)
        elif one.destination not in state.addresses:
            yield replace(one, destination=pod)
