"""The path of a history does not matter: only what it leaves behind does.

A history is a list of steps. Each expander makes another history that must end in the same place; a failure names the
expander. Addresses are pinned throughout: who gets which address first is the one thing that order may decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from immutables import Map

from property_tests.worlds import World, new_world
from reference.program.compile import Compiler
from reference.program.types import NodeProgram, encode
from reference.resources import AnyResource, IPPool, Key, Node
from reference.state import State


@dataclass(frozen=True, slots=True)
class Step:
    """One command: resources applied together, or keys deleted together."""

    apply: tuple[AnyResource, ...] = ()
    delete: tuple[Key, ...] = ()


History = Sequence[Step]
Expander = Callable[[History], History]


def identity(history: History) -> History:
    """The history itself."""
    return history


def reversed_order(history: History) -> History:
    """Within each step, everything the other way round."""
    return [Step(step.apply[::-1], step.delete[::-1]) for step in history]


def split(history: History) -> History:
    """Every resource in a step of its own: pools and nodes come before pods, tiers go after their policies."""
    steps: list[Step] = []
    for step in history:
        steps += [Step(apply=(resource,)) for resource in sorted(step.apply, key=_is_dependent)]
        steps += [Step(delete=(key,)) for key in sorted(step.delete, key=_is_tier)]
    return steps


def split_backwards(history: History) -> History:
    """Every resource in a step of its own, the last first, as far as what needs what allows."""
    return split(reversed_order(history))


def duplicated(history: History) -> History:
    """Every apply twice."""
    return [again for step in history for again in ((step, step) if step.apply else (step,))]


def with_nothing_between(history: History) -> History:
    """A command that changes nothing before and after each step."""
    return [Step(), *(part for step in history for part in (step, Step()))]


def repeated_from_the_start(history: History) -> History:
    """After each step, everything that is there by then is applied again."""
    steps: list[Step] = []
    present: dict[Key, AnyResource] = {}
    for step in history:
        present |= {resource.key: resource for resource in step.apply}
        present = {key: resource for key, resource in present.items() if key not in step.delete}
        steps += [step, Step(apply=tuple(present.values()))]
    return steps


def squashed(history: History) -> History:
    """What is there at the end, applied in one step."""
    present: dict[Key, AnyResource] = {}
    for step in history:
        present |= {resource.key: resource for resource in step.apply}
        present = {key: resource for key, resource in present.items() if key not in step.delete}
    return [Step(apply=tuple(present.values()))]


EXPANDERS: tuple[Expander, ...] = (
    identity,
    reversed_order,
    split,
    split_backwards,
    duplicated,
    with_nothing_between,
    repeated_from_the_start,
    squashed,
)


def _is_tier(key: Key) -> bool:
    return key.kind == "Tier"


def _is_dependent(resource: AnyResource) -> bool:
    return not isinstance(resource, (IPPool, Node))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a history ended: the state, and each node's program, kept up step by step by one compiler."""

    world: World
    programs: Map[str, NodeProgram]

    @property
    def state(self) -> State:
        """The state at the end."""
        return self.world.state


def run(history: History) -> Outcome:
    """Live a history in a new cluster, compiling after each step."""
    world, compiler = new_world(), Compiler()
    programs = compiler.compile(world.state)
    for step in history:
        if step.apply or not step.delete:
            world = world.apply(*step.apply)
        if step.delete:
            world = world.delete(*step.delete)
        programs = compiler.compile(world.state)
    return Outcome(world, programs)


def essence(state: State) -> Mapping[str, object]:
    """What of a state must not depend on its path. Blocks do: who claimed one, and when, is history."""
    return {
        "resources": {kind: dict(found) for kind, found in state.resources.items() if found},
        "endpoints": dict(state.endpoints),
        "addresses": dict(state.addresses),
        "hosts": dict(state.hosts),
    }


def encoded(programs: Map[str, NodeProgram]) -> Mapping[str, bytes]:
    """The canonical bytes of each node's program."""
    return {node: encode(program) for node, program in programs.items()}
