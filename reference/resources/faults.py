"""What is wrong with a field, where in the resource, and how to say it.

A fault knows the field's path; only the loader knows the file and the line (`manifests.ManifestError`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import NoReturn, TypeVar

from reference.errors import InvalidInputError

FieldPath = tuple[str | int, ...]  # ("spec", "ingress", 0, "source", "nets", 1), spelled as in the manifest

T = TypeVar("T")

_BARE_NAME = re.compile(r"[A-Za-z_<][A-Za-z0-9_<-]*")


class FieldError(InvalidInputError):
    """A field's value is wrong. `path` is where, `message` what is wrong and what to do."""

    def __init__(self, path: FieldPath, message: str) -> None:
        super().__init__(f"{format_path(path)}: {message}" if path else message)
        self.path = path
        self.message = message


def fail(path: FieldPath, message: str) -> NoReturn:
    """Raise the fault.

    Raises:
        FieldError: always.
    """
    raise FieldError(path, message)


def parsed(parse: Callable[[str], T], text: str, path: FieldPath) -> T:
    """What a parser makes of a field's text.

    Raises:
        FieldError: the parser raised ValueError; its message is the fault's.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise FieldError(path, str(error)) from None


def format_path(path: FieldPath) -> str:
    """A path as users write it: `spec.ingress[0].source.nets[1]`, `metadata.labels["example.com/a"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _BARE_NAME.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or nothing when no known word is near."""
    near = nearest(word, known)
    return f'; did you mean "{near}"?' if near else ""


def shown(value: object) -> str:
    """A found value, short enough for one line of a message."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= 80 else f"{text[:60]}… ({len(str(value))} characters)"
