"""Manifests in: files, directories, texts and dictionaries to validated, defaulted resources with their origins.

All or nothing: the first fault raises `ManifestError` and nothing is returned. Reads the paths it is given and
touches nothing else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from reference.errors import InvalidInputError
from reference.resources.defaults import defaulted
from reference.resources.documents import DocumentFault, Extent, Json, RawDocument, is_storable, read_documents
from reference.resources.faults import FieldError, FieldPath, format_path, nearest, shown, suggestion
from reference.resources.kinds import AnyResource, Kind, api_versions_of, manifest_kind, manifest_kinds
from reference.resources.metadata import Key, Resource
from reference.resources.mismatch import mismatch
from reference.resources.validation import validate

INLINE = "<inline>"  # the file of a manifest that came from no file
SUFFIXES = (".yaml", ".yml", ".json")

_MAPS = frozenset(("labels", "annotations", "matchLabels", "labelsToApply"))  # whose values are strings of the user's

Source = str | os.PathLike[str] | Mapping[str, Any] | Resource | Sequence["Source"]


class ManifestError(InvalidInputError):
    """A manifest is wrong. Everything a program may want is an attribute; the text is one line for people."""

    def __init__(
        self,
        message: str,
        *,
        file: str,
        document: int | None = None,
        line: int | None = None,
        path: FieldPath = (),
        subject: str = "",
    ) -> None:
        where = f"{file}:{line}" if line is not None else file
        what = ", ".join(part for part in (f"document {document}" if document else "", subject) if part)
        parts = (where, what, format_path(path), message)
        super().__init__(": ".join(part for part in parts if part))
        self.message = message
        self.file = file
        self.document = document
        self.line = line
        self.path = path
        self.field = format_path(path)
        self.subject = subject


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a resource came from. `document` counts from 1; `extent` is None where lines mean nothing."""

    file: str
    document: int
    extent: Extent | None = field(default=None, repr=False)
    prefix: FieldPath = ()  # where it stands in the document: ("items", 3) for an item of a List

    def __str__(self) -> str:
        line = self.line()
        return f"{self.file}:{line}" if line is not None else self.file

    def line(self, path: FieldPath = ()) -> int | None:
        """The line of a field, from 1; without a path the resource's own. None when the manifest does not spell it."""
        if self.extent is None:
            return None
        if not path and not self.prefix:
            return self.extent.line
        found = self.extent.node((*self.prefix, *path))
        return found[0] if found else None

    def line_of(self, path: FieldPath) -> int:
        """The line of a field, or of the nearest one above it that the manifest spells; 0 where there are no lines."""
        lines = (self.line(path[:length]) for length in range(len(path), -1, -1))
        return next((line for line in lines if line is not None), 0)

    def text(self, path: FieldPath) -> str | None:
        """A scalar as it was written, `yes` rather than true."""
        found = self.extent.node((*self.prefix, *path)) if self.extent else None
        return found[1].value if found and isinstance(found[1], yaml.ScalarNode) else None

    def item(self, index: int) -> Origin:
        """The origin of an item of a List."""
        return Origin(self.file, self.document, self.extent, (*self.prefix, "items", index))


@dataclass(frozen=True, slots=True)
class Sourced:
    """A resource and where it came from."""

    resource: AnyResource
    origin: Origin

    @property
    def key(self) -> Key:
        """The resource's key."""
        return self.resource.key


SourceMap = Mapping[Key, Sourced]


@dataclass(frozen=True)
class Loaded:
    """What was loaded, in order. The same key may come twice: applied in order, the last wins, as with kubectl."""

    items: tuple[Sourced, ...] = ()

    def __iter__(self) -> Iterator[Sourced]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def join(cls, parts: Iterable[Loaded]) -> Loaded:
        """Several loads as one, in order."""
        return cls(tuple(item for part in parts for item in part))

    @property
    def resources(self) -> tuple[AnyResource, ...]:
        """The resources alone, in order."""
        return tuple(item.resource for item in self.items)

    @cached_property
    def sources(self) -> SourceMap:
        """For each key the manifest that counts, so that a report can name the line of a policy's rule."""
        return {item.key: item for item in self.items}


def load(*sources: Source) -> Loaded:
    """Load manifests: a path of a file or directory, a manifest as a dictionary, a resource, or a list of these.

    A directory is walked for .yaml, .yml and .json files, in sorted order.

    Raises:
        ManifestError: the first fault, in any of them.
    """
    items: list[Sourced] = []
    inline = 0
    for source in _flat(sources):
        if isinstance(source, (str, os.PathLike)):
            for file in _files(Path(source)):
                items.extend(_parse(_text(file), str(file)))
            continue
        inline += 1
        origin = Origin(INLINE, inline)
        if isinstance(source, Resource):
            items.append(Sourced(_checked(cast(AnyResource, source), origin), origin))
        else:
            items.extend(_manifests(_json_value(source, origin), origin))
    return Loaded(tuple(items))


