"""From resources to states: the shortest way to a cluster for a property, one step of a history at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import structs

from reference import commands
from reference.commands import Decision
from reference.events import Record
from reference.resources import AnyResource, Key, Node, Pod
from reference.resources.defaults import defaulted
from reference.resources.validation import validate
from reference.state import State
from topologies import TOPOLOGIES, hosts

ADDRESSES_ANNOTATION = "cni.projectcalico.org/ipAddrs"
FABRIC_TOPOLOGY = "subnets"  # its node addresses are those that strategies know
FABRIC_NODES = 2
_NOW = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class World:
    """A state and the records that led to it: what a live cluster and its log are."""

    state: State = field(default_factory=State)
    records: tuple[Record, ...] = ()
    offline: bool = True  # no fabric: nodes are as declared

    def apply(self, *resources: AnyResource) -> World:
        """The world after applying resources, defaulted and validated as manifests are, all or none."""
        whole = [defaulted(resource) for resource in resources]
        for resource in whole:
            validate(resource)
        return self._after(commands.apply(self.state, whole, now=self._now, offline=self.offline))

    def delete(self, *keys: Key) -> World:
        """The world after deleting resources, all or none."""
        return self._after(commands.delete(self.state, keys, now=self._now))

    @property
    def _now(self) -> float:
        return _NOW + 3600 * len(self.records)  # an hour a record: nothing is too young to be reclaimed

    def _after(self, decision: Decision) -> World:
        first = self.state.seq + 1
        new = tuple(
            Record(seq=seq, time=self._now, actor=draft.actor, cause=first, event=draft.event)
            for seq, draft in enumerate(decision.drafts, first)
        )
        return World(decision.state, self.records + new, self.offline)


def new_world() -> World:
    """A cluster in which only what every cluster has exists."""
    return World()._after(commands.bootstrap("offline", "", "", (), now=_NOW))


def fabric_world() -> World:
    """A cluster on a fabric, as a live one begins: its hosts are there, and its nodes."""
    fabric = hosts(TOPOLOGIES[FABRIC_TOPOLOGY](FABRIC_NODES))
    empty = World(offline=False)
    return empty._after(commands.bootstrap("campaign", FABRIC_TOPOLOGY, "nftables", fabric, now=_NOW))


def on_fabric(resources: Sequence[AnyResource]) -> list[AnyResource]:
    """The resources for a fabric, which brings its own nodes."""
    return [resource for resource in resources if not isinstance(resource, Node)]


def built(resources: Sequence[AnyResource]) -> State:
    """The state after applying all the resources at once to a new cluster.

    Raises:
        InvalidInputError: a resource is invalid or refused.
    """
    return new_world().apply(*resources).state


def pinned(resources: Sequence[AnyResource], state: State) -> list[AnyResource]:
    """The resources with every pod kept where `state` has it: on its node, at its addresses."""
    return [_pinned(resource, state) if isinstance(resource, Pod) else resource for resource in resources]


def _pinned(pod: Pod, state: State) -> Pod:
    endpoint = state.endpoints.get((pod.namespace, pod.name))
    if endpoint is None:
        return pod
    annotations = {**pod.metadata.annotations, ADDRESSES_ANNOTATION: json.dumps(endpoint.addresses)}
    return structs.replace(
        pod,
        metadata=structs.replace(pod.metadata, annotations=annotations),
        spec=structs.replace(pod.spec, node_name=endpoint.node),
    )
