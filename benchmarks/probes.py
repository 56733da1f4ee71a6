"""Live probes a second: allowed and denied, TCP and UDP, against plain socket calls between two namespaces' worth."""

from __future__ import annotations

import itertools
import socket
import time

from benchmarks.measure import Result, interleaved

PROBES = 4000


def run() -> list[Result]:
    """Probes of a mixed matrix, beside as many plain connections over loopback."""
    import muslin
    from emulator.probe.types import Probe

    with muslin.Cluster(nodes=2) as cluster:
        cluster.apply(*_manifests())
        cluster.wait()
        pods = [f"shop/pod-{number}" for number in range(20)]
        pairs = [(a, b) for a, b in itertools.permutations(pods, 2)]

        def probes(protocol: str, port: int) -> float:
            asked = [
                Probe(source=a, destination=b, protocol=protocol, port=port)
                for a, b in itertools.islice(itertools.cycle(pairs), PROBES)
            ]
            start = time.perf_counter()
            outcomes = cluster.probe_many(asked)
            seconds = time.perf_counter() - start
            unknown = sum(outcome.result == "unknown" for outcome in outcomes)
            if unknown:
                raise RuntimeError(f"{unknown} probes without evidence: the figure would be worth nothing")
            return seconds

        figures = interleaved(
            {
                "TCP, half of them denied": (PROBES, lambda: probes("TCP", 80)),
                "UDP, half of them denied": (PROBES, lambda: probes("UDP", 53)),
                "TCP, all allowed": (PROBES, lambda: probes("TCP", 8080)),
                "TCP, all denied": (PROBES, lambda: probes("TCP", 22)),
                "plain TCP connections over loopback": (PROBES, _plain),
            },
            floor="plain TCP connections over loopback",
            rounds=3,
        )
    return [Result("Live probes", "at least 2,000 a second", figures)]


def _manifests() -> list[dict[str, object]]:
    pods: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "namespace": "shop", "labels": {"side": "ab"[number % 2]}},
            "spec": {"containers": [{"name": "c"}]},
        }
        for number in range(20)
    ]
    policy: dict[str, object] = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "half", "namespace": "shop"},
        "spec": {
            "types": ["Ingress"],
            "ingress": [
                {"action": "Allow", "protocol": "TCP", "destination": {"ports": [8080]}},
                {"action": "Deny", "protocol": "TCP", "destination": {"ports": [22]}},
                {"action": "Allow", "source": {"selector": "side == 'a'"}},
            ],
        },
    }
    return [*pods, policy]


def _plain() -> float:
    """Connect and close, one after another, no namespaces, no policy."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        server.setblocking(False)
        address = server.getsockname()
        start = time.perf_counter()
        for _ in range(PROBES):
            with socket.create_connection(address):
                try:
                    server.accept()[0].close()
                except BlockingIOError:
                    continue
        return time.perf_counter() - start
