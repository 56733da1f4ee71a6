"""The supervisor: the one process a cluster is. Run as `python -m emulator.supervisor SPEC READY LEASE`.

SPEC is a ClusterSpec in JSON; READY the descriptor to say progress and readiness on; LEASE the descriptor to live by,
or -1. It binds its socket where the caller can reach it, enters the sandbox, becomes its first process, builds the
cluster, and serves until told to end. When it ends, by whatever cause, the kernel removes all it made.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from emulator import sandbox
from emulator.api.address import address_of
from emulator.api.messages import Failure, Message, Progress, Result
from emulator.spec import ClusterSpec
from reference.errors import MuslinError, RefusedError

CRASH_LOG = Path("/run/muslin/crash.log")  # inside the sandbox's own tmpfs


class Herald:
    """Says progress and readiness to whoever launched us, and then falls silent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def say(self, message: Message) -> None:
        """One message; nobody listening any more is fine."""
        if self._descriptor >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._descriptor, msgspec.json.encode(message) + b"\n")

    def fall_silent(self) -> None:
        """Close the pipe: the launcher goes its way."""
        os.close(self._descriptor)
        self._descriptor = -1


def main() -> None:
    """Bind, enter the sandbox, build, serve."""
    spec = msgspec.json.decode(sys.argv[1], type=ClusterSpec)
    herald = Herald(int(sys.argv[2]))
    try:
        listener = _bind(spec.name)
        sandbox.enter(f"muslin {spec.name}")
        _live_by(int(sys.argv[3]))  # here: a process that enters a sandbox may have no thread yet
        listener.listen(64)  # here, so that the kernel names this process as the one that listens
        _serve(spec, listener, herald)
    except MuslinError as error:
        herald.say(Failure(type(error).__name__, str(error)))
        os._exit(1)
    except Exception as error:  # noqa: BLE001 - the launcher must hear of it, whatever it is
        with contextlib.suppress(OSError):
            CRASH_LOG.write_text(traceback.format_exc())
        where = traceback.extract_tb(error.__traceback__)[-1]
        herald.say(
            Failure("MuslinError", f"the supervisor failed at {Path(where.filename).name}:{where.lineno}: {error!r}")
        )
        os._exit(1)


def _bind(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address_of(name))
    except OSError as error:
        raise RefusedError(f"a cluster named {name!r} is starting or running already ({error.strerror})") from None
    return listener


def _live_by(lease: int) -> None:
    """End when the lease closes: a thread of its own, so that nothing else this process does can delay it."""

    def end_at_close() -> None:
        while os.read(lease, 1):
            pass
        os._exit(0)

    if lease >= 0:
        threading.Thread(target=end_at_close, name="lease", daemon=True).start()


def _serve(spec: ClusterSpec, listener: socket.socket, herald: Herald) -> None:
    """Build the cluster and answer requests until asked to end. Runs as the sandbox's first process."""
    from emulator.api.server import Server
    from emulator.build import build

    cluster = build(spec, lambda text: herald.say(Progress(text)))
    server = Server(listener, cluster)
    signal.signal(signal.SIGTERM, lambda *_: server.end())
    herald.say(Result(sandbox.outer_pid()))
    herald.fall_silent()
    server.serve_forever()
    cluster.close()
    os._exit(0)


if __name__ == "__main__":
    main()
