"""Results as data, and their renderings: terminal, JUnit, JSON, HTML."""

from __future__ import annotations

from pathlib import Path

import msgspec

from reports.html import page
from reports.junit import junit
from reports.results import RunResult


def write(result: RunResult, folder: Path) -> list[Path]:
    """Write `index.html`, `results.json` and `junit.xml` into a folder, made if need be; the paths written.

    Each file appears whole or not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "index.html": page(result).encode(),
        "results.json": msgspec.json.format(msgspec.json.encode(result), indent=2),
        "junit.xml": junit(result),
    }
    for name, content in contents.items():
        fresh = folder / f".{name}.new"
        fresh.write_bytes(content)
        fresh.replace(folder / name)
    return [folder / name for name in contents]
