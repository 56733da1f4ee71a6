"""The state of a cluster: an immutable, structurally shared value, folded from events.

`evolve(state, record)` is the whole of it. Unchanged maps are shared, so holding a thousand past states costs little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import TypeVar

from immutables import Map

from reference import events as ev
from reference.endpoints import Host, WorkloadEndpoint
from reference.ipam.blocks import Block
from reference.resources import AnyResource, Key

R = TypeVar("R", bound=AnyResource)


@dataclass(frozen=True, slots=True)
class State:
    """A cluster at one sequence number."""

    seq: int = 0
    name: str = ""
    topology: str = ""
    dataplane: str = ""
    resources: Map[str, Map[Key, AnyResource]] = field(default_factory=Map)  # by internal kind, then by key
    endpoints: Map[tuple[str, str], WorkloadEndpoint] = field(default_factory=Map)  # by (namespace, pod)
    addresses: Map[str, tuple[tuple[str, str], ...]] = field(default_factory=Map)  # address -> endpoint keys
    hosts: Map[str, Host] = field(default_factory=Map)  # nodes and outside hosts, by name
    failed_nodes: frozenset[str] = frozenset()
    blocks: Map[str, Block] = field(default_factory=Map)  # by CIDR
    handles: Map[str, tuple[str, ...]] = field(default_factory=Map)  # handle -> its addresses
    encryption: str = ""  # "" or "wireguard"
    public_keys: Map[str, str] = field(default_factory=Map)  # node -> base64

    def all(self, kind: type[R]) -> Iterator[R]:
        """Every resource of a kind, in key order (namespace, then name)."""
        raise NotImplementedError

    def get(self, kind: type[R], name: str, namespace: str = "") -> R | None:
        """One resource, or None."""
        raise NotImplementedError


@singledispatch
def _fold(event: ev.Event, state: State) -> State:
    raise TypeError(f"no fold for {type(event).__name__}")


def evolve(state: State, record: ev.Record) -> State:
    """The state after one more record.

    Raises:
        ValueError: the record's sequence number is not the next one.
    """
    if record.seq != state.seq + 1:
        raise ValueError(f"event {record.seq} does not follow {state.seq}")
    return replace(_fold(record.event, state), seq=record.seq)


def fold(records: Iterable[ev.Record], state: State | None = None) -> State:
    """The state after all the records, from `state` or from nothing."""
    state = State() if state is None else state
    for record in records:
        state = evolve(state, record)
    return state
