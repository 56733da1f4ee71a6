"""The oracle and the second reading of the compiled program agree on every cluster and packet."""

from hypothesis import given
from hypothesis import strategies as st

from property_tests.properties.agreement import disagreements, shortcuts
from property_tests.strategies.choices import Choices, Drawn, Seeded
from property_tests.strategies.clusters import Cluster, clusters, surroundings
from property_tests.strategies.kubernetes import kubernetes_policy
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built
from reference.packet import Packet
from reference.state import State

SEEDS = st.integers(0, 2**32)


def some_packets(state: State, seed: int, count: int = 60) -> list[Packet]:
    """Packets worth asking; none when no pod has an address."""
    choices, about = Seeded(seed), interest(state)
    return [packet(choices, about) for _ in range(count)] if has_pods(about) else []


@given(resources=clusters(), seed=SEEDS)
def test_oracle_and_program_agree(resources: Cluster, seed: int) -> None:
    """The oracle's verdict is the compiled program's decision."""
    state = built(resources)
    assert list(disagreements(state, some_packets(state, seed))) == []


@given(resources=clusters(), seed=SEEDS)
def test_the_fast_answer_is_the_explained_one(resources: Cluster, seed: int) -> None:
    """`allowed` says what `evaluate` says."""
    state = built(resources)
    assert list(shortcuts(state, some_packets(state, seed))) == []


def _kubernetes_cluster(choices: Choices) -> Cluster:
    return [*surroundings(choices), *(kubernetes_policy(choices, f"knp{number}") for number in range(3))]


@given(data=st.data(), seed=SEEDS)
def test_kubernetes_definition_is_the_conversion(data: st.DataObject, seed: int) -> None:
    """Invariant 7: Kubernetes policies by their own definition (the oracle) are what conversion (the program) makes."""
    state = built(_kubernetes_cluster(Drawn(data.draw)))
    assert list(disagreements(state, some_packets(state, seed))) == []
