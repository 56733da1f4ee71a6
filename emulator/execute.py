"""Run a command of the user's in a pod: the pod's network, the caller's terminal and files."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

from emulator.cluster import RunningCluster
from emulator.namespaces import entered
from reference.errors import InvalidInputError

GRACE = 2.0  # seconds between asking a command to end and ending it


def execute(
    cluster: RunningCluster,
    endpoint: str,
    argv: list[str],
    folder: str,
    descriptors: tuple[int, ...],
    caller: socket.socket,
) -> int:
    """Run `argv` in the network of a pod, node or host; its exit code (128 + signal when a signal ended it).

    The caller's descriptors are stdin, stdout and stderr. The command starts in the caller's folder if it exists here.
    When `caller` hangs up (Ctrl-C at the other end), the command is ended.

    Raises:
        InvalidInputError: no such pod, or no such program.
    """
    if len(descriptors) != 3:
        raise InvalidInputError("execute needs three file descriptors: stdin, stdout and stderr")
    if not argv:
        raise InvalidInputError("no command was given; write it after --")
    namespace = cluster.namespace_of(endpoint)
    stdin, stdout, stderr = descriptors
    with entered(namespace):
        try:
            process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=folder if Path(folder).is_dir() else "/",
                env={**os.environ, "MUSLIN_POD": endpoint},
                start_new_session=True,
            )
        except FileNotFoundError:
            raise InvalidInputError(f"{argv[0]}: there is no such program on this machine") from None
        except PermissionError:
            raise InvalidInputError(f"{argv[0]}: this file may not be run") from None
    _await_end(process, caller)
    code = process.wait()
    return 128 + abs(code) if code < 0 else code


def _await_end(process: subprocess.Popen[bytes], caller: socket.socket) -> None:
    """Wait for the command; end it, and all it started, when the caller goes away first."""
    watch = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([watch, caller.fileno()], [], [])
        if watch not in ready:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            if not select.select([watch], [], [], GRACE)[0]:
                os.killpg(process.pid, signal.SIGKILL)
    finally:
        os.close(watch)
