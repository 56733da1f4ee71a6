"""Replaying a log: is every program that was ever enforced still what the history compiles to?"""

from __future__ import annotations

from collections import defaultdict

from reference.log import EventLog
from reference.program.compile import Compiler
from reference.program.types import digest
from reference.state import State, evolve


def verify_programs(log: EventLog, at: int | None = None) -> list[str]:
    """Fold the history from its first event and compile wherever the log says a node enforced a program.

    Returns a line per difference; none means byte for byte the same.
    """
    observed: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for observation in log.observations():
        observed[observation.seq].append((observation.node, observation.digest))
    compiler = Compiler()
    state = State()
    differences = []
    for record in log.records(upto=at):
        state = evolve(state, record)
        if state.seq in observed:
            programs = compiler.compile(state)
            for node, enforced in observed[state.seq]:
                if digest(programs[node]) != enforced:
                    differences.append(
                        f"event {state.seq}, {node}: the program enforced then is not the one compiled now"
                    )
    return differences
