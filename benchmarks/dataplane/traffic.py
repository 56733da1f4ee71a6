"""The traffic generator, compiled when it is needed, and one run of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import msgspec

from emulator.namespaces import NetworkNamespace
from reference.errors import EnvironmentLacksError, MuslinError

SOURCE = Path(__file__).with_name("traffic.c")
MODES = ("stream", "rr", "crr", "first", "udp")
PORTS_A_RUN = 1600  # of mode `first`, as in the source
_COMPILERS = ("clang", "gcc", "cc")
_SECONDS = 20  # after which a run has hung


class Run(msgspec.Struct, frozen=True):
    """What one run did. Of `stream` operations are bytes, of `udp` datagrams that arrived."""

    operations: float
    seconds: float
    sent: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds


@lru_cache(maxsize=1)
def generator() -> Path:
    """The compiled generator, in this process's temporary folder.

    Raises:
        EnvironmentLacksError: there is no compiler.
    """
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise EnvironmentLacksError("the traffic generator needs a C compiler: apt install clang")
    target = Path(tempfile.mkdtemp(prefix="traffic-")) / "traffic"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(target), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentLacksError(f"the traffic generator could not be compiled: {done.stderr.strip()}")
    return target


def run(
    mode: str, client: NetworkNamespace, server: NetworkNamespace, address: str, port: int, milliseconds: int
) -> Run:
    """Traffic from one namespace to another.

    Raises:
        MuslinError: a packet got lost, or nothing passes at all.
    """
    first, second = 0, (os.cpu_count() or 1) - 1
    servers = second if mode in ("stream", "udp") else first
    command = [
        str(generator()), mode, f"/proc/self/fd/{client.fd}", f"/proc/self/fd/{server.fd}", address, str(port),
        str(milliseconds), str(first), str(servers),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_SECONDS, pass_fds=(client.fd, server.fd)
    )
    if done.returncode:
        raise MuslinError(f"traffic {mode} to {address}: {done.stderr.strip()}")
    return Run(*map(float, done.stdout.split()))