def parse(text: str, file: str = INLINE) -> Loaded:
    """Load the manifests of a YAML or JSON text; `file` is what errors and origins call it.

    Raises:
        ManifestError: the first fault.
    """
    return Loaded(tuple(_parse(text, file)))


def embedded(value: Mapping[str, Any], file: str, document: RawDocument, path: FieldPath) -> Loaded:
    """Load a manifest that stands inside another document (a scenario), at `path` in it.

    Raises:
        ManifestError: the first fault, with its line in that document.
    """
    origin = Origin(file, document.number, document.extent, path)
    return Loaded(tuple(_manifests(_json_value(value, origin), origin)))


def prepared(resource: AnyResource) -> AnyResource:
    """A resource made by a program, defaulted and validated as a manifest would be.

    Raises:
        FieldError: the first thing wrong.
    """
    resource = defaulted(resource)
    validate(resource)
    return resource


def _checked(resource: AnyResource, origin: Origin) -> AnyResource:
    try:
        return prepared(resource)
    except FieldError as error:
        raise _located(error, origin, str(resource.key)) from None


def _flat(sources: Iterable[Source]) -> Iterator[Any]:
    for source in sources:
        if isinstance(source, (str, os.PathLike, Mapping, Resource)):
            yield source
        elif isinstance(source, (list, tuple)):
            yield from _flat(source)
        else:
            said = f"expected a path, a manifest or a list of these, found a Python {type(source).__name__}"
            raise ManifestError(said, file=INLINE)


def _files(path: Path) -> list[Path]:
    """The files a path stands for."""
    try:
        is_directory = path.is_dir()
    except (OSError, ValueError) as error:
        raise ManifestError(f"cannot be read: {_reason(error)}", file=str(path)) from None
    if not is_directory:
        return [path]

    def refuse(error: OSError) -> None:
        raise ManifestError(f"cannot be read: {_reason(error)}", file=str(error.filename)) from None

    found = [
        Path(folder, name)
        for folder, _, names in os.walk(path, onerror=refuse)
        for name in names
        if name.endswith(SUFFIXES)
    ]
    if not found:
        raise ManifestError(f"the directory has no {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file", file=str(path))
    return sorted(found)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ManifestError("no such file or directory", file=str(path)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"not UTF-8: byte 0x{error.object[error.start]:02x}", file=str(path), line=line) from None
    except (OSError, ValueError) as error:
        raise ManifestError(f"cannot be read: {_reason(error)}", file=str(path)) from None


