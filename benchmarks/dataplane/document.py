"""The measured part of docs/performance.md: between two marks, made anew from a record."""

from __future__ import annotations

from pathlib import Path

from benchmarks.dataplane import plots
from benchmarks.dataplane.figures import Figures
from benchmarks.dataplane.tables import markdown
from reference.errors import InvalidInputError

NAME = "performance.md"
BEGIN, END = "<!-- dataplanes: measured -->", "<!-- dataplanes: end -->"
_ABOUT = {
    "connections": "New connections against the number of rules, for each shape and dataplane",
    "established": "Throughput, request-response, packets and connections against no dataplane at all",
    "changes": "First apply, one rule and one set member against the number of policies",
}


def write(figures: Figures, folder: Path) -> list[Path]:
    """Put tables and pictures into a folder of documentation; what was written.

    Raises:
        InvalidInputError: its performance.md has no place for them.
        EnvironmentLacksError: matplotlib is not installed.
    """
    path = folder / NAME
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidInputError(f"{path} has no place for measurements: {BEGIN} and {END}")
    pictures = plots.draw(figures, folder)
    shown = "\n".join(f"![{_about(picture)}]({picture.name})\n" for picture in pictures)
    path.write_text(f"{before}{BEGIN}\n\n{shown}\n{markdown(figures)}\n{END}{after}")
    return [path, *pictures]


def _about(picture: Path) -> str:
    return next(words for name, words in _ABOUT.items() if picture.stem.endswith(name))
