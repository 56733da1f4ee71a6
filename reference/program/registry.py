"""The compiled policies and profiles of a state, the sets they refer to, and whom they select."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reference.program.matching import Item, ItemKey, Matching
from reference.program.membership import SetMembers
from reference.program.policies import (
    AnyPolicy,
    CompiledPolicy,
    Placement,
    compile_policy,
    compile_profile,
)
from reference.program.sets import SetSpec
from reference.resources import Key, Profile

Moves = dict[ItemKey, dict[Placement, int]]  # by endpoint: the policies it joined (+1), left (-1), or both (0)


class Registry:
    """Keeps policies compiled and sets filled; collects what nodes must look at again."""

    def __init__(self, matching: Matching, slices: Matching) -> None:
        """Begin empty. `matching` holds endpoints and network sets, `slices` EndpointSlices."""
        self.compiled: dict[str, CompiledPolicy] = {}  # policies and profiles, by program id
        self.sets: dict[str, SetMembers] = {}  # by base id
        self._matching = matching
        self._slices = slices
        self._ids: dict[Key, str] = {}  # of policies that have a program
        self._scopes: dict[str, _Scope] = {}  # by program id
        self._uses: dict[str, int] = {}  # of sets, by base id
        self._moves: Moves = {}
        self._changed: dict[str, None] = {}  # program ids
        self._dirty: dict[SetMembers, None] = {}
        self._everywhere: dict[str, int] = {}  # program ids every node asks for, +1, or no longer, -1

    def put_policy(self, key: Key, policy: AnyPolicy | None) -> None:
        """Give a policy a new value, or take it out."""
        old_id = self._ids.pop(key, None)
        old = None if old_id is None else self.compiled[old_id]
        new = None if policy is None else compile_policy(policy)
        if new is not None:
            new = _sharing(old, new)
            self._ids[key] = new.program.id
        self._replace(old, new)

    def put_profile(self, name: str, profile: Profile | None) -> None:
        """Give a profile a new value; None is one that does not exist, but that something names (POL-16)."""
        new = compile_profile(name, profile)
        old = self.compiled.get(new.program.id)
        self._replace(old, _sharing(old, new))

    def drop_profile(self, name: str) -> None:
        """Take out a profile nothing names any more."""
        self._replace(self.compiled[f"pro:{name}"], None)

    def take_moves(self) -> Moves:
        """The endpoints that policies have come to select or ceased to, since the last time."""
        moves, self._moves = self._moves, {}
        return moves

    def take_changed(self) -> tuple[list[str], list[str], dict[str, int]]:
        """Ids of changed policies, base ids of changed sets, and who goes everywhere, since the last time."""
        fresh = [members.spec.id for members in self._dirty if members.render()]
        changed, everywhere = list(self._changed), self._everywhere
        self._dirty, self._changed, self._everywhere = {}, {}, {}
        return changed, [base for base in fresh if base in self.sets], everywhere

    def _replace(self, old: CompiledPolicy | None, new: CompiledPolicy | None) -> None:
        """The new is there before the old goes, so that what both need is not torn down between."""
        if new is not None:
            id_ = new.program.id
            self.compiled[id_] = new
            self._changed[id_] = None
            for spec in new.sets.values():
                self._use(spec)
        elif old is not None:
            del self.compiled[old.program.id]
        self._rescope(old, new)
        self._note_everywhere(old, new)
        if old is not None:
            for base in old.sets:
                self._release(base)

    def _rescope(self, old: CompiledPolicy | None, new: CompiledPolicy | None) -> None:
        if old is not None and new is not None and old.scope == new.scope and old.placement is new.placement:
            return
        if new is not None and new.scope is not None and new.placement is not None:
            scope = _Scope(new.placement, self._note_move)
            self._matching.attach(new.scope, scope)
        else:
            scope = None
        if old is not None and old.scope is not None:
            self._matching.detach(old.scope, self._scopes.pop(old.program.id))
        if new is not None and scope is not None:
            self._scopes[new.program.id] = scope

    def _note_everywhere(self, old: CompiledPolicy | None, new: CompiledPolicy | None) -> None:
        for compiled, by in ((old, -1), (new, +1)):
            if compiled is not None and compiled.everywhere:
                id_ = compiled.program.id
                self._everywhere[id_] = self._everywhere.get(id_, 0) + by

    def _use(self, spec: SetSpec) -> None:
        self._uses[spec.id] = self._uses.get(spec.id, 0) + 1
        if spec.id not in self.sets:
            members = self.sets[spec.id] = SetMembers(spec, self._mark)
            self._mark(members)
            self._matching_of(spec).attach(spec.selector, members)

    def _release(self, base: str) -> None:
        self._uses[base] -= 1
        if self._uses[base]:
            return
        members = self.sets.pop(base)
        del self._uses[base]
        self._matching_of(members.spec).detach(members.spec.selector, members)

    def _matching_of(self, spec: SetSpec) -> Matching:
        return self._slices if spec.of_slices else self._matching

    def _note_move(self, key: ItemKey, placement: Placement, by: int) -> None:
        noted = self._moves.setdefault(key, {})
        noted[placement] = noted.get(placement, 0) + by

    def _mark(self, members: SetMembers) -> None:
        self._dirty[members] = None


class _Scope:
    """Hears whom a policy selects."""

    def __init__(self, placement: Placement, note: Callable[[ItemKey, Placement, int], None]) -> None:
        self._placement = placement
        self._note = note

    def moved(self, old: Item | None, new: Item | None) -> None:
        """Note an endpoint that joins or leaves; network sets are never selected (NS-2)."""
        if old is None and new is not None and new.is_endpoint:
            self._note(new.key, self._placement, +1)
        elif new is None and old is not None and old.is_endpoint:
            self._note(old.key, self._placement, -1)


def _sharing(old: CompiledPolicy | None, new: CompiledPolicy) -> CompiledPolicy:
    """The new one with what is equal in the old as the same objects."""
    if old is None:
        return new
    program = old.program if old.program == new.program else new.program
    placement = new.placement
    if old.placement is not None and placement is not None and placement.same_as(old.placement):
        placement = old.placement
    return replace(new, program=program, placement=placement)
