"""The state of a cluster: an immutable, structurally shared value, folded from events.

`evolve(state, record)` is the whole of it; `fold` does the same for many records at the cost of one copy. Unchanged
maps are shared, so holding a thousand past states costs little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TypeVar

import msgspec
from immutables import Map

from reference import events as ev
from reference.endpoints import Host, WorkloadEndpoint
from reference.events import AnyEvent, Draft, Record
from reference.ipam.blocks import Allocation, Block
from reference.resources import AnyResource, Key

R = TypeVar("R", bound=AnyResource)
_Resources = Map[str, Map[Key, AnyResource]]
_Sorted = dict[str, tuple[Map[Key, AnyResource], tuple[AnyResource, ...]]]


@dataclass(frozen=True, slots=True)
class State:
    """A cluster at one sequence number."""

    seq: int = 0
    name: str = ""
    topology: str = ""
    dataplane: str = ""
    node_dataplanes: Map[str, str] = field(default_factory=Map)  # of machines with another one
    resources: _Resources = field(default_factory=Map)  # by internal kind, then by key; no empty kinds
    endpoints: Map[tuple[str, str], WorkloadEndpoint] = field(default_factory=Map)  # by (namespace, pod)
    addresses: Map[str, tuple[tuple[str, str], ...]] = field(default_factory=Map)  # address -> endpoint keys, sorted
    hosts: Map[str, Host] = field(default_factory=Map)  # nodes and outside hosts, by name
    failed_nodes: frozenset[str] = frozenset()
    blocks: Map[str, Block] = field(default_factory=Map)  # by CIDR
    handles: Map[str, tuple[str, ...]] = field(default_factory=Map)  # handle -> its addresses
    encryption: str = ""  # "" or "wireguard"
    public_keys: Map[str, str] = field(default_factory=Map)  # node -> base64
    _sorted: _Sorted = field(default_factory=dict, init=False, compare=False, repr=False)  # filled by `all`

    def all(self, kind: type[R]) -> Iterator[R]:
        """Every resource of a kind, in key order (namespace, then name)."""
        items = self.resources.get(kind.__name__)
        if items is None:
            return iter(())
        known = self._sorted.get(kind.__name__)
        if known is None or known[0] is not items:
            ordered = tuple(items[key] for key in sorted(items))
            known = self._sorted[kind.__name__] = (items, ordered)
        return iter(known[1])  # type: ignore[arg-type]  # the map of a kind holds that kind

    def get(self, kind: type[R], name: str, namespace: str = "") -> R | None:
        """One resource, or None."""
        items = self.resources.get(kind.__name__)
        return None if items is None else items.get(Key(kind.__name__, namespace, name))  # type: ignore[return-value]

    def find(self, key: Key) -> AnyResource | None:
        """The resource stored under a key, or None."""
        items = self.resources.get(key.kind)
        return None if items is None else items.get(key)

    def dataplane_of(self, machine: str) -> str:
        """The dataplane that a node or an outside host shall have."""
        return self.node_dataplanes.get(machine, self.dataplane)


def evolve(state: State, record: Record) -> State:
    """The state after one more record.

    Raises:
        ValueError: the record's sequence number is not the next one, or the event contradicts the state.
    """
    return fold((record,), state)


def fold(records: Iterable[Record], state: State | None = None) -> State:
    """The state after all the records, from `state` or from nothing. Errors as with `evolve`."""
    progress = Progress(State() if state is None else state)
    for record in records:
        if record.seq != progress.seq + 1:
            raise ValueError(f"event {record.seq} does not follow {progress.seq}")
        progress.advance(record.event)
    return progress.freeze()


def fold_drafts(state: State, drafts: Iterable[Draft]) -> State:
    """The state that appending these drafts to a log at `state` leads to."""
    progress = Progress(state)
    for draft in drafts:
        progress.advance(draft.event)
    return progress.freeze()


class Progress:
    """A state in the making: the fields of `State`, assigned anew as events come in. Never shared."""

    __slots__ = (
        "_sorted",
        "addresses",
        "blocks",
        "dataplane",
        "encryption",
        "endpoints",
        "failed_nodes",
        "handles",
        "hosts",
        "name",
        "node_dataplanes",
        "public_keys",
        "resources",
        "seq",
        "topology",
    )  # fmt: skip

    def __init__(self, state: State) -> None:
        """Begin from `state`, which stays as it is."""
        self.seq = state.seq
        self.name = state.name
        self.topology = state.topology
        self.dataplane = state.dataplane
        self.node_dataplanes = state.node_dataplanes
        self.resources = state.resources
        self.endpoints = state.endpoints
        self.addresses = state.addresses
        self.hosts = state.hosts
        self.failed_nodes = state.failed_nodes
        self.blocks = state.blocks
        self.handles = state.handles
        self.encryption = state.encryption
        self.public_keys = state.public_keys
        self._sorted = state._sorted

    def advance(self, event: AnyEvent) -> None:
        """Take in the next event. Raises ValueError if it contradicts the state."""
        _fold(event, self)
        self.seq += 1

    def freeze(self) -> State:
        """The state reached. Kinds nothing happened to keep their order, once `all` has sorted them."""
        state = State(
            self.seq, self.name, self.topology, self.dataplane, self.node_dataplanes, self.resources,
            self.endpoints, self.addresses, self.hosts, self.failed_nodes, self.blocks, self.handles,
            self.encryption, self.public_keys,
        )  # fmt: skip
        for kind, known in self._sorted.items():
            if self.resources.get(kind) is known[0]:
                state._sorted[kind] = known
        return state

    def get(self, kind: type[R], name: str, namespace: str = "") -> R | None:
        """One resource, or None."""
        return self.find(Key(kind.__name__, namespace, name))  # type: ignore[return-value]

    def find(self, key: Key) -> AnyResource | None:
        """The resource stored under a key, or None."""
        items = self.resources.get(key.kind)
        return None if items is None else items.get(key)

    def put_endpoint(self, endpoint: WorkloadEndpoint) -> None:
        """Add or replace an endpoint, and index its addresses."""
        key = (endpoint.namespace, endpoint.pod)
        old = self.endpoints.get(key)
        self.endpoints = self.endpoints.set(key, endpoint)
        if old is not None and old.addresses == endpoint.addresses:
            return
        if old is not None:
            self._forget_addresses(key, old.addresses)
        for address in endpoint.addresses:
            holders = self.addresses.get(address)
            self.addresses = self.addresses.set(address, (key,) if holders is None else tuple(sorted((*holders, key))))

    def remove_endpoint(self, key: tuple[str, str]) -> None:
        """Remove an endpoint and its addresses."""
        old = self.endpoints.get(key)
        if old is None:
            raise ValueError(f"endpoint {'/'.join(key)} is deleted but does not exist")
        self.endpoints = self.endpoints.delete(key)
        self._forget_addresses(key, old.addresses)

    def _forget_addresses(self, key: tuple[str, str], addresses: tuple[str, ...]) -> None:
        for address in addresses:
            holders = tuple(holder for holder in self.addresses[address] if holder != key)
            self.addresses = self.addresses.set(address, holders) if holders else self.addresses.delete(address)

    def block(self, cidr: str) -> Block:
        """A block that an event speaks of."""
        block = self.blocks.get(cidr)
        if block is None:
            raise ValueError(f"block {cidr} does not exist")
        return block


# -- what each event does ----------------------------------------------------------------------------------------------


@singledispatch
def _fold(event: ev.Event, state: Progress) -> None:
    raise TypeError(f"no fold for {type(event).__name__}")


@_fold.register
def _(event: ev.ClusterCreated, state: Progress) -> None:
    state.name, state.topology, state.dataplane = event.name, event.topology, event.dataplane
    state.node_dataplanes = Map(event.node_dataplanes)


@_fold.register
def _(event: ev.DataplaneChosen, state: Progress) -> None:
    if not event.node:
        state.dataplane, state.node_dataplanes = event.dataplane, Map()
        return
    if event.node not in state.hosts:
        raise ValueError(f"{event.node} is to have another dataplane but does not exist")
    others = {name: own for name, own in state.node_dataplanes.items() if name != event.node}
    own = {event.node: event.dataplane} if event.dataplane != state.dataplane else {}
    state.node_dataplanes = Map({**others, **own})


@_fold.register
def _(event: ev.HostAttached, state: Progress) -> None:
    state.hosts = state.hosts.set(event.host.name, event.host)


@_fold.register
def _(event: ev.NodeFailed, state: Progress) -> None:
    state.failed_nodes |= {event.node}


@_fold.register
def _(event: ev.NodeRecovered, state: Progress) -> None:
    state.failed_nodes -= {event.node}


@_fold.register
def _(event: ev.ResourceApplied, state: Progress) -> None:
    key = event.resource.key
    state.resources = state.resources.set(key.kind, state.resources.get(key.kind, Map()).set(key, event.resource))


@_fold.register
def _(event: ev.ResourceDeleted, state: Progress) -> None:
    items = state.resources.get(event.key.kind, Map())
    if event.key not in items:
        raise ValueError(f"{event.key} is deleted but does not exist")
    rest = items.delete(event.key)
    kind = event.key.kind
    state.resources = state.resources.set(kind, rest) if rest else state.resources.delete(kind)


@_fold.register
def _(event: ev.BlockClaimed, state: Progress) -> None:
    if event.cidr in state.blocks:
        raise ValueError(f"block {event.cidr} is claimed but exists")
    prefix = int(event.cidr.rpartition("/")[2])
    size = 1 << ((128 if ":" in event.cidr else 32) - prefix)
    block = Block(
        cidr=event.cidr,
        pool=event.pool,
        affinity=event.affinity,
        claimed_at=event.claimed_at,
        unallocated=tuple(range(size)),
        sequence=int(event.claimed_at * 1e9),  # so that a block made again never repeats a number (IPAM-1)
    )
    state.blocks = state.blocks.set(event.cidr, block)


@_fold.register
def _(event: ev.BlockAffinityReleased, state: Progress) -> None:
    block = state.block(event.cidr)
    state.blocks = (
        state.blocks.set(event.cidr, msgspec.structs.replace(block, affinity=None, sequence=block.sequence + 1))
        if block.allocations
        else state.blocks.delete(event.cidr)
    )


@_fold.register
def _(event: ev.AddressAssigned, state: Progress) -> None:
    block = state.block(event.block)
    free = block.unallocated
    if event.ordinal not in free:
        raise ValueError(f"{event.address} is assigned but is not free in block {event.block}")
    place = free.index(event.ordinal)
    sequence = block.sequence + 1
    changed = Block(
        cidr=block.cidr,
        pool=block.pool,
        affinity=block.affinity,
        claimed_at=block.claimed_at,
        allocations={**block.allocations, event.ordinal: Allocation(event.handle, event.attributes)},
        unallocated=free[1:] if place == 0 else free[:place] + free[place + 1 :],
        sequence=sequence,
        ordinal_sequences={**block.ordinal_sequences, event.ordinal: sequence},
    )
    state.blocks = state.blocks.set(event.block, changed)
    held = state.handles.get(event.handle, ())
    state.handles = state.handles.set(event.handle, (*held, event.address))


@_fold.register
def _(event: ev.AddressReleased, state: Progress) -> None:
    block = state.block(event.block)
    if event.ordinal not in block.allocations:
        raise ValueError(f"{event.address} is released but is not held in block {event.block}")
    allocations = {ordinal: held for ordinal, held in block.allocations.items() if ordinal != event.ordinal}
    changed = msgspec.structs.replace(
        block,
        allocations=allocations,
        unallocated=(*block.unallocated, event.ordinal),
        sequence=block.sequence + 1,
    )
    gone = not allocations and block.affinity is None  # IPAM-15
    state.blocks = state.blocks.delete(event.block) if gone else state.blocks.set(event.block, changed)
    rest = tuple(address for address in state.handles.get(event.handle, ()) if address != event.address)
    state.handles = state.handles.set(event.handle, rest) if rest else state.handles.delete(event.handle)


@_fold.register
def _(event: ev.EndpointCreated, state: Progress) -> None:
    state.put_endpoint(event.endpoint)


@_fold.register
def _(event: ev.EndpointDeleted, state: Progress) -> None:
    state.remove_endpoint((event.namespace, event.pod))


@_fold.register
def _(event: ev.EncryptionEnabled, state: Progress) -> None:
    state.encryption = event.mode


@_fold.register
def _(event: ev.EncryptionDisabled, state: Progress) -> None:
    state.encryption = ""
    state.public_keys = Map()  # WG-9


@_fold.register
def _(event: ev.KeyPublished, state: Progress) -> None:
    state.public_keys = state.public_keys.set(event.node, event.public_key)
