"""One state as the oracle reads it: ordered, indexed and prepared once, whatever the number of questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from math import isinf
from typing import TYPE_CHECKING

import msgspec

from reference.endpoints import WorkloadEndpoint
from reference.policy.ordering import OrderedTier, Policy, enforced_policies, ordered_tiers
from reference.policy.peers import Peers
from reference.policy.relaxing import Kept
from reference.policy.rules import CalicoRule
from reference.policy.selection import Selection
from reference.policy.staged import staged_policies
from reference.policy.verdict import Selecting, SideName
from reference.profiles import profile
from reference.state import State

if TYPE_CHECKING:
    from reference.policy.hosts import Hosts

_STATES_KEPT = 8


class TierOnWay(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A tier on an endpoint's way, with the policies that select it and govern the direction, in order (POL-11)."""

    tier: OrderedTier
    policies: tuple[Policy, ...]


class ProfileOnWay:
    """A profile, prepared for one direction. `exists` is false when nothing stands behind its name (POL-16)."""

    def __init__(self, state: State, name: str, direction: SideName) -> None:
        found = profile(state, name)
        self.kind = "pro"  # FL-5
        self.namespace = ""
        self.name = name
        self.id = f"pro:{name}"
        self.exists = found is not None
        rules = () if found is None else found.spec.ingress if direction == "ingress" else found.spec.egress
        self.rules = tuple(CalicoRule(rule, index, "") for index, rule in enumerate(rules))


class Way(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What a packet walks at one endpoint in one direction. Endpoints with the same one share the object."""

    direction: SideName
    tiers: tuple[TierOnWay, ...]
    profiles: tuple[ProfileOnWay, ...]


class View:
    """The oracle's reading of one state."""

    def __init__(self, state: State, policies: Sequence[Policy] | None = None, peers: Peers | None = None) -> None:
        self.state = state
        self.peers = peers or Peers(state)
        self.policies = enforced_policies(state) if policies is None else policies
        self.tiers = ordered_tiers(state, self.policies)
        self.relaxed: Kept = {}
        self._selecting: dict[Way, tuple[Selecting, ...]] = {}
        self._ways: dict[tuple[str, str, SideName], Way] = {}
        self._chosen: dict[tuple[str, str], list[Policy]] = {}  # by endpoint: what selects it
        self._shared: dict[tuple[SideName, tuple[Policy, ...], tuple[str, ...]], Way] = {}
        self._profiles: dict[tuple[str, SideName], ProfileOnWay] = {}

    @cached_property
    def pending(self) -> View:
        """The same state with its staged policies treated as enforced (FL-6); this very view when there are none."""
        staged = staged_policies(self.state)
        return View(self.state, (*self.policies, *staged), self.peers) if staged else self

    @cached_property
    def hosts(self) -> Hosts:
        """The host endpoints, and what they ask of packets."""
        from reference.policy.hosts import Hosts  # it builds on this module

        return Hosts(self)

    @cached_property
    def _selection(self) -> Selection:
        return Selection(self.policies)

    @cached_property
    def _rank(self) -> dict[Policy, int]:
        """Every policy's place in the whole order: by tier, then inside it."""
        place = {tier.name: number for number, tier in enumerate(self.tiers)}
        ordered = sorted(self.policies, key=lambda policy: (place[policy.tier], policy.sort_key))
        return {policy: number for number, policy in enumerate(ordered)}

    def way(self, endpoint: WorkloadEndpoint, direction: SideName) -> Way:
        """The way of packets at an endpoint."""
        key = (endpoint.namespace, endpoint.pod, direction)
        found = self._ways.get(key)
        if found is None:
            found = self._ways[key] = self._find_way(endpoint, direction)
        return found

    def selecting(self, way: Way) -> tuple[Selecting, ...]:
        """The policies on a way, as a trace tells them."""
        found = self._selecting.get(way)
        if found is None:
            found = self._selecting[way] = tuple(_selecting(way))
        return found

    def _find_way(self, endpoint: WorkloadEndpoint, direction: SideName) -> Way:
        governing = [policy for policy in self._selecting_at(endpoint) if direction in policy.governs]
        key = (direction, tuple(governing), endpoint.profiles)
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = Way(direction, self._by_tier(governing), self._profiles_of(endpoint, direction))
        return found

    def _selecting_at(self, endpoint: WorkloadEndpoint) -> list[Policy]:
        """The policies that select an endpoint, in the order of the walk."""
        key = (endpoint.namespace, endpoint.pod)
        found = self._chosen.get(key)
        if found is None:
            found = self._selection.selecting(self.peers.owner(endpoint))
            found.sort(key=self._rank.__getitem__)
            self._chosen[key] = found
        return found

    @cached_property
    def _tiers_by_name(self) -> dict[str, OrderedTier]:
        return {tier.name: tier for tier in self.tiers}

    def _by_tier(self, governing: list[Policy]) -> tuple[TierOnWay, ...]:
        groups: dict[str, list[Policy]] = {}
        for policy in governing:
            groups.setdefault(policy.tier, []).append(policy)
        return tuple(TierOnWay(self._tiers_by_name[name], tuple(policies)) for name, policies in groups.items())

    def _profiles_of(self, endpoint: WorkloadEndpoint, direction: SideName) -> tuple[ProfileOnWay, ...]:
        return tuple(self._profile(name, direction) for name in endpoint.profiles)

    def _profile(self, name: str, direction: SideName) -> ProfileOnWay:
        found = self._profiles.get((name, direction))
        if found is None:
            found = self._profiles[name, direction] = ProfileOnWay(self.state, name, direction)
        return found


def _selecting(way: Way) -> Iterator[Selecting]:
    for tier in way.tiers:
        for policy in tier.policies:
            order = None if isinf(policy.order) else policy.order
            yield Selecting(tier=tier.tier.name, policy=policy.id, order=order, staged=policy.staged)


class _Same:
    """A state by identity: comparing two large ones by value would cost more than reading one."""

    __slots__ = ("state",)

    def __init__(self, state: State) -> None:
        self.state = state

    def __hash__(self) -> int:
        return id(self.state)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.state is self.state


@lru_cache(maxsize=_STATES_KEPT)
def _kept(same: _Same) -> View:
    return View(same.state)


def view_of(state: State) -> View:
    """The view of a state; those of the last few states are kept."""
    return _kept(_Same(state))
