"""The state: a fold of events, in key order, with canonical bytes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import commands
from reference import events as ev
from reference.canonical import decode, encode, state_digest
from reference.endpoints import Host, WorkloadEndpoint
from reference.ipam.blocks import Allocation
from reference.resources import Namespace, NetworkSet, Pod, ServiceAccount
from reference.resources.defaults import defaulted
from reference.resources.metadata import Key, Metadata
from reference.state import State, evolve, fold

HOSTS = [Host(name=f"node-{n}", addresses=(f"172.30.1.{10 + n}",), subnet="lan", is_node=True) for n in (1, 2)]
BLOCK = "10.0.0.0/30"


def after(*events: ev.AnyEvent) -> State:
    """The state after these events."""
    return fold(ev.Record(seq, 1.0, "test", 1, event) for seq, event in enumerate(events, 1))


def network_set(name: str, namespace: str = "shop") -> ev.ResourceApplied:
    """A resource of no consequence."""
    return ev.ResourceApplied(NetworkSet(metadata=Metadata(name=name, namespace=namespace)))


def endpoint(pod: str, *addresses: str) -> ev.EndpointCreated:
    """An endpoint with these addresses."""
    return ev.EndpointCreated(
        WorkloadEndpoint(
            namespace="shop", pod=pod, node="n", interface="cali0", addresses=addresses, labels={}, profiles=()
        )
    )


CLAIMED = ev.BlockClaimed(BLOCK, "pool", "host:a", 1.0)
GIVEN = [ev.AddressAssigned(f"10.0.0.{n}", BLOCK, n, f"handle-{n}", {"pod": f"p{n}"}) for n in range(4)]
TAKEN = [ev.AddressReleased(f"10.0.0.{n}", BLOCK, n, f"handle-{n}") for n in range(4)]


def test_every_event_has_a_fold() -> None:
    """No event is left without an effect on the state: the fold knows each kind."""
    from reference.state import _fold

    for kind in ev.AnyEvent.__args__:
        assert kind in _fold.registry


def test_all_is_in_key_order_and_follows_changes() -> None:
    """`all` yields namespace by namespace, name by name, also after a change; a kind without resources is empty."""
    state = after(network_set("b"), network_set("a", "zoo"), network_set("a"))
    assert [(s.namespace, s.name) for s in state.all(NetworkSet)] == [("shop", "a"), ("shop", "b"), ("zoo", "a")]
    more = evolve(state, ev.Record(4, 1.0, "test", 4, network_set("0")))
    assert [s.name for s in more.all(NetworkSet)] == ["0", "a", "b", "a"]
    assert [s.name for s in state.all(NetworkSet)] == ["a", "b", "a"]
    assert list(state.all(ServiceAccount)) == []


def test_get_finds_by_name_and_namespace() -> None:
    """`get` returns the resource of a name in a namespace, or None."""
    state = after(network_set("a"), ev.ResourceApplied(Namespace(metadata=Metadata(name="shop"))))
    assert state.get(NetworkSet, "a", "shop") == network_set("a").resource
    assert state.get(Namespace, "shop") == Namespace(metadata=Metadata(name="shop"))
    assert state.get(NetworkSet, "a") is None
    assert state.get(ServiceAccount, "a", "shop") is None


def test_unchanged_parts_are_shared() -> None:
    """A change leaves every map it does not concern the same object."""
    before = after(network_set("a"), CLAIMED)
    changed = evolve(before, ev.Record(3, 1.0, "test", 3, endpoint("p", "10.0.0.1")))
    assert changed.resources is before.resources
    assert changed.blocks is before.blocks
    assert changed.endpoints is not before.endpoints


def test_record_out_of_order_is_refused() -> None:
    """A record must be the next one."""
    with pytest.raises(ValueError, match="event 3 does not follow 1"):
        evolve(after(CLAIMED), ev.Record(3, 1.0, "test", 3, CLAIMED))


CONTRADICTIONS = {
    "deleting what is not there": [ev.ResourceDeleted(Key("Pod", "a", "b"))],
    "deleting an endpoint that is not there": [ev.EndpointDeleted("a", "b")],
    "claiming a block twice": [CLAIMED, CLAIMED],
    "assigning an address twice": [CLAIMED, GIVEN[0], GIVEN[0]],
    "assigning from no block": [GIVEN[0]],
    "releasing what is not held": [CLAIMED, TAKEN[0]],
    "releasing no block": [ev.BlockAffinityReleased(BLOCK)],
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradiction_is_refused(name: str) -> None:
    """An event that contradicts the state raises, and says what it is about."""
    with pytest.raises(ValueError, match=r"(deleted|claimed|assigned|released|not exist)"):
        after(*CONTRADICTIONS[name])


def test_addresses_index_endpoints() -> None:
    """Each address leads to the endpoints that have it, through creation, change and deletion."""
    both = after(endpoint("a", "10.0.0.1", "fd00::1"), endpoint("b", "10.0.0.1"))
    assert dict(both.addresses) == {"10.0.0.1": (("shop", "a"), ("shop", "b")), "fd00::1": (("shop", "a"),)}
    moved = evolve(both, ev.Record(3, 1.0, "test", 3, endpoint("a", "10.0.0.2")))
    assert dict(moved.addresses) == {"10.0.0.1": (("shop", "b"),), "10.0.0.2": (("shop", "a"),)}
    gone = evolve(moved, ev.Record(4, 1.0, "test", 4, ev.EndpointDeleted("shop", "b")))
    assert dict(gone.addresses) == {"10.0.0.2": (("shop", "a"),)}


def test_block_is_a_queue() -> None:
    """Addresses leave a fresh block in ascending order, and come back to the tail (IPAM-9)."""
    state = after(CLAIMED, *GIVEN[:3], TAKEN[1], TAKEN[0])
    block = state.blocks[BLOCK]
    assert block.unallocated == (3, 1, 0)
    assert block.allocations == {2: Allocation("handle-2", {"pod": "p2"})}
    assert dict(state.handles) == {"handle-2": ("10.0.0.2",)}


def test_block_sequence_grows_from_its_creation() -> None:
    """A block's sequence number starts at its creation in nanoseconds and grows with each change (IPAM-1)."""
    states = [after(CLAIMED, *[*GIVEN[:2], TAKEN[0]][:n]) for n in range(4)]
    sequences = [state.blocks[BLOCK].sequence for state in states]
    assert sequences[0] == 1_000_000_000
    assert all(later > earlier for earlier, later in pairwise(sequences))
    assert states[2].blocks[BLOCK].ordinal_sequences == {0: sequences[1], 1: sequences[2]}


