"""Block-based IPAM: which address a pod gets, and what becomes of it (semantics 2g)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import commands
from reference.endpoints import Host
from reference.errors import InvalidInputError, RefusedError
from reference.ipam.ranges import Range, address_of, fnv1_32, start_index
from reference.ipam.release import Release, find, release_addresses, release_handle
from reference.plan import Plan
from reference.resources import AnyResource, IPPool, Key, Namespace, Pod
from reference.resources.calico import IPPoolSpec
from reference.resources.defaults import defaulted
from reference.resources.metadata import Metadata
from reference.state import State

PINNED = "cni.projectcalico.org/ipAddrs"
POOLS = "cni.projectcalico.org/ipv4pools"
HOSTS = [Host(name=f"node-{n}", addresses=(f"172.30.1.{10 + n}",), subnet="lan", is_node=True) for n in (1, 2, 3)]


def pool(name: str, cidr: str, **spec: Any) -> AnyResource:
    """A pool as a manifest gives it."""
    return defaulted(IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, **spec)))


def pod(name: str, node: str = "node-1", namespace: str = "shop", **annotations: str) -> Pod:
    """A pod on a node. Annotations are named by their constants."""
    plain = Pod(metadata=Metadata(name=name, namespace=namespace, annotations=annotations))
    made = defaulted(plain)
    assert isinstance(made, Pod)
    return type(made)(metadata=made.metadata, spec=type(made.spec)(node_name=node, service_account_name="default"))


def cluster(*resources: AnyResource, now: float = 0.0) -> State:
    """Three nodes and these resources."""
    begun = commands.bootstrap("test", "single", "nftables", HOSTS, now=now).state
    return commands.apply(begun, resources, now=now).state


def addresses(state: State) -> dict[str, str]:
    """Each pod's addresses, joined."""
    return {endpoint.pod: ",".join(endpoint.addresses) for endpoint in state.endpoints.values()}


def add(state: State, *resources: AnyResource, now: float = 0.0) -> State:
    """The state with more resources."""
    return commands.apply(state, resources, now=now).state


def remove(state: State, *names: str) -> State:
    """The state without these pods of namespace shop."""
    return commands.delete(state, [Key("Pod", "shop", name) for name in names], now=0.0).state


# -- inside a block ----------------------------------------------------------------------------------------------------


def test_fresh_block_is_used_whole_and_in_ascending_order() -> None:
    """All 2^n addresses of a block are given out, the first first, network and broadcast included (IPAM-1, IPAM-9)."""
    state = cluster(pool("p", "10.0.0.0/29", block_size=29), *(pod(f"p{n}") for n in range(8)))
    assert addresses(state) == {f"p{n}": f"10.0.0.{n}" for n in range(8)}


def test_freed_address_is_the_last_to_be_used_again() -> None:
    """A freed address joins the tail: reuse is least-recently-freed (IPAM-9)."""
    state = cluster(pool("p", "10.0.0.0/30", block_size=30), *(pod(f"p{n}") for n in range(3)))
    state = remove(remove(state, "p2"), "p0")
    state = add(add(add(state, pod("a")), pod("b")), pod("c"))
    assert [addresses(state)[name] for name in "abc"] == ["10.0.0.3", "10.0.0.2", "10.0.0.0"]


# -- candidate pools (IPAM-4) ------------------------------------------------------------------------------------------


def test_pools_are_tried_by_name() -> None:
    """Without a request the pools are used in the order of their names."""
    state = cluster(pool("b", "10.1.0.0/31", block_size=32), pool("a", "10.0.0.0/31", block_size=32), pod("one"))
    assert addresses(state)["one"].startswith("10.0.0.")


