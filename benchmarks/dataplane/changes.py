"""What it takes to load a dataplane, to apply a whole program, and to change one rule or one member of a set."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec

from benchmarks.dataplane.bed import Machine
from benchmarks.dataplane.floors import KERNEL, RESTORED, change_by_itself, timed_with_kernel, watched_apply
from benchmarks.dataplane.packets import LARGE_SET, Plan
from benchmarks.dataplane.record import Change, Record
from benchmarks.dataplane.shapes import (
    CLIENTS,
    NET_SET_SIZE,
    NODES,
    Manifest,
    Policies,
    changed,
    nets,
    network_sets,
    one_of_many,
    state_of,
)
from benchmarks.dataplane.xtables import replaced
from reference.program.compile import Compiler
from reference.program.types import NodeProgram
from reference.state import State

LOAD, APPLY, RULE, MEMBER = "load", "first apply", "one rule", "one member"
SIZES = (10, 100, 1_000, 10_000)
ROUNDS = 5
MINUTES = 4.0  # after which no size is begun
TURNS = 3  # of the ring in a round
MORE, SHORT = 4, 2.0  # first applies in a round, if all before took no more seconds: short ones vary most
_PORTS = (7_000, 7_001, 7_002)
_BY_TRANSACTION = ("nftables", "iptables")  # dataplanes whose change of a rule is one of nf_tables


class Steps(msgspec.Struct, frozen=True):
    """The changes of a cluster: of each, a node's programs in a ring, from each to the next one change.

    More than two, for a dataplane may keep the program before the last one.
    """

    state: State
    rule: Sequence[NodeProgram]
    member: Sequence[NodeProgram]


def policies() -> list[Policies]:
    """What is changed: numbers of policies, and a large set."""
    return [*(Policies("policies", size) for size in SIZES), Policies("policies", 1_000, LARGE_SET)]


def measure(plan: Plan, record: Record, say: Callable[[str], None], save: Callable[[], None]) -> None:
    """Rounds of everything, dataplanes in an order that is new each time."""
    end = time.monotonic() + MINUTES * 60
    prepared: dict[Policies, Steps] = {}
    for number in range(ROUNDS):
        for size in policies():
            if time.monotonic() > end:
                say("the time is over")
                return
            began = time.monotonic()
            steps = prepared.setdefault(size, prepared.get(size) or _steps(size))
            for dataplane in random.sample(plan.dataplanes, len(plan.dataplanes)):
                try:
                    _measure_one(dataplane, size, steps, record)
                except Exception as error:  # noqa: BLE001 - whatever broke, the others are still worth measuring
                    say(f"FAILED {dataplane}: {size}: {record.fail(dataplane, size, error).reason}")
            save()
            say(f"round {number + 1}: {size}: {time.monotonic() - began:.1f} s")


def _steps(size: Policies) -> Steps:
    """The node's program before and after each change; what does not change is shared, as in a cluster."""
    state = state_of(size)
    rules = [one_of_many(size.rules // 2, port) for port in (*_PORTS, 0)]
    return Steps(state, _ring(state, rules), _ring(state, list(_memberships(size.members - 2))))


def _memberships(count: int) -> Iterator[Manifest]:
    """What makes one member come, and another, and the first one go, and the other, into the set of so many nets."""
    *there, one, other = nets(0, count + 2)
    for members in ([*there, one], [*there, one, other], [*there, other], there):
        yield list(network_sets("clients", CLIENTS, members))[count // NET_SET_SIZE]


def _ring(state: State, changes: Sequence[Manifest]) -> Sequence[NodeProgram]:
    """The programs after each of the changes, the last of which leads back to the first program."""
    compiler, node = Compiler(), NODES[0]
    programs = [compiler.compile(state)[node]]
    for change in changes[:-1]:
        state = changed(state, change)
        programs.append(compiler.compile(state)[node])
    return programs


def _measure_one(dataplane: str, size: Policies, steps: Steps, record: Record) -> None:
    began = time.monotonic()
    machine = _first_apply(dataplane, size, steps, record)
    for _ in range(MORE):
        if time.monotonic() - began > SHORT:
            break
        machine.close()
        machine = _first_apply(dataplane, size, steps, record)
    try:
        for what, ring in ((RULE, steps.rule), (MEMBER, steps.member)):
            machine.apply(ring[0])  # nothing is sent: from here on the parts that do not change are the same objects
            series = _series(record, dataplane, size, what)
            for program in [*ring[1:], ring[0]] * TURNS:
                seconds, within = timed_with_kernel(machine, program)
                series.seconds.append(seconds)
                if what == RULE and dataplane in _BY_TRANSACTION:
                    series.floors.setdefault(KERNEL, []).append(within)
        if dataplane == "iptables-legacy":
            alone = [machine.worker.call(replaced) for _ in range(len(steps.rule) * TURNS)]
            _series(record, dataplane, size, RULE).floors.setdefault(KERNEL, []).extend(alone)
        if by_itself := change_by_itself(dataplane, machine, steps.rule, TURNS):
            _series(record, dataplane, size, RULE).floors.setdefault(RESTORED, []).extend(by_itself)
    finally:
        machine.close()


def _first_apply(dataplane: str, size: Policies, steps: Steps, record: Record) -> Machine:
    """Measure one, and what does the same to the kernel on another machine; what was applied to."""
    machine = Machine(NODES[0], steps.state)
    try:
        start = time.perf_counter()
        machine.load(dataplane)
        _series(record, dataplane, size, LOAD).seconds.append(time.perf_counter() - start)
        seconds, replays = watched_apply(dataplane, machine, steps.rule[0])
        floors = {}
        for name, replay in replays.items():
            other = Machine(NODES[0], steps.state)
            floors[name] = other.worker.call(replay)
            other.close()
    except BaseException:
        machine.close()
        raise
    applied = _series(record, dataplane, size, APPLY)
    applied.seconds.append(seconds)
    for name, took in floors.items():
        applied.floors.setdefault(name, []).append(took)
    return machine


def _series(record: Record, dataplane: str, size: Policies, what: str) -> Change:
    for one in record.changes:
        if (one.dataplane, one.policies, one.what) == (dataplane, size, what):
            return one
    record.changes.append(Change(dataplane, size, what))
    return record.changes[-1]
