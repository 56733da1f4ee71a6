"""10,000 policies, 10,000 endpoints: opening the log, verdicts of endpoints never asked before, compiling changes."""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.clusters import LARGE, manifests, pod, policy
from benchmarks.measure import Figure, Result
from reference import commands
from reference.canonical import decode, encode
from reference.loading import load_state
from reference.log import EventLog
from reference.packet import Packet
from reference.policy import allowed, evaluate
from reference.program.compile import Compiler
from reference.resources.manifests import load
from reference.state import State

SIZE = 10_000
PAIRS = 10_000
ROUNDS = 3
NOW = 1_700_000_000.0


def run() -> list[Result]:
    """Open, ask, compile."""
    state = load_state(*manifests(SIZE, SIZE, LARGE))
    folder = Path(tempfile.mkdtemp(prefix="muslin-benchmark-"))
    try:
        opening = _opening(state, folder / "large.db")
    finally:
        shutil.rmtree(folder)
    return [opening, _verdicts(state), _compiling(state)]


def _opening(state: State, path: Path) -> Result:
    with EventLog.create(path) as log:
        start = commands.bootstrap("offline", "", "", (), now=0.0)
        log.append(start.drafts, 0.0, start.state)
        decision = commands.apply(start.state, load(manifests(SIZE, SIZE, LARGE)).resources, now=0.0, offline=True)
        log.append(decision.drafts, 0.0, decision.state)
        events = log.head()
    packet = _packets(state, 1)[0]

    def opened() -> None:
        with EventLog.open(path, readonly=True) as log:
            evaluate(log.state(), packet)

    data = encode(state)
    floor = _timed(lambda: decode(data))
    figures = [
        Figure("decoding the state's bytes", 1, floor, None),
        Figure("opening the log, and one verdict with its trace", 1, seconds := _timed(opened), seconds / floor),
    ]
    title = f"Scale: opening {SIZE:,} policies and {SIZE:,} endpoints ({events:,} events)"
    return Result(title, "at most 5 s", figures)


def _verdicts(state: State) -> Result:
    """Each answer begins with an oracle that has seen one packet: most endpoints are asked for the first time."""
    packets = _packets(state, PAIRS)
    data = encode(state)
    figures, notes = [], []
    floor = 0.0
    for name, answer in (("allowed: the verdict alone", allowed), ("evaluate: with the whole trace", evaluate)):
        state = decode(data)
        answer(state, packets[0])
        elapsed, busy, each = time.perf_counter(), time.process_time(), []
        for packet in packets:
            start = time.perf_counter()
            answer(state, packet)
            each.append(time.perf_counter() - start)
        elapsed, busy = time.perf_counter() - elapsed, time.process_time() - busy
        figures.append(Figure(name, PAIRS, elapsed, elapsed / floor if floor else None))
        floor = floor or elapsed
        notes.append(
            f"- {name}: median {statistics.median(each) * 1e6:.0f} µs, mean {elapsed / PAIRS * 1e6:.0f} µs, "
            f"of which processor {busy / PAIRS * 1e6:.0f} µs"
        )
    return Result(f"Scale: {PAIRS:,} random pairs, first asked now", "median and mean at most 200 µs", figures, notes)


def _compiling(state: State) -> Result:
    compiler = Compiler()
    fresh = _once(lambda: compiler.compile(state))
    figures = [Figure("a fresh compiler, all nodes", 1, fresh, None)]
    everywhere = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "everywhere"},
        "spec": {"selector": "all()", "types": ["Ingress"], "ingress": [{"action": "Allow"}]},
    }
    changes = (
        ("one policy changed", [policy(501, (80, 1000 + number), LARGE) for number in range(ROUNDS)]),
        ("one pod added", [pod(SIZE + number, shape=LARGE) for number in range(ROUNDS)]),
        ("a policy for every pod added", [everywhere]),
    )
    for name, steps in changes:
        times = []
        for manifest in steps:
            state = commands.apply(state, load(manifest).resources, now=NOW, offline=True).state
            times.append(_once(lambda: compiler.compile(state)))  # noqa: B023 - called at once
        seconds = statistics.median(times)
        figures.append(Figure(name, 1, seconds, seconds / fresh))
    title = f"Scale: compiling {SIZE:,} policies and {SIZE:,} endpoints on {LARGE.nodes} nodes"
    return Result(title, "none", figures)


def _packets(state: State, count: int) -> list[Packet]:
    dice = random.Random(1)
    addresses = [endpoint.addresses[0] for _, endpoint in sorted(state.endpoints.items())]
    return [
        Packet(
            source=dice.choice(addresses),
            destination=dice.choice(addresses),
            protocol=6,
            destination_port=dice.choice((22, 80, 8080)),
        )
        for _ in range(count)
    ]


def _timed(work: Callable[[], object]) -> float:
    return statistics.median(_once(work) for _ in range(ROUNDS))


def _once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