def test_empty_block_without_owner_is_gone() -> None:
    """Releasing the affinity removes an empty block; one in use goes with its last address (IPAM-15)."""
    assert not after(CLAIMED, ev.BlockAffinityReleased(BLOCK)).blocks
    kept = after(CLAIMED, GIVEN[0], ev.BlockAffinityReleased(BLOCK))
    assert kept.blocks[BLOCK].affinity is None
    assert not evolve(kept, ev.Record(4, 1.0, "test", 4, TAKEN[0])).blocks


def test_nodes_fail_and_recover() -> None:
    """Failing and recovering keep the set of failed nodes."""
    assert after(ev.NodeFailed("a"), ev.NodeFailed("b"), ev.NodeRecovered("a")).failed_nodes == {"b"}


def test_disabling_encryption_forgets_the_keys() -> None:
    """Keys live as long as encryption is on (WG-9)."""
    on = after(ev.EncryptionEnabled("wireguard"), ev.KeyPublished("a", "key"))
    assert (on.encryption, dict(on.public_keys)) == ("wireguard", {"a": "key"})
    off = evolve(on, ev.Record(3, 1.0, "test", 3, ev.EncryptionDisabled()))
    assert (off.encryption, dict(off.public_keys)) == ("", {})


# -- canonical bytes ---------------------------------------------------------------------------------------------------


def cluster(*names: str) -> State:
    """A cluster with pods, so with every kind of thing in its state."""
    state = commands.bootstrap("test", "single", "nftables", HOSTS, now=1.0).state
    pods = [
        defaulted(Pod(metadata=Metadata(name=name, namespace="shop", labels={"b": "1", "a": name}))) for name in names
    ]
    state = commands.apply(state, pods, now=2.0).state
    state = commands.enable_encryption(state, "wireguard", {"node-1": "key"}, now=3.0).state
    return commands.fail_node(state, "node-2", now=4.0).state


def test_bytes_bring_the_state_back() -> None:
    """Decoding the bytes of a state gives an equal one, with the same digest."""
    state = cluster("x", "y")
    assert decode(encode(state)) == state
    assert state_digest(decode(encode(state))) == state_digest(state)
    assert decode(encode(State())) == State()


def test_bytes_do_not_depend_on_the_order_of_dictionaries() -> None:
    """Two equal states have the same bytes, however their dictionaries were filled."""
    one, other = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    states = [
        after(ev.ResourceApplied(Namespace(metadata=Metadata(name="n", labels=labels)))) for labels in (one, other)
    ]
    assert states[0] == states[1]
    assert encode(states[0]) == encode(states[1])


@pytest.mark.parametrize("field", ["seq", "name", "topology", "dataplane", "encryption"])
def test_digest_tells_states_apart(field: str) -> None:
    """A state that differs in one thing has another digest."""
    state = cluster("x")
    changed = replace(state, **{field: 7 if field == "seq" else "other"})
    assert state_digest(changed) != state_digest(state)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_folding_in_parts_is_folding_at_once(data: st.DataObject) -> None:
    """Splitting a history anywhere leads to the same state."""
    drafts = commands.bootstrap("test", "single", "nftables", HOSTS, now=1.0).drafts
    records = [ev.Record(seq, 1.0, draft.actor, 1, draft.event) for seq, draft in enumerate(drafts, 1)]
    cut = data.draw(st.integers(0, len(records)))
    assert fold(records[cut:], fold(records[:cut])) == fold(records)


def test_dataplanes_are_chosen_for_one_or_for_all() -> None:
    """A choice for one machine differs from the rest until it is the same; one for all forgets what was one's own."""
    begun = (
        ev.ClusterCreated("c", "single", "nftables", {"a": "iptables"}),
        ev.HostAttached(Host(name="a", addresses=("172.30.1.11",), subnet="s", is_node=True)),
    )
    state = after(*begun, ev.DataplaneChosen("ebpf", "a"))
    assert (state.dataplane_of("a"), state.dataplane_of("b")) == ("ebpf", "nftables")
    assert dict(after(*begun, ev.DataplaneChosen("nftables", "a")).node_dataplanes) == {}
    everywhere = after(*begun, ev.DataplaneChosen("ebpf"))
    assert (everywhere.dataplane, dict(everywhere.node_dataplanes)) == ("ebpf", {})
    with pytest.raises(ValueError, match="z is to have another dataplane but does not exist"):
        after(*begun, ev.DataplaneChosen("ebpf", "z"))