def _reason(error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason[:1].lower() + reason[1:]


def _parse(text: str, file: str) -> Iterator[Sourced]:
    try:
        for document in read_documents(text):
            yield from _manifests(document.value, Origin(file, document.number, document.extent))
    except DocumentFault as fault:
        raise ManifestError(
            fault.message, file=file, document=fault.document, line=fault.line, path=fault.path
        ) from None


def _json_value(source: Mapping[str, Any], origin: Origin) -> Json:
    """A caller's dictionary as plain JSON values of our own, so that later changes to it are not changes of ours."""
    try:
        value = cast(Json, msgspec.to_builtins(source))
        _require_json(value, ())
    except FieldError as error:
        raise _located(error, origin, "") from None
    except (TypeError, ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ManifestError(f"not a manifest: {said}", file=origin.file, document=origin.document) from None
    return value


def _require_json(value: Json, path: FieldPath) -> None:
    """Refuse what Python can hold and JSON, or the event log, cannot."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise FieldError(path, f"key {key!r} is not a string")
            _require_json(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _require_json(item, (*path, index))
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise FieldError(path, f"{shown(value)} is not text: it has half of a surrogate pair")
    elif isinstance(value, int) and not is_storable(value):
        raise FieldError(path, "a whole number of more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise FieldError(path, f"{value} is not a number that JSON has")


def _manifests(value: Json, origin: Origin, kind_of_items: Kind | None = None) -> Iterator[Sourced]:
    """The resources of one document: its own, or those of a List."""
    subject = _subject(value)
    try:
        if not isinstance(value, dict):
            raise FieldError((), f"expected a mapping with apiVersion and kind, found {_shape(value)}")
        if kind_of_items and "kind" not in value and "apiVersion" not in value:
            value = {"apiVersion": kind_of_items.api_version, "kind": kind_of_items.kind, **value}
        api_version, name = _type_meta(value)
        if name.endswith("List"):
            item_kind = _list_kind(api_version, name)
            items = _items(value)
        else:
            kind = _kind(api_version, name)
            yield Sourced(_resource(value, kind, origin), origin)
            return
    except FieldError as error:
        raise _located(error, origin, subject) from None
    for index, item in enumerate(items):
        yield from _manifests(item, origin.item(index), item_kind)


def _located(error: FieldError, origin: Origin, subject: str) -> ManifestError:
    return ManifestError(
        error.message,
        file=origin.file,
        document=origin.document,
        line=origin.line_of(error.path) or None,
        path=(*origin.prefix, *error.path),
        subject=subject,
    )


def _subject(value: Json) -> str:
    """`NetworkPolicy shop/web`, as far as the manifest says it."""
    if not isinstance(value, dict):
        return ""
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    place = "/".join(str(part) for part in (metadata.get("namespace"), metadata.get("name")) if part)
    return " ".join(part for part in (str(value.get("kind") or ""), place) if part)


def _shape(value: Json) -> str:
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    return f"the text {shown(value)}" if isinstance(value, str) else f"the value {shown(value)}"


def _type_meta(value: dict[str, Json]) -> tuple[str, str]:
    for name in ("apiVersion", "kind"):
        if not value.get(name):
            near = nearest(name, [key for key in value if key not in ("kind", "metadata", "spec", "status")])
            if near and name not in value:
                raise FieldError((near,), f'unknown field; did you mean "{name}"?')
            raise FieldError((name,), "required, but missing")
        if not isinstance(value[name], str):
            raise FieldError((name,), f"expected a string, found {shown(value[name])}")
    return str(value["apiVersion"]), str(value["kind"])


def _list_kind(api_version: str, name: str) -> Kind | None:
    """The kind of a `<Kind>List`'s items; None for a plain List, whose items say their own."""
    if name == "List":
        if api_version != "v1":
            raise FieldError(("apiVersion",), f"{shown(api_version)} has no List; use v1")
        return None
    return _kind(api_version, name.removesuffix("List"), shown_as=name)


def _kind(api_version: str, name: str, shown_as: str = "") -> Kind:
    kind = manifest_kind(api_version, name)
    if kind:
        return kind
    versions = api_versions_of(name)
    if versions:
        near = suggestion(api_version, versions) if len(versions) > 2 else ""
        raise FieldError(
            ("apiVersion",), f"{shown(api_version)} has no {shown_as or name}; use {' or '.join(versions)}{near}"
        )
    known = manifest_kinds()
    hint = suggestion(name, known) or f"; known: {', '.join(known)}"
    raise FieldError(("kind",), f"unknown kind {shown(shown_as or name)}{hint}")


def _items(value: dict[str, Json]) -> list[Json]:
    for key in value:
        if key not in ("apiVersion", "kind", "metadata", "items"):
            raise FieldError((key,), "unknown field; a List has apiVersion, kind, metadata and items")
    items = value.get("items")
    if items is None:
        return []
    if not isinstance(items, list):
        raise FieldError(("items",), f"expected a list, found {_shape(items)}")
    return items


def _resource(value: dict[str, Json], kind: Kind, origin: Origin) -> AnyResource:
    body = _without_nulls(value)
    del body["apiVersion"], body["kind"]
    if "resource" in body:  # our own tag, which msgspec would take
        raise FieldError(("resource",), "unknown field")
    try:
        resource = msgspec.convert(body, kind.type)
    except msgspec.ValidationError as error:
        raise _reworded(body, kind, origin, error) from None
    return prepared(resource)


def _reworded(body: dict[str, Json], kind: Kind, origin: Origin, error: msgspec.ValidationError) -> FieldError:
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and "name" not in metadata and "generateName" in metadata:
        return FieldError(("metadata", "name"), "required; names are not generated from generateName here")
    found = mismatch(body, kind.type, origin.text)
    return found or FieldError((), f"does not fit {kind.kind}: {error}")


def _without_nulls(value: dict[str, Json], in_map: bool = False) -> dict[str, Json]:
    """A null field is an absent one, and a null label an empty one, as the API server has it."""
    kept: dict[str, Json] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            kept[key] = _without_nulls(item, key in _MAPS)
        elif isinstance(item, list):
            kept[key] = _without_nulls_inside(item)
        elif item is not None:
            kept[key] = item
        elif in_map:
            kept[key] = ""
    return kept


def _without_nulls_inside(items: list[Json]) -> list[Json]:
    return [
        _without_nulls(item)
        if isinstance(item, dict)
        else _without_nulls_inside(item)
        if isinstance(item, list)
        else item
        for item in items
    ]
