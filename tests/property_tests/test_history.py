"""The path of a history does not matter, and a replayed log is the live state."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from property_tests.properties.history import EXPANDERS, Expander, History, Step, encoded, essence, run
from property_tests.strategies.choices import Choices, Drawn
from property_tests.strategies.clusters import Cluster, cluster, policies, surroundings
from property_tests.worlds import built, new_world, pinned
from reference.canonical import encode
from reference.events import Record
from reference.program.compile import Compiler
from reference.resources import IPPool, Key, Namespace, Node
from reference.state import fold


def keys(resources: Cluster) -> tuple[Key, ...]:
    """The keys of resources, the last first: policies before their tiers."""
    return tuple(resource.key for resource in reversed(resources))


def histories(choices: Choices) -> list[Step]:
    """A cluster comes up, gets policies, loses them for others, and loses a pod; every pod is pinned."""
    declared = surroundings(choices)
    state = built(declared)
    made = [*state.all(IPPool), *state.all(Namespace), *state.all(Node)]  # declared or not, from the beginning
    declared_keys = {resource.key for resource in declared}
    ground = [*(one for one in made if one.key not in declared_keys), *pinned(declared, state)]
    first, second = policies(choices), policies(choices)
    gone = [key for key in keys(first) if key not in keys(second)]
    steps = [Step(apply=tuple(ground)), Step(apply=tuple(first)), Step(apply=tuple(second))]
    if gone:
        steps.append(Step(delete=tuple(gone)))
    pods = [one.key for one in ground if one.key.kind == "Pod"]
    if choices.chance(50):
        steps.append(Step(delete=(choices.pick(pods),)))
    return steps


@pytest.mark.parametrize("expand", EXPANDERS, ids=lambda expander: expander.__name__)
@given(data=st.data())
def test_the_path_does_not_matter(expand: Expander, data: st.DataObject) -> None:
    """Whatever way a history is told, it ends in the same resources, endpoints and programs."""
    history: History = histories(Drawn(data.draw))
    straight, other = run(history), run(expand(history))
    assert essence(other.state) == essence(straight.state)
    assert encoded(other.programs) == encoded(straight.programs)


@given(data=st.data())
def test_a_compiler_with_a_past_compiles_what_a_new_one_does(data: st.DataObject) -> None:
    """The programs kept up through a history are those a new compiler makes of its end, byte for byte."""
    end = run(histories(Drawn(data.draw)))
    assert encoded(end.programs) == encoded(Compiler().compile(end.state))


@given(data=st.data())
def test_replay_is_the_live_state(data: st.DataObject) -> None:
    """Folding the records gives the state that the commands saw, at every point."""
    world = run(histories(Drawn(data.draw))).world
    assert fold(world.records) == world.state
    middle = len(world.records) // 2
    assert fold(world.records[middle:], fold(world.records[:middle])) == world.state


@given(data=st.data())
def test_stored_records_replay_to_the_live_state(data: st.DataObject) -> None:
    """Records that went through their stored form fold to the same state, and compile to the same bytes."""
    world = new_world().apply(*cluster(Drawn(data.draw)))
    stored = [msgspec.json.encode(record) for record in world.records]
    replayed = fold(msgspec.json.decode(text, type=Record) for text in stored)
    assert replayed == world.state
    assert encode(replayed) == encode(world.state)
    assert encoded(Compiler().compile(replayed)) == encoded(Compiler().compile(world.state))
