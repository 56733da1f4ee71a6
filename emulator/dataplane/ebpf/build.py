"""What is compiled from C: the programs, and the assembler; beside the source, or in the user's cache."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from reference.errors import EnvironmentLacksError

HERE = Path(__file__).parent
_COMPILERS = ("clang", *(f"clang-{version}" for version in range(21, 12, -1)))
_WARNINGS = ("-O2", "-Wall", "-Werror")


class _Target(NamedTuple):
    """Something to be compiled."""

    what: str
    source: str
    headers: str  # which files, as a pattern, it is made of too
    suffix: str
    options: tuple[str, ...]
    packages: str  # that are needed for it, besides the compiler


_PROGRAMS = _Target(
    what="the eBPF programs",
    source="policy.bpf.c",
    headers="*.h",
    suffix=".bpf.o",
    # <asm/types.h> is where Debian keeps it
    options=("-g", "-target", "bpf", "-mcpu=v3", f"-I/usr/include/{platform.machine()}-linux-gnu", "-c"),
    packages="libbpf-dev",
)
_ASSEMBLER = _Target(
    what="the assembler of the eBPF dataplane",
    source="assembler.c",
    headers="instructions.h",
    suffix=str(sysconfig.get_config_var("EXT_SUFFIX")),  # of this version of Python
    options=("-fPIC", "-fwrapv", "-shared", "-isystem", sysconfig.get_path("include")),
    packages="python3-dev libc6-dev",
)


@lru_cache(maxsize=1)
def programs() -> Path:
    """The object of the programs, for this very source and its headers, compiled now if it is not there yet.

    Raises:
        EnvironmentLacksError: it is not there, and it cannot be compiled.
    """
    return _compiled(_PROGRAMS)


@lru_cache(maxsize=1)
def assembler() -> Path:
    """The extension of Python, likewise.

    Raises:
        EnvironmentLacksError: it is not there, and it cannot be compiled.
    """
    return _compiled(_ASSEMBLER)


def _compiled(target: _Target) -> Path:
    parts = [HERE / target.source, *sorted(HERE.glob(target.headers))]
    stem = target.source.partition(".")[0]
    digest = sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:12]
    name = f"{stem}.{digest}{target.suffix}"
    places = (HERE, _cache())
    for place in places:
        if (place / name).is_file():
            return place / name
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place, prefix=f"{stem}.", suffix=".tmp") as unfinished:
                file = Path(unfinished, name)
                _compile(target, file)
                file.chmod(0o644)
                os.link(file, place / name)
        except FileExistsError:
            pass  # somebody else was faster
        except OSError:
            continue
        for outdated in set(place.glob(f"{stem}.*{target.suffix}")) - {place / name}:
            outdated.unlink(missing_ok=True)
        return place / name
    raise EnvironmentLacksError(
        f"{target.what} cannot be compiled: neither {' nor '.join(map(str, places))} can be written; "
        "run setup.sh, or `python -m emulator.dataplane.ebpf.build`, as the user who installed Muslin"
    )


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muslin"


def _compile(target: _Target, file: Path) -> None:
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise EnvironmentLacksError(
            f"clang is not installed, which compiles {target.what}; "
            f"run setup.sh, or: apt install clang {target.packages}"
        )
    command: Sequence[str] = [compiler, *_WARNINGS, *target.options, str(HERE / target.source), "-o", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise EnvironmentLacksError(
            f"clang could not compile {target.what}: {lines[0] if lines else 'no message'}; "
            f"are these installed: {target.packages}?"
        )


if __name__ == "__main__":
    programs()
    assembler()
