"""Which fields of which resources are read, and by whom: recorded while the roads to a verdict run, not claimed.

While a `Recorder` is on, every read of a field of a resource goes past it, and the call stack says who reads: the
oracle, the compiler, or what both stand on (endpoints, addresses, profiles, events). What validation and defaulting
read does not count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from reference.resources import KINDS
from reference.resources.metadata import Document

Reader = Literal["oracle", "compiler", "shared"]
Field = tuple[str, str]  # class, field as Python names it

_ROADS: tuple[tuple[str, Reader], ...] = (("reference.policy", "oracle"), ("reference.program", "compiler"))
_NOT_COUNTED = "reference.resources"  # validation, defaulting, output


def structures(*kinds: type[Document]) -> dict[str, type[Document]]:
    """Every class that these kinds, by default all, are made of, by name."""
    found: dict[str, type[Document]] = {}
    waiting: list[Any] = list(kinds or [kind.type for kind in KINDS])
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, Document):
            if one.__name__ not in found:
                found[one.__name__] = one
                waiting.extend(get_type_hints(one).values())
        elif get_origin(one) is not None:
            waiting.extend(get_args(one))
    return found


def all_fields() -> set[Field]:
    """Every field of every kind, those of base classes under each class that has them."""
    return {(name, field.name) for name, one in structures().items() for field in msgspec.structs.fields(one)}


class _Watched:
    """A field's descriptor, with somebody listening."""

    def __init__(self, descriptor: Any, name: str, recorder: Recorder) -> None:  # noqa: ANN401 - C's own type
        self._descriptor = descriptor
        self._name = name
        self._recorder = recorder

    def __get__(self, instance: Any, owner: type | None = None) -> Any:  # noqa: ANN401 - a field's value
        if instance is None:
            return self
        self._recorder.note(type(instance).__name__, self._name, sys._getframe(1))
        return self._descriptor.__get__(instance, owner)


class Recorder:
    """Who read what."""

    def __init__(self) -> None:
        self.reads: dict[Reader, set[Field]] = {"oracle": set(), "compiler": set(), "shared": set()}
        self._kinds = {one.__module__ for one in structures().values()}  # properties there read for their callers

    def note(self, owner: str, field: str, frame: FrameType | None) -> None:
        """Take down one read."""
        reader = self._reader(frame)
        if reader is not None:
            self.reads[reader].add((owner, field))

    def _reader(self, frame: FrameType | None) -> Reader | None:
        """The road on the stack; else the innermost module, when it is one that both roads stand on."""
        innermost = ""
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            for prefix, reader in _ROADS:
                if module.startswith(prefix):
                    return reader
            if not innermost and module not in self._kinds:
                innermost = module
            frame = frame.f_back
        if innermost.startswith(_NOT_COUNTED) or not innermost.startswith("reference."):
            return None
        return "shared"

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Listen to every field of every kind."""
        replaced = []
        for one in {base for each in structures().values() for base in each.__mro__ if _declares(base)}:
            for name in (field.name for field in msgspec.structs.fields(one)):
                descriptor = one.__dict__.get(name)
                if descriptor is not None:
                    replaced.append((one, name, descriptor))
                    setattr(one, name, _Watched(descriptor, name, self))
        try:
            yield
        finally:
            for one, name, descriptor in replaced:
                setattr(one, name, descriptor)


def _declares(base: type) -> bool:
    return issubclass(base, Document) and base is not Document
