"""Mininet's node, switch, link and interface, made quick and quiet.

Mininet configures each interface with commands of its own, waits for each, and raises limits of the whole machine.
These classes leave configuration to the fabric, which does it in one batch per machine, and ask for nothing but `ip`.
Import this only inside a sandbox.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from reference.errors import EnvironmentLacksError

if sys.version_info < (3, 12):  # Mininet imports distutils, whose replacement in setuptools takes 0.2 s to import
    with contextlib.suppress(ImportError, AttributeError):
        import _distutils_hack  # type: ignore[import-untyped]

        _distutils_hack.remove_shim()

from mininet.link import Intf, Link
from mininet.log import lg
from mininet.moduledeps import pathCheck
from mininet.net import Mininet
from mininet.node import Node
from mininet.nodelib import LinuxBridge


class Log(logging.Handler):
    """Keeps what Mininet says, for the error message if something goes wrong; nothing reaches the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage().strip())


def silence() -> Log:
    """Take Mininet's log off the terminal, and keep Mininet from raising limits that hold for the whole machine."""
    log = Log()
    lg.handlers[:] = [log]
    lg.setLevel(logging.ERROR)
    Mininet.inited = True  # its initialization does nothing but raise those limits
    return log


class Machine(Node):  # type: ignore[misc]
    """A node, host or router: a shell in a network namespace of its own."""

    @classmethod
    def setup(cls) -> None:
        """Ask for what this class needs."""
        _require("mnexec", "ip")

    def config(self, **_parameters: object) -> dict[str, object]:
        """Nothing: the fabric configures machines, all at once."""
        return {}

    def terminate(self) -> None:
        """End the shell at once."""
        if self.shell is not None:
            if self.shell.poll() is None:
                os.killpg(self.shell.pid, signal.SIGKILL)
            self.cleanup()


class Bridge(LinuxBridge):  # type: ignore[misc]
    """A switch: a Linux bridge in the sandbox's first network namespace. The fabric makes the bridge itself."""

    @classmethod
    def setup(cls) -> None:
        """Ask for what this class needs."""
        _require("ip")

    def start(self, _controllers: Sequence[object]) -> None:
        """Nothing is left to do."""

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803 - Mininet's name
        """Nothing: the fabric deletes bridges, all at once."""

    def terminate(self) -> None:
        """End the shell at once."""
        Machine.terminate(self)


class Port(Intf):  # type: ignore[misc]
    """An interface that is configured by the fabric."""

    def config(self, **_parameters: object) -> dict[str, object]:
        """Nothing."""
        return {}


class Cable(Link):  # type: ignore[misc]
    """A veth pair between a switch and a machine. It is only noted down; the fabric makes all pairs at once."""

    commands: list[str] = []

    @classmethod
    def makeIntfPair(  # noqa: N802 - Mininet's name
        cls,
        intfname1: str,
        intfname2: str,
        addr1: str | None = None,
        addr2: str | None = None,
        node1: Node | None = None,
        node2: Node | None = None,
        deleteIntfs: bool = True,  # noqa: N803 - Mininet's signature
    ) -> None:
        """Note the pair down. `node1` is a switch."""
        assert node2 is not None
        cls.commands.append(
            f"link add {intfname1} address {addr1} mtu 1500 type veth "
            f"peer name {intfname2} address {addr2} mtu 1500 netns {node2.pid}"
        )

    def stop(self) -> None:
        """Nothing: a pair goes with the namespaces of its ends."""


class Network(Mininet):  # type: ignore[misc]
    """Mininet with our classes and no controller."""

    def __init__(self) -> None:
        super().__init__(controller=None, switch=Bridge, host=Machine, link=Cable, intf=Port, build=False)


def _require(*programs: str) -> None:
    """Refuse with our own error what Mininet would end the process for."""
    try:
        pathCheck(*programs, moduleName="Mininet")
    except SystemExit:
        missing = [program for program in programs if not _on_path(program)]
        raise EnvironmentLacksError(
            f"the program {' and '.join(missing)} is missing; on Debian and Ubuntu: apt install mininet iproute2"
        ) from None


def _on_path(program: str) -> bool:
    return any(os.access(Path(folder, program), os.X_OK) for folder in os.environ.get("PATH", "").split(os.pathsep))
