"""The walks of packets: which tiers and policies, in which order, per direction (POL-1 … POL-5, POL-11).

Endpoints selected by the same policies share a `Company`, those with the same profiles too share their walks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from math import inf
from typing import Literal, NamedTuple

import msgspec

from reference.program.policies import Placement
from reference.program.types import FlowDirection, TierStep, Walk
from reference.resources import Tier

Company = frozenset[Placement]  # the policies that select an endpoint
NOBODY: Company = frozenset()
_DIRECTIONS: tuple[FlowDirection, ...] = ("ingress", "egress")


class TierPlace(NamedTuple):
    """Where a tier stands, and what it does at its end."""

    key: tuple[bool, float, str]  # missing, order with null last, name (POL-1)
    default_action: Literal["deny", "pass"]


class Walks(NamedTuple):
    """Both ways of an endpoint."""

    ingress: Walk
    egress: Walk


class HostWalks(NamedTuple):
    """The ids of the walks of a host endpoint, "" where nothing governs (HEP-3)."""

    ingress: str
    egress: str
    untracked_ingress: str
    untracked_egress: str
    pre_dnat: str
    forward_ingress: str
    forward_egress: str


class WalkBook:
    """Builds walks, each once: equal walks are one object, for as long as something uses them."""

    def __init__(self) -> None:
        self._tiers: dict[str, TierPlace] = {}
        self._walks: dict[tuple[Company, tuple[str, ...]], Walks] = {}
        self._by_id: dict[str, Walk] = {}

    def set_tiers(self, tiers: Iterable[Tier]) -> None:
        """Take a new set of tiers: every walk has to be asked for again."""
        self._tiers = {
            tier.name: TierPlace(
                (False, inf if tier.spec.order is None else tier.spec.order, tier.name),
                "pass" if tier.spec.default_action == "Pass" else "deny",
            )
            for tier in tiers
        }
        self._walks = {}

    def walks(self, company: Company, profiles: tuple[str, ...]) -> Walks:
        """The walks of an endpoint selected by these policies, with these profiles, given as program ids."""
        known = self._walks.get((company, profiles))
        if known is None:
            placements = self._in_order(placement for placement in company if placement.variant == "normal")
            known = Walks(*(self._walk(direction, placements, profiles) for direction in _DIRECTIONS))
            self._walks[company, profiles] = known
        return known

    def host_walks(self, company: Company, profiles: tuple[str, ...]) -> HostWalks:
        """The walks of a host endpoint; profiles count for normal policy only (HEP-2)."""
        normal = self.walks(company, profiles)
        untracked = self._in_order(placement for placement in company if placement.variant == "untracked")
        pre_dnat = self._in_order(placement for placement in company if placement.variant == "pre_dnat")
        forward = self._in_order(placement for placement in company if placement.forward)
        return HostWalks(
            normal.ingress.id,
            normal.egress.id,
            self._early_walk("ingress", untracked),
            self._early_walk("egress", untracked),
            self._early_walk("ingress", pre_dnat),
            self._open_walk("ingress", forward, {}),
            self._open_walk("egress", forward, {}),
        )

    def _in_order(self, placements: Iterable[Placement]) -> list[Placement]:
        return sorted(placements, key=lambda placement: (self._place(placement.tier).key, placement.rank))

    def _early_walk(self, direction: FlowDirection, placements: list[Placement]) -> str:
        """Every tier of an early list passes at its end (POL-9)."""
        return self._open_walk(direction, placements, {placement.tier: "pass" for placement in placements})

    def _open_walk(
        self, direction: FlowDirection, placements: list[Placement], ends: dict[str, Literal["deny", "pass"]]
    ) -> str:
        """A walk that goes on to what comes next; "" when nothing in it governs the direction."""
        tiers = self._tier_steps(direction, placements, ends)
        return self._kept(direction, tiers, (), "continue").id if tiers else ""

    def walk(self, id_: str) -> Walk:
        """A walk by its id."""
        return self._by_id[id_]

    def forget_unused(self, endpoints: int, used: Callable[[], set[str]]) -> None:
        """Drop what no endpoint uses, once that is most of it; `used` gives the ids of the walks in use."""
        if len(self._walks) <= 2 * endpoints + 64 and len(self._by_id) <= 4 * endpoints + 64:
            return
        ids = used()
        self._walks = {
            key: both for key, both in self._walks.items() if both.ingress.id in ids and both.egress.id in ids
        }
        self._by_id = {id_: walk for id_, walk in self._by_id.items() if id_ in ids}

    def _place(self, tier: str) -> TierPlace:
        """A tier that does not exist sorts last and denies (POL-4)."""
        return self._tiers.get(tier) or TierPlace((True, inf, tier), "deny")

    def _walk(self, direction: FlowDirection, placements: list[Placement], profiles: tuple[str, ...]) -> Walk:
        return self._kept(direction, self._tier_steps(direction, placements, {}), profiles, "deny")

    def _tier_steps(
        self, direction: FlowDirection, placements: list[Placement], ends: Mapping[str, Literal["deny", "pass"]]
    ) -> tuple[TierStep, ...]:
        """The tiers that count for the direction (POL-11); `ends` are default actions other than their own."""
        governing = [placement for placement in placements if placement.governs(direction)]
        return tuple(
            TierStep(
                tier=name,
                default_action=ends.get(name) or self._place(name).default_action,
                policies=tuple(placement.id for placement in group),
            )
            for name, group in groupby(governing, key=lambda placement: placement.tier)
        )

    def _kept(
        self,
        direction: FlowDirection,
        tiers: tuple[TierStep, ...],
        profiles: tuple[str, ...],
        end: Literal["deny", "continue"],
    ) -> Walk:
        content = (direction, tiers, profiles) if end == "deny" else (direction, tiers, profiles, end)
        digest = hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:20]
        known = self._by_id.get(digest)
        if known is None:
            known = Walk(id=digest, direction=direction, tiers=tiers, profiles=profiles, end=end)
            self._by_id[digest] = known
        return known
