"""YAML and JSON text to plain values, as kubectl reads them, and back from a field's path to its line.

PyYAML composes the nodes; which plain scalars are numbers and booleans follows the reader that kubectl uses, not
YAML 1.1 as PyYAML has it: `20:25` is a string, `y` a boolean, `1e3` a number, a date a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias, cast

import yaml

from reference.resources.faults import FieldPath, shown

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_PREFIX = "tag:yaml.org,2002:"
STR, NULL, BOOL, INT, FLOAT, MERGE = (_PREFIX + name for name in ("str", "null", "bool", "int", "float", "merge"))
_MAP, _SEQ = _PREFIX + "map", _PREFIX + "seq"

_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_WORDS = dict.fromkeys(_TRUE | _FALSE, BOOL) | dict.fromkeys(_NULLS, NULL) | {"<<": MERGE}
_NUMERIC_START = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|0[0-7]+|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_MAX_DEPTH = 100  # of nested lists and mappings; no real manifest comes near
_TOO_DEEP = f"nested more than {_MAX_DEPTH} levels deep"
_LIBRARY_TOO_DEEP = "exceeded maximum nesting depth"  # libyaml's own limit, a thousand, which recent ones have


def scalar_tag(text: str) -> str:
    """The tag of a plain (unquoted) scalar."""
    word = _WORDS.get(text)
    if word is not None:
        return word
    if text[0] not in _NUMERIC_START:
        return STR
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return INT
    return FLOAT if _FLOAT.fullmatch(digits) or _SPECIAL_FLOAT.fullmatch(text) else STR


class _Loader(yaml.CSafeLoader):
    """The composer with kubectl's reading of plain scalars, and a bound on its recursion, which is in C."""

    _depth = 0

    def descend_resolver(self, parent: yaml.Node | None, _: object) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _too_deep(cast(yaml.Node, parent))

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode:
            return scalar_tag(value) if implicit[0] else STR
        return _MAP if kind is yaml.MappingNode else _SEQ


class DocumentFault(Exception):  # noqa: N818 - the file's fault, not an error of ours; callers turn it into one
    """The text is not a document: a syntax error, a duplicate key. Lines count from 1."""

    def __init__(self, message: str, *, line: int | None, document: int = 1, path: FieldPath = ()) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.document = document
        self.path = path


class _TooDeep(DocumentFault):
    """Its path would be a screenful of nothing, so it has none."""


def _too_deep(node: yaml.Node) -> DocumentFault:
    return _TooDeep(_TOO_DEEP, line=node.start_mark.line + 1)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a document lies in its text, enough to find the line of any field later."""

    line: int  # of its first key, from 1
    column: int
    start: int
    end: int
    text: str = field(repr=False)

    def node(self, path: FieldPath) -> tuple[int, yaml.Node] | None:
        """The line and the node of a field, or None when the document does not spell it."""
        root = _composed(" " * self.column + self.text[self.start : self.end])
        found = _find(root, path) if root else None
        return (self.line + found[0], found[1]) if found else None


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One document: its place among the documents of the text (from 1), its value, where it lies."""

    number: int
    value: Json
    extent: Extent | None  # None: JSON that YAML cannot read, whose lines are not known


def read_documents(text: str) -> Iterator[RawDocument]:
    """Every document of a YAML or JSON text that is not empty, in order.

    Raises:
        DocumentFault: it is not YAML, a mapping has a key twice, or it is nested out of all proportion.
    """
    try:
        yield from _read_yaml(text)
    except DocumentFault:
        value = _as_json(text)
        if value is None:
            raise
        yield RawDocument(1, value, None)


