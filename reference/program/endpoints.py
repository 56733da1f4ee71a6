"""The program of each endpoint, and the node it goes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from reference.endpoints import WorkloadEndpoint
from reference.program.hosts import HostEndpoints
from reference.program.matching import ItemKey
from reference.program.nodes import NodeParts
from reference.program.policies import Placement
from reference.program.registry import Moves
from reference.program.types import EndpointProgram
from reference.program.walks import NOBODY, Company, WalkBook
from reference.state import State

Steps = tuple[tuple[Placement, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """An endpoint as it stands in its node's program."""

    endpoint: WorkloadEndpoint
    program: EndpointProgram


class Endpoints:
    """Keeps every endpoint's company, walks and program."""

    def __init__(self) -> None:
        self.book = WalkBook()
        self._companies: dict[ItemKey, Company] = {}
        self._placed: dict[ItemKey, _Placed] = {}
        self.hosts = HostEndpoints(self.book, self._companies)

    def move(
        self,
        state: State,
        changed: Iterable[ItemKey],
        moves: Moves,
        node: Callable[[str], NodeParts],
        *,
        all_walks: bool,
    ) -> None:
        """Take a new state: the endpoints that changed in it, and the policies endpoints joined or left.

        `all_walks` says that the order of things has changed for everybody.
        """
        self._regroup(moves)
        keys = dict.fromkeys(changed)
        keys.update(dict.fromkeys(self._placed if all_walks else moves))
        for key in keys:
            self._place(key, state.endpoints.get(key), node)  # type: ignore[arg-type]  # endpoint keys are pairs
        self.book.forget_unused(len(self._placed), self._used_walks)

    def _regroup(self, moves: Moves) -> None:
        """Change companies. Endpoints that were in the same one and see the same change are in the same one again."""
        seen: dict[tuple[Company, Steps], Company] = {}
        for key, noted in moves.items():
            before = self._companies.get(key, NOBODY)
            step = (before, tuple(noted.items()))
            after = seen.get(step)
            if after is None:
                left = {placement for placement, by in noted.items() if by < 0}
                joined = {placement for placement, by in noted.items() if by > 0}
                after = seen[step] = (before - left) | joined
            if after:
                self._companies[key] = after
            else:
                self._companies.pop(key, None)

    def _place(self, key: ItemKey, endpoint: WorkloadEndpoint | None, node: Callable[[str], NodeParts]) -> None:
        old = self._placed.pop(key, None)
        new = None
        if endpoint is not None:
            new = _Placed(endpoint, self._program(key, endpoint))
            if old is not None and old.endpoint.node == endpoint.node and old.program == new.program:
                self._placed[key] = _Placed(endpoint, old.program)
                return
            self._placed[key] = new
        if old is not None:
            node(old.endpoint.node).remove_endpoint(old.program)
        if new is not None:
            node(new.endpoint.node).put_endpoint(new.program)

    def _program(self, key: ItemKey, endpoint: WorkloadEndpoint) -> EndpointProgram:
        walks = self.book.walks(self._companies.get(key, NOBODY), _program_ids(endpoint.profiles))
        return EndpointProgram(
            name=endpoint.name,
            interface=endpoint.interface,
            addresses=endpoint.addresses,
            ingress=walks.ingress.id,
            egress=walks.egress.id,
        )

    def _used_walks(self) -> set[str]:
        pods = {id_ for placed in self._placed.values() for id_ in (placed.program.ingress, placed.program.egress)}
        return pods | self.hosts.used_walks()


@lru_cache(maxsize=4096)
def _program_ids(profiles: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"pro:{name}" for name in profiles)
