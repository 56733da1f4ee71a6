"""All pairs: 1,000 pods to 1,000 pods on 5 ports, over classes of endpoints, against asking one by one."""

from __future__ import annotations

import time

from benchmarks.clusters import manifests
from benchmarks.measure import Figure, Result, interleaved
from benchmarks.oracle import some_packets
from reference.analysis.matrix import matrix
from reference.loading import load_state
from reference.policy import allowed

PORTS = ("80/TCP", "22/TCP", "8080/TCP", "53/UDP", "443/TCP")


def run() -> list[Result]:
    """The whole matrix, and a sample of the same questions asked one by one."""
    state = load_state(*manifests(1000, 100))
    pods = [endpoint.name for _, endpoint in sorted(state.endpoints.items())]
    packets = some_packets(state)
    answers = len(pods) * len(pods) * len(PORTS)

    def one_by_one() -> None:
        for packet in packets:
            allowed(state, packet)

    start = time.perf_counter()
    matrix(state, PORTS, sources=pods, destinations=pods)
    first = time.perf_counter() - start
    figures = interleaved(
        {
            "matrix 1,000 × 1,000 × 5": (answers, lambda: matrix(state, PORTS, sources=pods, destinations=pods)),
            "the same questions, one by one (sample)": (len(packets), one_by_one),
        },
        floor="the same questions, one by one (sample)",
        rounds=3,
    )
    return [
        Result(
            "matrix, 1,000 pods, 100 policies",
            "within 10 s",
            [Figure("the first, from a fresh state", answers, first, figures[0].ratio), *figures],
        )
    ]