def _as_json(text: str) -> Json:
    """The value of a JSON text that YAML's scanner refuses (surrogate escapes, tabs); None when it is not JSON."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(text, object_pairs_hook=_unique_pairs, parse_int=_int)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError):
        return None
    return cast(Json, value)


def _unique_pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key twice in one mapping")
    return dict(pairs)


def _read_yaml(text: str) -> Iterator[RawDocument]:
    number = 1
    loader = None
    try:
        loader = _Loader(text)
        builder = _Builder(limit=100_000 + 2 * len(text))
        while loader.check_node():
            node = cast(yaml.Node, loader.get_node())
            value = builder.build(node)
            if value is not None:
                mark = node.start_mark
                extent = Extent(mark.line + 1, mark.column, mark.index, node.end_mark.index, text)
                yield RawDocument(number, value, extent)
            number += 1
    except DocumentFault as fault:
        fault.document = number
        raise
    except yaml.YAMLError as error:
        raise _syntax_fault(error, text, number) from None
    finally:
        if loader is not None:
            loader.dispose()


def _syntax_fault(error: yaml.YAMLError, text: str, number: int) -> DocumentFault:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return DocumentFault(f"not YAML: {error.reason}", line=line, document=number)
    if not isinstance(error, yaml.MarkedYAMLError):
        return DocumentFault(f"not YAML: {error}", line=None, document=number)
    mark = error.problem_mark or error.context_mark
    at = mark.index if mark else 0
    said = (error.problem or error.context or "unreadable").replace("\n", " ")
    if said == _LIBRARY_TOO_DEEP:
        return _TooDeep(_TOO_DEEP, line=mark.line + 1 if mark else None, document=number)
    if text[at : at + 1] == "\t":
        said = "a tab where YAML wants spaces"
    return DocumentFault(f"not YAML: {said}", line=mark.line + 1 if mark else None, document=number)


class _Builder:
    """Nodes to values. Aliases are expanded, so `limit` bounds what a few of them can grow into."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def build(self, node: yaml.Node, depth: int = 0) -> Json:
        self._left -= 1
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if depth >= _MAX_DEPTH:
            raise _too_deep(node)  # through an alias to itself
        if self._left < 0:
            raise DocumentFault("aliases expand to too much", line=node.start_mark.line + 1)
        if node.tag not in (_MAP, _SEQ):
            raise DocumentFault(f"tag {shown(node.tag)} is not understood", line=node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, depth + 1)
        return self._mapping(cast(yaml.MappingNode, node), depth + 1)

    def _sequence(self, node: yaml.SequenceNode, depth: int) -> list[Json]:
        items: list[Json] = []
        try:
            for child in node.value:
                items.append(self.build(child, depth))
        except DocumentFault as fault:
            _prefix(fault, len(items))
            raise
        return items

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Json]:
        mapping: dict[str, Json] = {}
        merged: list[yaml.Node] = []
        key = ""
        try:
            for key_node, child in node.value:
                if key_node.tag == MERGE:
                    merged.append(child)
                    continue
                key = _key(key_node)
                if key in mapping:
                    raise DocumentFault("the key is there twice", line=key_node.start_mark.line + 1)
                mapping[key] = self.build(child, depth)
        except DocumentFault as fault:
            if key:
                _prefix(fault, key)
            raise
        for child in merged:
            self._merge(child, mapping, depth)
        return mapping

    def _merge(self, node: yaml.Node, into: dict[str, Json], depth: int) -> None:
        """`<<`: the keys of other mappings, below the mapping's own; of several, the first wins."""
        value = self.build(node, depth)
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                raise DocumentFault("<< wants a mapping or a list of mappings", line=node.start_mark.line + 1)
            for key, item in source.items():
                into.setdefault(key, item)


def _prefix(fault: DocumentFault, part: str | int) -> None:
    """Grow the fault's path on its way up."""
    if not isinstance(fault, _TooDeep):
        fault.path = (part, *fault.path)


def _key(node: yaml.Node) -> str:
    """A mapping's key: a string; a whole number is taken as its digits, as kubectl does."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag == STR or (node.tag == INT and node.value.isdecimal()):
            return str(node.value)
        raise DocumentFault(f"key {node.value or '(empty)'} is not a string; quote it", line=node.start_mark.line + 1)
    raise DocumentFault("a key must be a string", line=node.start_mark.line + 1)


def _scalar(node: yaml.ScalarNode) -> Json:
    text: str = node.value
    tag = node.tag
    if tag in (STR, MERGE):
        return text
    try:
        return _SCALARS[tag](text)
    except (KeyError, ValueError):
        if _SPECIAL_FLOAT.fullmatch(text):
            raise DocumentFault(f"{text} is not a number that JSON has", line=node.start_mark.line + 1) from None
        said = f"{shown(text)} with tag {shown(tag)} is not understood"
        raise DocumentFault(said, line=node.start_mark.line + 1) from None


def _null(text: str) -> None:
    if text not in _NULLS:
        raise ValueError(text)


def _bool(text: str) -> bool:
    if text not in _TRUE and text not in _FALSE:
        raise ValueError(text)
    return text in _TRUE


def _int(text: str) -> int | float:
    """A whole number; one that no 64 bits hold becomes a float, as in kubectl."""
    value = _whole(text)
    return value if is_storable(value) else float(value)


def is_storable(value: int) -> bool:
    """Report whether the API, and the event log, can hold a whole number."""
    return -(2**63) <= value < 2**64


def _whole(text: str) -> int:
    digits = text.replace("_", "").lower()
    if len(digits) > 300:
        raise ValueError(text)
    if re.fullmatch(r"[-+]?0[0-7]+", digits):  # a leading zero means octal
        return int(digits, 8)
    return int(digits, 0)


def _float(text: str) -> float:
    if _SPECIAL_FLOAT.fullmatch(text):
        raise ValueError(text)  # JSON, and so the API, has no such number
    return float(text.replace("_", ""))


_SCALARS: dict[str, Callable[[str], Json]] = {NULL: _null, BOOL: _bool, INT: _int, FLOAT: _float}


@lru_cache(maxsize=32)
def _composed(text: str) -> yaml.Node | None:
    """The nodes of one document; composed again when a line is asked for, rather than kept for each document."""
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except yaml.YAMLError:
        return None
    finally:
        loader.dispose()


def _find(node: yaml.Node, path: FieldPath) -> tuple[int, yaml.Node] | None:
    line = node.start_mark.line
    for part in path:
        step = _step(node, part)
        if step is None:
            return None
        line, node = step
    return line, node


def _step(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    """One step down: a mapping's field is where its key stands, a list's element where it begins."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        if part >= len(node.value):
            return None
        child = node.value[part]
        return child.start_mark.line, child
    if isinstance(node, yaml.MappingNode) and isinstance(part, str):
        found = None
        for key, child in node.value:  # a doubled key is a fault that is reported at the second
            if isinstance(key, yaml.ScalarNode) and key.value == part:
                found = key.start_mark.line, child
        return found or _step_merged(node, part)
    return None


def _step_merged(node: yaml.MappingNode, part: str) -> tuple[int, yaml.Node] | None:
    for key, child in node.value:
        if key.tag == MERGE:
            for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                found = _step(source, part)
                if found:
                    return found
    return None
