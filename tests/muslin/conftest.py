"""What the tests of the front door share: the command, and a look at what a cluster could leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "scenarios" / "manifests" / "shop.yaml"
MUSLIN = [sys.executable, "-m", "muslin"]


class Answer:
    """What a command said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def json(self) -> object:
        """Standard output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def muslin(tmp_path: Path) -> Callable[..., Answer]:
    """Run the command as a user would, in the project's folder; logs go to a folder of the test's own."""

    def run(*arguments: object, input: str | None = None, timeout: float = 60) -> Answer:
        import os

        done = subprocess.run(
            [*MUSLIN, *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            input=input,
            timeout=timeout,
            check=False,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        )
        return Answer(done)

    return run


@pytest.fixture
def name() -> str:
    """A cluster name of the test's own."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def staying(muslin: Callable[..., Answer], name: str) -> Iterator[str]:
    """A cluster brought up with `muslin up`, and taken down."""
    answer = muslin("up", "--name", name, "-f", SHOP)
    assert answer.code == 0, answer.err
    yield name
    muslin("down", name)


def processes_of(name: str) -> list[int]:
    """Processes, zombies left out, whose command line names a cluster."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if name.encode() in line and b"emulator.supervisor" in line and state != "Z":
                found.append(int(folder.name))
    return found


def machine() -> dict[str, object]:
    """What a leak would show in, outside: links, named namespaces, mounts, temporary files, sockets."""
    names = Path("/run/netns")
    return {
        "links": sorted(line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]),
        "names": sorted(path.name for path in names.iterdir()) if names.exists() else [],
        "mounts": Path("/proc/self/mounts").read_text(),
        "run": sorted(path.name for path in Path("/run").iterdir()),
    }


def eventually(check: Callable[[], bool], seconds: float = 10) -> bool:
    """Report whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.01)
    return check()


@pytest.fixture
def machine_view() -> Callable[[], dict[str, object]]:
    """`machine`, for tests."""
    return machine


@pytest.fixture
def supervisors() -> Callable[[str], list[int]]:
    """`processes_of`, for tests."""
    return processes_of
