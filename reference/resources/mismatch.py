"""Why a value does not fit a resource type: the first wrong field, with its exact path, in words for users.

msgspec decides whether a value fits; this says why not, and runs only then. It follows the type as msgspec
describes it, so a new field needs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from reference.resources.faults import FieldError, FieldPath, shown, suggestion

RawText = Callable[[FieldPath], str | None]  # a scalar as the user wrote it, when that is known

_NAMES: tuple[tuple[type[Any], str], ...] = (
    (bool, "boolean"),
    (int, "number"),
    (float, "number"),
    (str, "string"),
    (list, "list"),
    (tuple, "list"),
    (Mapping, "mapping"),
)
_EXPECTED = {
    "IntType": "a whole number",
    "FloatType": "a number",
    "StrType": "a string",
    "BoolType": "true or false",
    "StructType": "a mapping",
    "DictType": "a mapping",
    "VarTupleType": "a list",
}


_INFO: dict[type[Any], inspect.Type] = {}


def _info(target: type[Any]) -> inspect.Type:
    if target not in _INFO:
        _INFO[target] = inspect.type_info(target)
    return _INFO[target]


def mismatch(value: object, target: type[Any], raw: RawText) -> FieldError | None:
    """The first field of `value` that does not fit `target`, or None when all of them do."""
    try:
        _check(value, _info(target), (), raw)
    except FieldError as error:
        return error
    return None


def _check(value: object, info: inspect.Type, path: FieldPath, raw: RawText) -> None:
    if isinstance(info, inspect.UnionType):
        if value is None and info.includes_none:
            return
        info = _member_for(value, info)
    if isinstance(info, inspect.StructType):
        _check_struct(value, info, path, raw)
    elif isinstance(info, inspect.VarTupleType):
        if not isinstance(value, (list, tuple)):
            raise FieldError(path, f"expected a list, found {_found(value, path, raw)}")
        for index, item in enumerate(value):
            _check(item, info.item_type, (*path, index), raw)
    elif isinstance(info, inspect.DictType):
        for key, item in _mapping(value, path, raw).items():
            _check(item, info.value_type, (*path, key), raw)
    elif isinstance(info, inspect.LiteralType):
        if value not in info.values or isinstance(value, bool):
            raise FieldError(path, _not_one_of(value, info, path, raw))
    else:
        _check_scalar(value, info, path, raw)


def _member_for(value: object, info: inspect.UnionType) -> inspect.Type:
    """The member of `X | None`, `int | str` or `str | Selection` to hold the value against: the one of its shape."""
    members = [member for member in info.types if not isinstance(member, inspect.NoneType)]
    for member in members:
        if _fits_scalar(value, member) or _has_shape(value, member):
            return member
    return members[0] if len(members) == 1 else inspect.UnionType(tuple(members))


def _fits_scalar(value: object, info: inspect.Type) -> bool:
    match info:
        case inspect.AnyType():
            return True
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case _:
            return False


def _has_shape(value: object, info: inspect.Type) -> bool:
    """Report whether both are mappings, or both are lists: what is wrong then is inside."""
    if isinstance(value, Mapping):
        return isinstance(info, (inspect.StructType, inspect.DictType))
    return isinstance(value, (list, tuple)) and isinstance(info, inspect.VarTupleType)


def _check_scalar(value: object, info: inspect.Type, path: FieldPath, raw: RawText) -> None:
    if _fits_scalar(value, info):
        return
    members = info.types if isinstance(info, inspect.UnionType) else (info,)
    expected = " or ".join(_EXPECTED.get(type(member).__name__, "another value") for member in members)
    raise FieldError(path, f"expected {expected}, found {_found(value, path, raw)}{_hint(value, members, path, raw)}")


def _hint(value: object, members: tuple[inspect.Type, ...], path: FieldPath, raw: RawText) -> str:
    """How to write it so that it has the right type."""
    if len(members) == 1 and isinstance(members[0], inspect.StrType):
        return f'; quote it: "{_written(value, path, raw)}"' if isinstance(value, (bool, int, float)) else ""
    if isinstance(value, str) and (value.lower() in ("true", "false") or value.lstrip("-").isdecimal()):
        return "; remove the quotes"
    return ""


def _not_one_of(value: object, info: inspect.LiteralType, path: FieldPath, raw: RawText) -> str:
    known = [str(item) if item != "" else '""' for item in info.values]
    choices = f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0]
    if not isinstance(value, type(info.values[0])) or isinstance(value, bool):
        hint = "; remove the quotes" if isinstance(value, str) and value in known else ""
        return f"expected {choices}, found {_found(value, path, raw)}{hint}"
    near = suggestion(value, known) if isinstance(value, str) else ""
    return f"expected {choices}, found {shown(value)}{near}"


def _check_struct(value: object, info: inspect.StructType, path: FieldPath, raw: RawText) -> None:
    fields = {field.encode_name: field for field in info.fields}
    mapping = _mapping(value, path, raw)
    for key, item in mapping.items():
        if key not in fields:
            hint = suggestion(key, fields) or _known(fields)
            raise FieldError((*path, key), f"unknown field{hint}")
        _check(item, fields[key].type, (*path, key), raw)
    for field in info.fields:
        if field.required and field.encode_name not in mapping:
            raise FieldError((*path, field.encode_name), "required, but missing")


def _known(fields: Mapping[str, object]) -> str:
    return f"; known: {', '.join(fields)}" if len(fields) <= 16 else ""


def _mapping(value: object, path: FieldPath, raw: RawText) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FieldError(path, f"expected a mapping, found {_found(value, path, raw)}")
    return value


def _written(value: object, path: FieldPath, raw: RawText) -> str:
    text = raw(path)
    if text is not None:
        return text
    return msgspec.json.encode(value).decode() if isinstance(value, bool) else str(value)


def _found(value: object, path: FieldPath, raw: RawText) -> str:
    """What is there: `the number 80`, `the string "x"`, `a list`, `nothing`."""
    if value is None:
        return "nothing (null)"
    name = next((name for kind, name in _NAMES if isinstance(value, kind)), type(value).__name__)
    if name in ("list", "mapping"):
        return f"a {name}"
    if name == "string":
        return f"the string {shown(value)}"
    if name in ("boolean", "number"):
        return f"the {name} {_written(value, path, raw)}"
    return f"a Python {name}"
