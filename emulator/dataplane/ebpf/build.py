"""The compiled object: next to its source, or in the user's cache where that may not be written."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from reference.errors import EnvironmentLacksError

SOURCE = Path(__file__).with_name("policy.bpf.c")
_COMPILERS = ("clang", *(f"clang-{version}" for version in range(21, 12, -1)))
_OPTIONS = ("-g", "-O2", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3")


@lru_cache(maxsize=1)
def compiled() -> Path:
    """The object for this very source and its headers, compiled now if it is not there yet.

    Raises:
        EnvironmentLacksError: it is not there, and it cannot be compiled.
    """
    parts = sorted(SOURCE.parent.glob("*.h"))
    name = f"policy.{sha256(b''.join(part.read_bytes() for part in (SOURCE, *parts))).hexdigest()[:12]}.bpf.o"
    places = (SOURCE.parent, _cache())
    for place in places:
        if (place / name).is_file():
            return place / name
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place, prefix="policy.", suffix=".tmp") as unfinished:
                _compile(Path(unfinished.name))
                Path(unfinished.name).chmod(0o644)
                os.link(unfinished.name, place / name)
        except FileExistsError:
            pass  # somebody else was faster
        except OSError:
            continue
        for outdated in set(place.glob("policy.*.bpf.o")) - {place / name}:
            outdated.unlink(missing_ok=True)
        return place / name
    raise EnvironmentLacksError(
        f"the eBPF programs are not compiled, and neither {' nor '.join(map(str, places))} can be written; "
        "run setup.sh, or `python -m emulator.dataplane.ebpf.build`, as the user who installed Muslin"
    )


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "muslin"


def _compile(target: Path) -> None:
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise EnvironmentLacksError(
            "the eBPF programs are not compiled and clang is not installed; "
            "run setup.sh, or: apt install clang libbpf-dev"
        )
    headers = f"-I/usr/include/{platform.machine()}-linux-gnu"  # <asm/types.h>, where Debian keeps it
    command = [compiler, *_OPTIONS, headers, "-c", str(SOURCE), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise EnvironmentLacksError(
            f"clang could not compile the eBPF programs: {lines[0] if lines else 'no message'}; "
            "is libbpf-dev installed?"
        )


if __name__ == "__main__":
    compiled()
