"""The compiler's memory: never in the result, always in the identity of what did not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map
from msgspec import structs

from property_tests.strategies.choices import Choices, Seeded
from property_tests.strategies.clusters import cluster
from reference.endpoints import EndpointPort, Host, WorkloadEndpoint
from reference.errors import InvalidInputError
from reference.program.compile import Compiler
from reference.program.descent import touched_between
from reference.program.types import NodeProgram, encode
from reference.resources import (
    AnyResource,
    GlobalNetworkPolicy,
    Key,
    Metadata,
    Namespace,
    NetworkPolicy,
    NetworkSet,
    Pod,
)
from reference.resources.calico import (
    EntityRule,
    GlobalNetworkPolicySpec,
    NetworkPolicySpec,
    NetworkSetSpec,
    Rule,
)
from reference.state import State

POLICIES, PODS, NODES, APPS = 1000, 1000, 3, 100


def encoded(programs: Map[str, NodeProgram]) -> dict[str, bytes]:
    """The canonical bytes of every program."""
    return {name: encode(program) for name, program in programs.items()}


# ---- any history ends in the programs a new compiler gives


def endpoint_of(pod: Pod, place: int, nodes: int) -> WorkloadEndpoint:
    """An endpoint for a pod, at an address and on a node that follow from a number."""
    own = {"projectcalico.org/namespace": pod.namespace, "projectcalico.org/orchestrator": "k8s"}
    account = pod.spec.service_account_name or "default"
    return WorkloadEndpoint(
        namespace=pod.namespace,
        pod=pod.name,
        node=f"node-{place % nodes}",
        interface=f"cali{pod.namespace}{pod.name}",
        addresses=(f"10.0.0.{place}", f"fd00::{place:x}"),
        labels={**pod.metadata.labels, **own},
        profiles=(f"kns.{pod.namespace}", f"ksa.{pod.namespace}.{account}"),
        ports=tuple(
            EndpointPort(name=port.name, protocol=6, port=port.container_port)
            for container in pod.spec.containers
            for port in container.ports
        ),
    )


def applied(state: State, resource: AnyResource, choices: Choices) -> State:
    """The state with a resource in it, a pod with its endpoint."""
    kind = resource.key.kind
    of_kind = state.resources.get(kind, Map()).set(resource.key, resource)
    state = replace(state, seq=state.seq + 1, resources=state.resources.set(kind, of_kind))
    if not isinstance(resource, Pod):
        return state
    endpoint = endpoint_of(resource, choices.integer(1, 9), 3)
    return replace(state, endpoints=state.endpoints.set((endpoint.namespace, endpoint.pod), endpoint))


def deleted(state: State, key: Key) -> State:
    """The state without a resource, a pod without its endpoint."""
    resources = state.resources.set(key.kind, state.resources[key.kind].delete(key))
    endpoints = state.endpoints.delete((key.namespace, key.name)) if key.kind == "Pod" else state.endpoints
    return replace(state, seq=state.seq + 1, resources=resources, endpoints=endpoints)


def with_host(state: State, name: str, *, there: bool) -> State:
    """The state with or without a node."""
    host = Host(name=name, addresses=(), subnet="a", is_node=True)
    hosts = state.hosts.set(name, host) if there else state.hosts.delete(name) if name in state.hosts else state.hosts
    return replace(state, seq=state.seq + 1, hosts=hosts)


def step(state: State, choices: Choices, offered: list[AnyResource]) -> State:
    """One random change: apply (most often over something that is there), delete, or a node that comes or goes."""
    held = [key for kind in state.resources.values() for key in kind]
    if held and choices.chance(30):
        return deleted(state, choices.pick(sorted(held)))
    if choices.chance(10):
        return with_host(state, f"node-{choices.integer(0, 2)}", there=choices.chance(60))
    return applied(state, choices.pick(offered), choices)


@given(seed=st.integers(0, 2**32), lengths=st.lists(st.integers(1, 8), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_any_history_gives_what_a_new_compiler_gives(seed: int, lengths: list[int]) -> None:
    """After each of several batches of random changes, the programs are byte for byte those of a new compiler."""
    choices = Seeded(seed)
    offered = [resource for _ in range(3) for resource in cluster(choices)]
    state = State()
    for number in range(3):
        state = with_host(state, f"node-{number}", there=True)
    compiler = Compiler()
    before: Map[str, NodeProgram] = Map()
    for length in lengths:
        for _ in range(length):
            state = step(state, choices, offered)
        programs = compiler.compile(state)
        assert encoded(programs) == encoded(Compiler().compile(state))
        for name in (name for name in programs if name in before):
            assert_nothing_is_withheld(before[name], programs[name])
        before = programs


def assert_nothing_is_withheld(before: NodeProgram, after: NodeProgram) -> None:
    """Whatever differs between two programs is among what the compiler tells of the change, if it tells anything."""
    for sort in ("sets", "policies", "walks"):
        old, new = getattr(before, sort), getattr(after, sort)
        differs = {id_ for id_ in {*old, *new} if old.get(id_) != new.get(id_)}
        told = touched_between(old, new)
        assert told is None or differs <= told
    for id_ in (id_ for id_ in before.sets if id_ in after.sets):
        told = touched_between(before.sets[id_].members, after.sets[id_].members)
        assert told is None or told == before.sets[id_].members ^ after.sets[id_].members


def test_going_back_in_history_is_a_change_like_any_other() -> None:
    """A state compiled again after others gives the same bytes as the first time."""
    before = big_state(20, 20)
    after = with_policy(before, policy(3, peer="app == 'none'"))
    compiler = Compiler()
    first = encoded(compiler.compile(before))
    assert encoded(compiler.compile(after)) != first
    assert encoded(compiler.compile(before)) == first


def test_a_policy_that_changes_its_selector_keeps_whom_it_still_selects() -> None:
    """A selector made wider and then narrower again, nothing else: the pod in both is selected throughout."""
    state = big_state(20, 20)
    wider = structs.replace(policy(3), spec=structs.replace(policy(3).spec, selector="app in {'app-3', 'app-4'}"))
    compiler = Compiler()
    for changed in (policy(3), wider, policy(3)):
        state = with_policy(state, changed)
        assert encoded(compiler.compile(state)) == encoded(Compiler().compile(state))


def test_a_failed_compile_leaves_nothing_behind() -> None:
    """After a state that cannot be compiled, the next one is compiled as by a new compiler."""
    good = big_state(20, 20)
    bad = with_policy(good, policy(3, peer="app = 'single equals sign'"))
    compiler = Compiler()
    compiler.compile(good)
    with pytest.raises(InvalidInputError):
        compiler.compile(bad)
    assert encoded(compiler.compile(good)) == encoded(Compiler().compile(good))


# ---- a change touches only what depends on it


def policy(number: int, peer: str | None = None, order: float | None = None) -> NetworkPolicy:
    """Policy number `number`: it selects one app, and lets another in."""
    peer = f"app == 'app-{number * 7 % APPS}'" if peer is None else peer
    rule = Rule(action="Allow", protocol="TCP", source=EntityRule(selector=peer))
    spec = NetworkPolicySpec(selector=f"app == 'app-{number % APPS}'", types=("Ingress",), ingress=(rule,), order=order)
    return NetworkPolicy(metadata=Metadata(name=f"policy-{number}", namespace="shop"), spec=spec)


def endpoint(number: int, app: int | None = None) -> WorkloadEndpoint:
    """Endpoint number `number`, of the app of that number."""
    own = {"projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s"}
    return WorkloadEndpoint(
        namespace="shop",
        pod=f"pod-{number}",
        node=f"node-{number % NODES}",
        interface=f"cali{number:x}",
        addresses=(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",),
        labels={"app": f"app-{number if app is None else app}", **own},
        profiles=("kns.shop",),
    )


def big_state(policies: int = POLICIES, pods: int = PODS) -> State:
    """Many policies and many pods, of a hundred apps, on three nodes."""
    resources: dict[str, Map[Key, AnyResource]] = {
        "NetworkPolicy": Map({each.key: each for each in map(policy, range(policies))})
    }
    namespace = Namespace(metadata=Metadata(name="shop"))
    resources["Namespace"] = Map({namespace.key: namespace})
    endpoints = {("shop", f"pod-{number}"): endpoint(number, number % APPS) for number in range(pods)}
    hosts = {f"node-{n}": Host(name=f"node-{n}", addresses=(), subnet="a", is_node=True) for n in range(NODES)}
    return State(seq=1, resources=Map(resources), endpoints=Map(endpoints), hosts=Map(hosts))


def with_policy(state: State, changed: AnyResource) -> State:
    """The state with a policy replaced or added."""
    kind = changed.key.kind
    of_kind = state.resources.get(kind, Map()).set(changed.key, changed)
    return replace(state, seq=state.seq + 1, resources=state.resources.set(kind, of_kind))


def with_endpoint(state: State, changed: WorkloadEndpoint) -> State:
    """The state with an endpoint replaced or added."""
    key = (changed.namespace, changed.pod)
    return replace(state, seq=state.seq + 1, endpoints=state.endpoints.set(key, changed))


def fresh_parts(before: Map[str, NodeProgram], after: Map[str, NodeProgram]) -> dict[str, int]:
    """How many parts of each sort, over all nodes, are not the objects they were."""
    counts = dict.fromkeys(("sets", "policies", "walks", "endpoints"), 0)
    for name, program in after.items():
        for sort in counts:
            old, new = getattr(before[name], sort), getattr(program, sort)
            counts[sort] += sum(old.get(id_) is not part for id_, part in new.items())
            counts[sort] += sum(id_ not in new for id_ in old)
    return counts


def changed_parts(state: State, after: State) -> dict[str, int]:
    """The parts that a change of a thousand-policy cluster renews."""
    compiler = Compiler()
    before = compiler.compile(state)
    return fresh_parts(before, compiler.compile(after))


@pytest.fixture(scope="module")
def state() -> State:
    """A thousand policies and a thousand pods; each policy is needed on every node."""
    return big_state()


def test_changed_rules_renew_one_policy(state: State) -> None:
    """New rules over a known set: the one policy on each node, and no walk, endpoint or set."""
    changed = policy(3, peer="app == 'app-4'")
    assert changed_parts(state, with_policy(state, changed)) == {
        "sets": 0, "policies": NODES, "walks": 0, "endpoints": 0,
    }  # fmt: skip


def test_a_change_is_told_beside_the_programs(state: State) -> None:
    """Dataplanes need not search: of a thousand policies the compiler names the one that changed."""
    compiler = Compiler()
    before = compiler.compile(state)
    after = compiler.compile(with_policy(state, policy(3, peer="app == 'app-4'")))
    for name, program in after.items():
        assert touched_between(before[name].policies, program.policies) == {"np:shop/policy-3"}


def test_a_new_peer_renews_one_policy_and_its_set(state: State) -> None:
    """Rules over a selector nobody used: the policy, and both families of its set, on each node."""
    changed = policy(3, peer="app == 'app-4' || app == 'app-5'")
    assert changed_parts(state, with_policy(state, changed)) == {
        "sets": 2 * NODES, "policies": NODES, "walks": 0, "endpoints": 0,
    }  # fmt: skip


def test_a_new_order_renews_only_walks_and_who_takes_them(state: State) -> None:
    """An order that moves a policy: the ten pods it selects take a new walk, its own program stays."""
    counts = changed_parts(state, with_policy(state, policy(3, order=1.0)))
    assert (counts["sets"], counts["policies"], counts["endpoints"]) == (0, 0, PODS // APPS)
    assert counts["walks"] == 2 * NODES  # the old one and the new one, on each node


def test_an_equal_resource_renews_nothing(state: State) -> None:
    """A policy applied again, or one whose annotations changed, leaves every part as it was."""
    again = policy(3)
    annotated = structs.replace(again, metadata=structs.replace(again.metadata, annotations={"note": "seen"}))
    for changed in (again, annotated):
        assert set(changed_parts(state, with_policy(state, changed)).values()) == {0}


def test_a_new_pod_renews_its_sets_and_itself(state: State) -> None:
    """A pod of a known app: its endpoint, and the IPv4 set its app is in; the walk is shared."""
    counts = changed_parts(state, with_endpoint(state, endpoint(PODS, 5)))
    assert counts == {"sets": NODES, "policies": 0, "walks": 0, "endpoints": 1}


def test_a_relabelled_pod_renews_two_sets_and_itself(state: State) -> None:
    """A pod that changes app leaves one set for another, and takes another walk that is there already."""
    counts = changed_parts(state, with_endpoint(state, endpoint(17, 18)))
    assert counts == {"sets": 2 * NODES, "policies": 0, "walks": 0, "endpoints": 1}


def test_a_policy_for_everybody_renews_no_set_and_no_policy(state: State) -> None:
    """A global policy on every pod adds itself on each node; all others stay the same objects."""
    everybody = GlobalNetworkPolicy(metadata=Metadata(name="all"), spec=GlobalNetworkPolicySpec(types=("Ingress",)))
    counts = changed_parts(state, with_policy(state, everybody))
    assert (counts["sets"], counts["policies"], counts["endpoints"]) == (0, NODES, PODS)


def test_a_network_set_no_selector_matches_renews_nothing(state: State) -> None:
    """What nobody refers to is in no program."""
    unseen = NetworkSet(
        metadata=Metadata(name="s", namespace="shop", labels={"kind": "unseen"}),
        spec=NetworkSetSpec(nets=("10.0.0.0/8",)),
    )
    assert set(changed_parts(state, with_policy(state, unseen)).values()) == {0}


def test_only_the_sequence_number_moves(state: State) -> None:
    """A state that differs in nothing but its number gives programs made of the very same maps."""
    compiler = Compiler()
    before = compiler.compile(state)
    after = compiler.compile(replace(state, seq=state.seq + 5))
    for name, program in after.items():
        assert program.seq == state.seq + 5
        assert all(
            getattr(program, field) is getattr(before[name], field)
            for field in ("sets", "policies", "walks", "endpoints", "nat_sources", "pools")
        )


def test_the_same_state_gives_the_same_programs(state: State) -> None:
    """Compiling a state twice gives the same objects."""
    compiler = Compiler()
    before, after = compiler.compile(state), compiler.compile(state)
    assert all(after[name] is program for name, program in before.items())
