"""From append to enforced: one policy changed among 10, 100 and 1,000, in a running cluster."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.clusters import NAMESPACES, manifests, policy
from benchmarks.measure import Result, interleaved

COUNTS = (10, 100, 1000)
PODS = 40


def run() -> list[Result]:
    """A cluster per size, all running at once; the same change in each, in turn."""
    import muslin

    with ExitStack() as stack:
        clusters = {}
        for count in COUNTS:
            cluster = stack.enter_context(muslin.Cluster(nodes=2))
            cluster.apply(manifests(PODS, count))
            cluster.wait()
            clusters[count] = cluster
        ports = itertools.count(1000)

        def change(cluster: muslin.Cluster) -> float:
            changed = policy(NAMESPACES, ports=(80, next(ports)))
            start = time.perf_counter()
            cluster.apply(changed)
            cluster.wait()
            return time.perf_counter() - start

        def nothing(cluster: muslin.Cluster) -> float:
            start = time.perf_counter()
            cluster.call("status")
            cluster.wait()
            return time.perf_counter() - start

        contenders: dict[str, tuple[int, Callable[[], float]]] = {
            f"one policy changed among {count:,}": (1, partial(change, clusters[count])) for count in COUNTS
        }
        contenders["two empty requests: the floor"] = (1, partial(nothing, clusters[10]))
        figures = interleaved(contenders, floor=f"one policy changed among {COUNTS[0]}", rounds=15)
    target = "one policy among 1,000 enforced in at most twice the time of one among 10"
    return [Result("From append to enforced, 40 pods on 2 nodes", target, figures)]
