"""What one node needs, by counting who asks for what: endpoints for walks, walks for policies, policies for sets.

Counts are changed first and looked at once, at the end of an update, so that what leaves and comes back in one
update never leaves the program.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Protocol, TypeVar

from immutables import Map

from reference.endpoints import Family
from reference.program.descent import descends
from reference.program.policies import CompiledPolicy
from reference.program.types import EndpointProgram, HostEndpointProgram, IPSet, PolicyProgram, Walk

P = TypeVar("P")


class Parts(Protocol):
    """Where a node gets the parts it turns out to need."""

    def walk(self, id_: str) -> Walk:
        """The walk of an id."""
        ...

    def policy(self, id_: str) -> CompiledPolicy:
        """The policy or profile of a program id."""
        ...

    def sets(self, base: str) -> Mapping[Family, IPSet]:
        """The sets of a base id."""
        ...


class _Needs:
    """How often each id of one sort is asked for."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._touched: set[str] = set()

    def ask(self, ids: Iterable[str], by: int) -> None:
        """Ask for ids `by` times more, or fewer."""
        counts, touched = self._counts, self._touched
        for id_ in ids:
            counts[id_] = counts.get(id_, 0) + by
            touched.add(id_)

    def settle(self, held: Container[str]) -> tuple[list[str], list[str]]:
        """The ids to be taken in and those to be let go, given the ones held."""
        counts = self._counts
        came = [id_ for id_ in self._touched if counts[id_] > 0 and id_ not in held]
        gone = [id_ for id_ in self._touched if counts[id_] == 0 and id_ in held]
        for id_ in self._touched:
            if counts[id_] == 0:
                del counts[id_]
        self._touched = set()
        return came, gone


class NodeParts:
    """The parts of one node's program, kept from state to state."""

    def __init__(self) -> None:
        self.endpoints: Map[str, EndpointProgram] = Map()
        self.host_endpoints: Map[str, HostEndpointProgram] = Map()
        self.walks: Map[str, Walk] = Map()
        self.policies: Map[str, PolicyProgram] = Map()
        self.sets: Map[str, IPSet] = Map()
        self._wanted_walks = _Needs()
        self._wanted_policies = _Needs()
        self._wanted_sets = _Needs()
        self._compiled: dict[str, CompiledPolicy] = {}  # whose sets have been asked for, by policy id

    def put_endpoint(self, program: EndpointProgram) -> None:
        """Add an endpoint."""
        self.endpoints = self.endpoints.set(program.interface, program)
        self._wanted_walks.ask((program.ingress, program.egress), +1)

    def remove_endpoint(self, program: EndpointProgram) -> None:
        """Take an endpoint out."""
        if self.endpoints.get(program.interface) is program:
            self.endpoints = self.endpoints.delete(program.interface)
        self._wanted_walks.ask((program.ingress, program.egress), -1)

    def put_host_endpoints(self, programs: Mapping[str, HostEndpointProgram]) -> None:
        """Take these host endpoints, by interface, in place of those it has."""
        for program in programs.values():
            self._wanted_walks.ask(program.walks, +1)
        for program in self.host_endpoints.values():
            self._wanted_walks.ask(program.walks, -1)
        gone = [interface for interface in self.host_endpoints if interface not in programs]
        self.host_endpoints = _edited(self.host_endpoints, gone, programs)

    def ask_for(self, policy: str, by: int) -> None:
        """Ask for a policy whether endpoints need it or not, or no longer."""
        self._wanted_policies.ask((policy,), by)

    def settle(self, parts: Parts, policies: Iterable[str], sets: Iterable[str]) -> None:
        """Bring the parts in line with what is asked for; `policies` and `sets` have changed since the last time."""
        self._settle_walks(parts)
        self._settle_policies(parts, policies)
        self._settle_sets(parts, sets)

    def _settle_walks(self, parts: Parts) -> None:
        came, gone = self._wanted_walks.settle(self.walks)
        for id_ in gone:
            self._wanted_policies.ask(_policies_of(self.walks[id_]), -1)
        put = {id_: parts.walk(id_) for id_ in came}
        for walk in put.values():
            self._wanted_policies.ask(_policies_of(walk), +1)
        self.walks = _edited(self.walks, gone, put)

    def _settle_policies(self, parts: Parts, changed: Iterable[str]) -> None:
        came, gone = self._wanted_policies.settle(self._compiled)
        for id_ in gone:
            self._wanted_sets.ask(self._compiled.pop(id_).sets, -1)
        put: dict[str, PolicyProgram] = {}
        for id_ in [*(id_ for id_ in changed if id_ in self._compiled), *came]:
            before, after = self._compiled.get(id_), parts.policy(id_)
            self._wanted_sets.ask(after.sets, +1)
            if before is not None:
                self._wanted_sets.ask(before.sets, -1)
            self._compiled[id_] = after
            put[id_] = after.program
        self.policies = _edited(self.policies, gone, put)

    def _settle_sets(self, parts: Parts, changed: Iterable[str]) -> None:
        came, gone = self._wanted_sets.settle(_BaseIds(self.sets))
        put: dict[str, IPSet] = {}
        for base in [*came, *(base for base in changed if f"{base}4" in self.sets and base not in gone)]:
            put.update((each.id, each) for each in parts.sets(base).values())
        self.sets = _edited(self.sets, [f"{base}{family}" for base in gone for family in (4, 6)], put)


class _BaseIds:
    """The base ids of the sets held."""

    def __init__(self, sets: Map[str, IPSet]) -> None:
        self._sets = sets

    def __contains__(self, base: object) -> bool:
        return f"{base}4" in self._sets


def _edited(held: Map[str, P], gone: Iterable[str], put: Mapping[str, P]) -> Map[str, P]:
    """The map with some entries taken out and others put in; the very same map if that changes nothing."""
    fresh = {id_: part for id_, part in put.items() if held.get(id_) is not part}
    gone = list(gone)
    if not fresh and not gone:
        return held
    editing = held.mutate()
    for id_ in gone:
        del editing[id_]
    editing.update(fresh)
    return descends(editing.finish(), held, {*fresh, *gone})


def _policies_of(walk: Walk) -> Iterable[str]:
    for step in walk.tiers:
        yield from step.policies
    yield from walk.profiles
