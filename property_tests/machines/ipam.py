"""IPAM under random use: pods come, go, move and ask for addresses in pools too small for them.

Invariants 15 and 16, as far as the kinds of this issue go: no address is held twice, every address held lies in its
block, in its ordinal's place, and held plus free is the whole block.
"""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from property_tests.strategies.resources import node
from property_tests.strategies.vocabulary import NODES
from property_tests.worlds import ADDRESSES_ANNOTATION, World, new_world
from reference.errors import InvalidInputError, RefusedError
from reference.resources import AnyResource, IPPool, Key, Metadata, Pod
from reference.resources.calico import IPPoolSpec
from reference.resources.kubernetes import PodSpec

PODS = tuple(f"p{number}" for number in range(12))
_SPECS = {
    "four": IPPoolSpec(cidr="10.10.0.0/29", block_size=31),  # four blocks of two
    "four-more": IPPoolSpec(cidr="10.10.1.0/30", block_size=32),  # four blocks of one
    "six": IPPoolSpec(cidr="fd00:10::/125", block_size=126),  # two blocks of four
}
_PINS_FOUR, _PINS_SIX = (
    [str(address) for spec in _SPECS.values() if (":" in spec.cidr) is six for address in ip_network(spec.cidr)]
    for six in (False, True)
)
_PINS = st.one_of(
    st.tuples(st.sampled_from(_PINS_FOUR)),
    st.tuples(st.sampled_from(_PINS_SIX)),
    st.tuples(st.sampled_from(_PINS_FOUR), st.sampled_from(_PINS_SIX)),
)


def _pool(name: str, *, disabled: bool = False) -> IPPool:
    spec = _SPECS[name]
    return IPPool(
        metadata=Metadata(name=name), spec=IPPoolSpec(cidr=spec.cidr, block_size=spec.block_size, disabled=disabled)
    )


class AddressMachine(RuleBasedStateMachine):
    """Commands that need addresses, in any order; what the state refuses changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World = new_world()

    @initialize(families=st.sampled_from([("four",), ("six",), ("four", "six"), ("four", "four-more", "six")]))
    def begin(self, families: tuple[str, ...]) -> None:
        """Two nodes and one to three tiny pools."""
        self.world = self.world.apply(*(node(name) for name in NODES), *(_pool(name) for name in families))

    @rule(name=st.sampled_from(PODS), place=st.sampled_from(("", *NODES)))
    def add_pod(self, name: str, place: str) -> None:
        """A pod that takes what it gets."""
        self._apply(Pod(metadata=Metadata(name=name, namespace="a"), spec=PodSpec(node_name=place)))

    @rule(name=st.sampled_from(PODS), pins=_PINS)
    def add_pinned_pod(self, name: str, pins: tuple[str, ...]) -> None:
        """A pod that asks for addresses, which may be held, or in no pool."""
        annotations = {ADDRESSES_ANNOTATION: json.dumps(pins)}
        self._apply(Pod(metadata=Metadata(name=name, namespace="a", annotations=annotations)))

    @rule(names=st.lists(st.sampled_from(PODS), min_size=2, max_size=4, unique=True))
    def add_pods_at_once(self, names: list[str]) -> None:
        """Several pods in one command: all of them or none."""
        self._apply(*(Pod(metadata=Metadata(name=name, namespace="a")) for name in names))

    @rule(name=st.sampled_from(PODS))
    def delete_pod(self, name: str) -> None:
        """A pod that goes, if it is there."""
        self._delete(Key("Pod", "a", name))

    @rule(name=st.sampled_from(tuple(_SPECS)), disabled=st.booleans())
    def apply_pool(self, name: str, disabled: bool) -> None:
        """A pool that comes, or is switched off and on."""
        self._apply(_pool(name, disabled=disabled))

    @rule(name=st.sampled_from(tuple(_SPECS)))
    def delete_pool(self, name: str) -> None:
        """A pool that goes, in use or not (IPAM-18)."""
        self._delete(Key("IPPool", "", name))

    @invariant()
    def no_address_is_held_twice(self) -> None:
        """Neither two ordinals of any blocks nor two endpoints share an address."""
        held = [address for address, _ in self._held()]
        assert len(held) == len(set(held)), held
        used = [address for endpoint in self.world.state.endpoints.values() for address in endpoint.addresses]
        assert len(used) == len(set(used)), used

    @invariant()
    def endpoints_hold_what_they_use(self) -> None:
        """What endpoints use is what blocks say is held, no more and no less."""
        used = {address for endpoint in self.world.state.endpoints.values() for address in endpoint.addresses}
        assert used == {address for address, _ in self._held()}

    @invariant()
    def blocks_add_up(self) -> None:
        """Held and free ordinals are the whole block, each once, and blocks do not overlap."""
        blocks = self.world.state.blocks
        for text, block in blocks.items():
            assert text == block.cidr
            free, held = list(block.unallocated), list(block.allocations)
            assert sorted(free + held) == list(range(ip_network(text).num_addresses)), block
        networks: list[Any] = [ip_network(text) for text in blocks]
        for position, one in enumerate(networks):
            assert not any(one.version == other.version and one.overlaps(other) for other in networks[:position])

    @invariant()
    def handles_know_their_addresses(self) -> None:
        """The index by handle says the same as the blocks (IPAM-13)."""
        by_handle: dict[str, set[str]] = {}
        for address, handle in self._held():
            by_handle.setdefault(handle, set()).add(address)
        assert {handle: set(held) for handle, held in self.world.state.handles.items() if held} == by_handle

    def _held(self) -> list[tuple[str, str]]:
        """Every address that a block says is held, and its handle."""
        return [
            (str(ip_network(block.cidr)[ordinal]), allocation.handle)
            for block in self.world.state.blocks.values()
            for ordinal, allocation in block.allocations.items()
        ]

    def _apply(self, *resources: AnyResource) -> None:
        with suppress(RefusedError):
            self.world = self.world.apply(*resources)

    def _delete(self, key: Key) -> None:
        with suppress(InvalidInputError):
            self.world = self.world.delete(key)
