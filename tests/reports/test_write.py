"""Files of a report."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from reports import write
from reports.results import RunResult


def test_three_files(results, tmp_path):
    """The folder is made, and the files are the page, the data, and JUnit's."""
    result = results.everything()
    written = write(result, tmp_path / "deep" / "report")
    assert [path.name for path in written] == ["index.html", "results.json", "junit.xml"]
    assert sorted(path.name for path in written[0].parent.iterdir()) == ["index.html", "junit.xml", "results.json"]
    assert msgspec.json.decode(written[1].read_bytes(), type=RunResult) == result


def test_a_file_is_whole_or_old(results, tmp_path, monkeypatch):
    """When writing fails half-way, the file of the previous run is still there, whole."""
    write(results.run(results.scenario(results.check())), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="no space"):
        write(results.everything(), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
