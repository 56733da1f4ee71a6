"""The traffic generator, compiled when it is needed, and one run of it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from emulator.namespaces import NetworkNamespace
from reference.errors import EnvironmentLacksError, MuslinError

SOURCE = Path(__file__).with_name("traffic.c")
MODES = ("stream", "rr", "crr", "first", "udp", "oneway")
PORTS_A_RUN = 1600  # of mode `first`, as in the source
_COMPILERS = ("clang", "gcc", "cc")
_PROCESSOR = "0"


class Rate(NamedTuple):
    """Operations a second, of the time both ends had a processor, and of the time that passed.

    They are the same on an idle machine. On a shared one the first does not count what others took away.
    """

    busy: float
    passed: float


class Run(msgspec.Struct, frozen=True):
    """What one run did. Of `stream` operations are bytes, of `udp` datagrams that arrived."""

    operations: float
    seconds: float
    busy: float
    sent: float

    @property
    def rate(self) -> Rate:
        """Operations a second."""
        return Rate(round(self.operations / self.busy), round(self.operations / self.seconds))


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
    command = [
        str(generator()), mode, f"/proc/self/fd/{client.fd}", f"/proc/self/fd/{server.fd}", address, str(port),
        str(milliseconds), _PROCESSOR,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=(client.fd, server.fd))
    if done.returncode:
        raise MuslinError(f"traffic {mode} to {address}: {done.stderr.strip()}")
    outcome = Run(*map(float, done.stdout.split()))
    if outcome.operations <= 0:
        raise MuslinError(f"traffic {mode} to {address}: nothing arrived")
    return outcome