UNUSABLE = {
    "disabled": {"disabled": True},
    "manual": {"assignment_mode": "Manual"},
    "for other nodes": {"node_selector": "rack == 'x'"},
    "for other namespaces": {"namespace_selector": "team == 'x'"},
    "for tunnels": {"allowed_uses": ("Tunnel",)},
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_pool_that_does_not_qualify_is_passed_over(name: str) -> None:
    """Disabled, Manual, other nodes', other namespaces' and other uses' pools are not assigned from."""
    state = cluster(pool("a", "10.0.0.0/24", **UNUSABLE[name]), pool("b", "10.1.0.0/24"), pod("one"))
    assert addresses(state)["one"].startswith("10.1.0.")


@pytest.mark.parametrize("name", UNUSABLE)
def test_no_pool_left_is_an_error_that_names_pod_and_node(name: str) -> None:
    """When no pool qualifies, the error says for whom and what to change."""
    with pytest.raises(RefusedError, match=r"pod shop/one on node-1|every IPPool"):
        cluster(pool("a", "10.0.0.0/24", **UNUSABLE[name]), pod("one"))


def test_selected_node_and_namespace_may_use_the_pool() -> None:
    """NodeSelector sees the node's labels, namespaceSelector the namespace's."""
    chosen = pool(
        "a", "10.0.0.0/24", node_selector="kubernetes.io/hostname == 'node-2'", namespace_selector="team == 'a'"
    )
    shop = defaulted(Namespace(metadata=Metadata(name="shop", labels={"team": "a"})))
    state = cluster(chosen, pool("b", "10.1.0.0/24"), shop, pod("here", "node-2"), pod("there", "node-1"))
    assert addresses(state)["here"].startswith("10.0.0.")
    assert addresses(state)["there"].startswith("10.1.0.")


@pytest.mark.parametrize("name", ["manual", "for other nodes", "for other namespaces"])
@pytest.mark.parametrize("how", ['["a"]', '["10.0.0.0/24"]'])
def test_named_pool_ignores_selectors_and_mode(name: str, how: str) -> None:
    """A pool named by annotation, by name or CIDR, is used whatever it selects, and in Manual mode too (IPAM-4)."""
    state = cluster(pool("a", "10.0.0.0/24", **UNUSABLE[name]), pool("b", "10.1.0.0/24"), pod("one", **{POOLS: how}))
    assert addresses(state)["one"].startswith("10.0.0.")


def test_pod_annotation_goes_before_the_namespaces() -> None:
    """The pod's pools win over its namespace's, and those over all others (1.3)."""
    shop = defaulted(Namespace(metadata=Metadata(name="shop", annotations={POOLS: '["b"]'})))
    pools = [pool("a", "10.0.0.0/24"), pool("b", "10.1.0.0/24"), pool("c", "10.2.0.0/24")]
    state = cluster(*pools, shop, pod("plain"), pod("own", **{POOLS: '["c"]'}))
    assert addresses(state)["plain"].startswith("10.1.0.")
    assert addresses(state)["own"].startswith("10.2.0.")


def test_named_pools_are_used_in_the_order_they_are_named() -> None:
    """Requested pools keep their order; the second is used when the first is full."""
    pools = [pool("a", "10.0.0.0/32", block_size=32), pool("b", "10.1.0.0/32", block_size=32)]
    named = {POOLS: '["b", "a"]'}
    state = cluster(*pools, pod("one", **named), pod("two", **named))
    assert addresses(state) == {"one": "10.1.0.0", "two": "10.0.0.0"}


BROKEN = {
    '["nowhere"]': r"IPv4 pool 'nowhere' is asked for by annotation and does not exist \(there are: a, off\)",
    '["off"]': "pool off is asked for by annotation and is disabled",
    "a": "write a JSON list of pools",
}


@pytest.mark.parametrize("value", BROKEN)
def test_wrong_pool_annotation_is_refused(value: str) -> None:
    """A pool that is missing or disabled, and an annotation that is no list, are refused with a reason."""
    with pytest.raises(RefusedError, match=BROKEN[value]):
        cluster(pool("a", "10.0.0.0/24"), pool("off", "10.1.0.0/24", disabled=True), pod("one", **{POOLS: value}))


def test_empty_block_of_a_pool_that_lost_the_node_is_released() -> None:
    """Assigning lets go of the node's empty blocks in pools that no longer select it (IPAM-4)."""
    state = remove(cluster(pool("a", "10.0.0.0/24"), pod("one")), "one")
    assert {block.pool for block in state.blocks.values()} == {"a"}
    state = add(state, pool("a", "10.0.0.0/24", node_selector="rack == 'x'"), pool("b", "10.1.0.0/24"), pod("two"))
    assert {block.pool for block in state.blocks.values()} == {"b"}


# -- blocks of a node --------------------------------------------------------------------------------------------------


def test_own_blocks_are_filled_before_a_new_one_is_claimed() -> None:
    """A node with free addresses in its blocks claims none (IPAM-5)."""
    state = cluster(pool("p", "10.0.0.0/24", block_size=30), *(pod(f"p{n}") for n in range(5)))
    assert sorted(len(block.allocations) for block in state.blocks.values()) == [1, 4]
    state = add(remove(state, "p0"), pod("again"), pod("and-again"))
    assert sorted(len(block.allocations) for block in state.blocks.values()) == [2, 4]


def test_nodes_have_blocks_of_their_own() -> None:
    """Each node claims its own block, with its affinity and the time of the claim (IPAM-6, IPAM-8)."""
    state = cluster(pool("p", "10.0.0.0/24"), pod("a", "node-1"), pod("b", "node-2"), now=9.0)
    assert sorted((b.affinity, b.pool, b.claimed_at) for b in state.blocks.values()) == [
        ("host:node-1", "p", 9.0),
        ("host:node-2", "p", 9.0),
    ]


def test_blocks_are_claimed_onwards_from_the_hosts_start_with_wrap_around() -> None:
    """A host begins at its start index and goes on linearly, past the end to the beginning (IPAM-6)."""
    span = Range(4, 10 << 24, 28, 30)
    start = start_index(span, "node-1", 0.0)
    state = cluster(pool("p", "10.0.0.0/28", block_size=30))
    order = []
    for n in range(16):
        state = add(state, pod(f"p{n}"))
        new = set(state.blocks) - set(order)
        order += new
    assert order == [span.block((start + n) % 4) for n in range(4)] == list(span.walk(start))


def test_start_index_is_seeded_by_the_fnv_hash_of_the_host() -> None:
    """The seed is FNV-1 32 of the name, so the start is the same every time; blocks of one address use the time."""
    assert (fnv1_32(b""), fnv1_32(b"a"), fnv1_32(b"foobar")) == (0x811C9DC5, 0x050C5D7E, 0x31F0B262)
    many, single = Range(4, 0, 8, 26), Range(4, 0, 8, 32)
    assert start_index(many, "node-1", 1.0) == start_index(many, "node-1", 2.0) != start_index(many, "node-2", 1.0)
    assert start_index(single, "node-1", 1.0) != start_index(single, "node-1", 2.0)


def test_block_limit_does_not_fall_through_to_borrowing() -> None:
    """A node with 20 full blocks gets an error, though another node has free addresses to lend (IPAM-6)."""
    blocks = pool("p", "10.0.0.0/24", block_size=32)
    state = cluster(blocks, *(pod(f"p{n}") for n in range(20)))
    with pytest.raises(RefusedError, match=r"pod shop/more on node-1: node-1 already owns 20 blocks in pools p"):
        add(state, pod("more"))
    assert addresses(add(state, pod("more", "node-2")))["more"]


def test_block_limit_counts_only_the_candidate_pools() -> None:
    """Blocks of other pools do not count against the limit (IPAM-6)."""
    state = cluster(pool("p", "10.0.0.0/24", block_size=32), *(pod(f"p{n}") for n in range(20)))
    state = add(state, pool("q", "10.1.0.0/24", block_size=32))
    assert addresses(add(state, pod("more", **{POOLS: '["q"]'})))["more"].startswith("10.1.0.")


def test_borrows_from_another_node_when_no_block_is_left() -> None:
    """With every block taken, an address comes from another node's block, which keeps its owner (IPAM-7)."""
    state = cluster(pool("p", "10.0.0.0/30", block_size=30), pod("owner", "node-1"), pod("guest", "node-2"))
    assert addresses(state) == {"owner": "10.0.0.0", "guest": "10.0.0.1"}
    block = state.blocks["10.0.0.0/30"]
    assert block.affinity == "host:node-1"
    assert block.allocations[1].attributes["node"] == "node-2"


@pytest.mark.parametrize(("age", "owner"), [(59.0, "host:node-1"), (60.0, "host:node-2")])
def test_old_empty_block_of_another_node_is_reclaimed(age: float, owner: str) -> None:
    """An empty block changes owner from one minute after its claim; before, it is borrowed from (IPAM-6)."""
    state = remove(cluster(pool("p", "10.0.0.0/30", block_size=30), pod("one", "node-1"), now=100.0), "one")
    state = add(state, pod("two", "node-2"), now=100.0 + age)
    assert state.blocks["10.0.0.0/30"].affinity == owner
    assert state.blocks["10.0.0.0/30"].allocations


def test_exhausted_pool_names_pool_node_and_remedy() -> None:
    """When nothing is left, the error names pod, node, pool and range, and says what to do; nothing is assigned."""
    state = cluster(pool("tiny", "10.0.0.0/30", block_size=30), *(pod(f"p{n}") for n in range(4)))
    with pytest.raises(
        RefusedError, match=r"pod shop/more on node-2: no free IPv4 address in tiny \(10\.0\.0\.0/30\); delete pods"
    ):
        add(state, pod("more", "node-2"))


def test_disabled_pool_keeps_what_it_gave() -> None:
    """Disabling a pool stops assignment; addresses in use stay (IPAM-18)."""
    state = cluster(pool("a", "10.0.0.0/24"), pod("one"))
    state = add(state, pool("a", "10.0.0.0/24", disabled=True), pool("b", "10.1.0.0/24"), pod("two"))
    assert addresses(state)["one"].startswith("10.0.0.")
    assert addresses(state)["two"].startswith("10.1.0.")


def test_deleted_pool_loses_its_owners_but_not_its_addresses() -> None:
    """Deleting a pool releases its affinities: empty blocks are gone, used ones stay until empty (IPAM-15, IPAM-18)."""
    state = cluster(pool("a", "10.0.0.0/24"), pod("one"), pod("two", "node-2"))
    state = remove(state, "two")
    state = commands.delete(state, [Key("IPPool", "", "a")], now=0.0).state
    assert [block.affinity for block in state.blocks.values()] == [None]
    assert addresses(state)["one"]
    assert not remove(state, "one").blocks


# -- both families -----------------------------------------------------------------------------------------------------


def test_default_pools_are_made_when_there_are_none() -> None:
    """The first pod of a cluster without pools makes the default pools of both families."""
    state = cluster(pod("one"))
    assert {p.name: (p.spec.cidr, p.spec.block_size) for p in state.all(IPPool)} == {
        "default-ipv4-ippool": ("10.244.0.0/16", 26),
        "default-ipv6-ippool": ("fd00:10:244::/48", 122),
    }
    first, second = state.endpoints["shop", "one"].addresses
    assert first.startswith("10.244.")
    assert second.startswith("fd00:10:244:")


def test_dual_stack_is_all_or_nothing() -> None:
    """When one family is exhausted the pod gets neither, and the command no event (IPAM-10)."""
    pools = [pool("four", "10.0.0.0/24"), pool("six", "fd00::/128", block_size=128)]
    state = cluster(*pools, pod("one"))
    with pytest.raises(RefusedError, match="no free IPv6 address in six"):
        add(state, pod("two"))
    assert addresses(state) == {"one": addresses(state)["one"]}


# -- one particular address (IPAM-12) ----------------------------------------------------------------------------------


def test_pinned_address_is_assigned_and_its_block_claimed() -> None:
    """A pinned address is given as asked; a block nobody has is claimed for the node."""
    state = cluster(pool("p", "10.0.0.0/24"), pod("one", "node-2", **{PINNED: '["10.0.0.77"]'}))
    assert addresses(state)["one"] == "10.0.0.77"
    assert state.blocks["10.0.0.64/26"].affinity == "host:node-2"


def test_pinned_address_in_anothers_block_is_borrowed() -> None:
    """A block that belongs to another node keeps its owner."""
    state = cluster(pool("p", "10.0.0.0/26"), pod("one"), pod("two", "node-2", **{PINNED: '["10.0.0.9"]'}))
    assert addresses(state)["two"] == "10.0.0.9"
    assert [b.affinity for b in state.blocks.values()] == ["host:node-2"]  # pinned pods are placed first
    assert addresses(state)["one"] == "10.0.0.0"


def test_pinned_address_is_never_given_to_another_in_the_same_command() -> None:
    """Pods that pin an address are served first, whatever their order in the manifest."""
    state = cluster(pool("p", "10.0.0.0/26"), pod("any"), pod("fixed", **{PINNED: '["10.0.0.0"]'}))
    assert addresses(state) == {"fixed": "10.0.0.0", "any": "10.0.0.1"}


REFUSED_PINS = {
    '["10.0.0.5"]': r"address 10\.0\.0\.5 is already assigned by shop/first",
    '["10.9.0.1"]': r"address 10\.9\.0\.1 is in no IPPool",
    '["10.1.0.1"]': r"address 10\.1\.0\.1 is in pool tunnels, whose allowedUses lacks Workload",
    '["10.0.0.6", "10.0.0.7"]': "has two addresses of one family",
    '["ten"]': '"ten" is not an IP address',
    "10.0.0.6": "write a JSON list of addresses",
}


@pytest.mark.parametrize("value", REFUSED_PINS)
def test_pin_that_cannot_be_is_refused(value: str) -> None:
    """An address in use, outside the pools, of another use, or no address at all is refused with a reason."""
    state = cluster(
        pool("p", "10.0.0.0/24"),
        pool("tunnels", "10.1.0.0/24", allowed_uses=("Tunnel",)),
        pod("first", **{PINNED: '["10.0.0.5"]'}),
    )
    with pytest.raises(InvalidInputError, match=REFUSED_PINS[value]):
        add(state, pod("second", **{PINNED: value}))


# -- release (IPAM-13) -------------------------------------------------------------------------------------------------


def test_release_reports_what_was_not_assigned() -> None:
    """Addresses that nobody holds are reported back and are no error; the others are released."""
    state = cluster(pool("p", "10.0.0.0/26"), pod("one"))
    plan = Plan(state, 0.0)
    assert release_addresses(plan, [Release("10.0.0.0"), Release("10.0.0.9"), Release("10.9.9.9")]) == (
        "10.0.0.9",
        "10.9.9.9",
    )
    assert not plan.progress.handles


@pytest.mark.parametrize("wrong", [{"handle": "another"}, {"sequence": 1}])
def test_release_with_a_wrong_handle_or_sequence_releases_nothing(wrong: dict[str, Any]) -> None:
    """One conflict keeps every address of the request."""
    plan = Plan(cluster(pool("p", "10.0.0.0/26"), pod("one"), pod("two")), 0.0)
    with pytest.raises(RefusedError, match="nothing was released"):
        release_addresses(plan, [Release("10.0.0.0"), Release("10.0.0.1", **wrong)])
    assert plan.decision().drafts == ()


def test_release_with_the_right_handle_and_sequence_releases() -> None:
    """The handle and sequence number the block has are accepted."""
    plan = Plan(cluster(pool("p", "10.0.0.0/26"), pod("one")), 0.0)
    place = find(plan.progress, "10.0.0.0")
    assert place
    handle, sequence = place.block.allocations[0].handle, place.block.ordinal_sequences[0]
    assert release_addresses(plan, [Release("10.0.0.0", handle, sequence)]) == ()
    assert plan.progress.blocks["10.0.0.0/26"].allocations == {}


def test_release_by_handle_frees_every_address_of_it() -> None:
    """A handle's addresses of both families go together."""
    state = cluster(pod("one"))
    plan = Plan(state, 0.0)
    (handle,) = state.handles
    assert sorted(release_handle(plan, handle)) == sorted(state.endpoints["shop", "one"].addresses)
    assert not plan.progress.handles
    assert release_handle(plan, handle) == ()


# -- laws --------------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove"]), st.integers(0, 11), st.sampled_from(["node-1", "node-2", "node-3"])),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(STEPS, st.sampled_from([30, 31, 32]))
def test_no_address_is_held_twice_and_none_is_lost(steps: list[tuple[str, int, str]], size: int) -> None:
    """Whatever is added and removed: addresses are distinct, and blocks account for each exactly once."""
    state = cluster(pool("p", "10.0.0.0/28", block_size=size))
    for turn, (what, number, node) in enumerate(steps):
        name = f"p{number}"
        if ("shop", name) not in state.endpoints and what == "add":
            state = add(state, pod(name, node), now=turn * 40.0)
        elif ("shop", name) in state.endpoints and what == "remove":
            state = remove(state, name)
        held = [address for endpoint in state.endpoints.values() for address in endpoint.addresses]
        in_blocks = [address_of(b.cidr, ordinal) for b in state.blocks.values() for ordinal in b.allocations]
        assert len(held) == len(set(held))
        assert sorted(held) == sorted(in_blocks) == sorted(a for some in state.handles.values() for a in some)
        for block in state.blocks.values():
            assert sorted((*block.allocations, *block.unallocated)) == list(range(1 << (32 - size)))
