"""Live tests run inside a sandbox: the `sandboxed` fixture starts a fresh interpreter that enters one.

As an ordinary user too: a test process of root gives its privileges away first. When the interpreter lies where an
ordinary user may not look (a home directory), it is shown to that user at the same place in a private mount table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOBODY = "65534"
SECONDS = 60

_BOOT = """
import importlib.util, json, os, sys, traceback
from emulator import sandbox
path, function, arguments = sys.argv[1:]
try:
    sandbox.enter("test")
    spec = importlib.util.spec_from_file_location("sandboxed_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sandboxed_test"] = module
    spec.loader.exec_module(module)
    result = getattr(module, function)(*json.loads(arguments))
    print("RESULT " + json.dumps(result), flush=True)
except BaseException:
    traceback.print_exc()
    sys.stderr.flush()
os._exit(0)
"""


def as_ordinary_user(command: list[str]) -> list[str]:
    """The same command without any privilege."""
    if os.geteuid() != 0:
        return command
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    drop += ["--bounding-set=-all", *command]
    needed = sorted({Path(path).resolve() for path in (sys.base_prefix, sys.prefix, ROOT)})
    shown = [path for path in needed if _closed_ancestors(path)]
    if not shown:
        return drop
    lines = ["set -e", "mount --make-rprivate /", "mount -t tmpfs none /mnt"]
    for number, path in enumerate(shown):
        lines += [f"mkdir /mnt/{number}", f"mount --bind '{path}' /mnt/{number}"]
    hidden: set[Path] = set()
    for number, path in enumerate(shown):
        for closed in _closed_ancestors(path):  # an open directory takes its place; what is needed is shown inside
            if closed not in hidden:
                hidden.add(closed)
                lines.append(f"mount -t tmpfs -o mode=755 none '{closed}'")
        lines += [f"mkdir -p '{path}'", f"mount --move /mnt/{number} '{path}'"]
    lines += ["umount /mnt", 'exec "$@"']
    return ["unshare", "--mount", "sh", "-c", "\n".join(lines), "sh", *drop]


def _closed_ancestors(path: Path) -> list[Path]:
    """The directories on the way to a path, itself included, that others may not enter; the topmost first."""
    return [top for top in reversed((path, *path.parents)) if not top.stat().st_mode & 0o001]


USERS = [
    pytest.param("root", marks=pytest.mark.skipif(os.geteuid() != 0, reason="the tests are not run by root")),
    "ordinary user",
]


@pytest.fixture(params=USERS)
def as_user(request: pytest.FixtureRequest) -> Callable[[list[str]], list[str]]:
    """Turns a command into one that runs as root, and in a second run as an ordinary user."""
    return as_ordinary_user if request.param == "ordinary user" else lambda command: command


@pytest.fixture
def sandboxed(request: pytest.FixtureRequest, as_user: Callable[[list[str]], list[str]]) -> Callable[..., object]:
    """Call a function of the test's module inside a new sandbox, as root and as an ordinary user; its result."""

    def call(function: Callable[..., object], *arguments: object) -> object:
        command = [sys.executable, "-B", "-c", _BOOT, str(request.path), function.__name__, json.dumps(arguments)]
        done = subprocess.run(
            as_user(command),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        if not results:
            pytest.fail(f"in the sandbox:\n{done.stdout}{done.stderr}", pytrace=False)
        return json.loads(results[-1].removeprefix("RESULT "))

    return call
