"""What an apply will change in the maps, told part by part. Pure.

The tables themselves find what differs while they write the idle generation, so a plan is for people and carries no
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from emulator.dataplane.references import NOTHING, differing, member_changes, no_program
from reference.program.types import IPSet, NodeProgram

FLIP = "let the other generation decide"
_NAMED = (("policies", "code of policy"), ("walks", "code of walk"), ("endpoints", "endpoint at"),
          ("host_endpoints", "host endpoint at"))  # fmt: skip
_WHOLE = ("nat_sources", "pools", "failsafes", "open_ports", "to_host", "encapsulation")


class Planned(msgspec.Struct, frozen=True):
    """A program, and what differs between it and the kernel."""

    program: NodeProgram
    differences: tuple[str, ...]

    def lines(self) -> list[str]:
        """A line for each part that differs; none when the kernel is the program."""
        return list(self.differences)


def differences(old: NodeProgram | None, new: NodeProgram) -> Iterator[str]:
    """A line for each part of two programs that differs."""
    old = old or no_program(new.node)
    for set_id, before, after in differing(old.sets, new.sets):
        yield _set(set_id, before, after)
    for field, words in _NAMED:
        mine: Mapping[str, object] = getattr(old, field)
        for name, before_, after_ in differing(mine, getattr(new, field)):
            yield f"{_verb(before_, after_)} {words} {name}"
    for field in _WHOLE:
        if getattr(old, field) != getattr(new, field):
            yield f"write {field.replace('_', ' ')}"


def _set(set_id: str, before: IPSet | None, after: IPSet | None) -> str:
    gone, come = member_changes(before.members if before else NOTHING, after.members if after else NOTHING)
    moved = [f"put {len(come)} members in"] * bool(come) + [f"take {len(gone)} members out"] * bool(gone)
    return f"{_verb(before, after)} set {set_id}" + (f": {', '.join(moved)}" if moved else "")


def _verb(before: object, after: object) -> str:
    if before is None:
        return "write"
    return "remove" if after is None else "change"
