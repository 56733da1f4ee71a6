"""The oracle: verdicts a second, with and without the trace, and from how large a state."""

from __future__ import annotations

import random

from benchmarks.clusters import manifests
from benchmarks.measure import Result, interleaved
from reference.loading import load_state
from reference.packet import Packet
from reference.policy import allowed, evaluate
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.state import State

PACKETS = 2000


def run() -> list[Result]:
    """Oracle against the second reading of the compiled program, on the same packets."""
    results = []
    for pods, policies in ((100, 100), (1000, 1000)):
        state = load_state(*manifests(pods, policies))
        programs = Compiler().compile(state)
        packets = some_packets(state)

        def each(answer: object, packets: list[Packet] = packets) -> object:
            for packet in packets:
                answer(packet)  # type: ignore[operator]
            return None

        result = Result(
            f"evaluate, {pods:,} pods, {policies:,} policies",
            "none; the verdict alone is the floor of the other two",
            interleaved(
                {
                    "allowed: the verdict alone": (PACKETS, lambda: each(lambda p: allowed(state, p))),  # noqa: B023
                    "evaluate: with the whole trace": (PACKETS, lambda: each(lambda p: evaluate(state, p))),  # noqa: B023
                    "the compiled program, interpreted": (
                        PACKETS,
                        lambda: each(lambda p: decide(programs, state, p)),  # noqa: B023
                    ),
                },
                floor="allowed: the verdict alone",
            ),
        )
        results.append(result)
    return results


def some_packets(state: State) -> list[Packet]:
    """Packets between random pods on ports that policies name, and on one that none does."""
    dice = random.Random(1)
    addresses = [endpoint.addresses[0] for _, endpoint in sorted(state.endpoints.items())]
    return [
        Packet(
            source=dice.choice(addresses),
            destination=dice.choice(addresses),
            protocol=6,
            destination_port=dice.choice((22, 80, 8080)),
        )
        for _ in range(PACKETS)
    ]
