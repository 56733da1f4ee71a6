"""The supervisor's end of the door: a thread per connection, a method per request."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import traceback

import msgspec

from emulator.api.address import peer_of
from emulator.api.messages import Channel, Failure, Message, Progress, Request, Result
from emulator.api.methods import METHODS, Call
from emulator.cluster import RunningCluster
from reference.errors import InvalidInputError, MuslinError


class Server:
    """Answers requests until one of them asks for the end."""

    def __init__(self, listener: socket.socket, cluster: RunningCluster) -> None:
        self._listener = listener
        self._cluster = cluster
        self._ended = threading.Event()

    def serve_forever(self) -> None:
        """Accept connections in the background; return when the cluster is to end."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        self._ended.wait()

    def end(self) -> None:
        """Have `serve_forever` return."""
        self._ended.set()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            _pid, user = peer_of(connection)
            if user != os.geteuid():  # inside a user namespace the owner is user 0, as we are
                connection.close()
                continue
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        channel = Channel(connection)
        with contextlib.suppress(OSError, msgspec.DecodeError), contextlib.closing(channel):
            for message in channel.receive():
                if isinstance(message, Request):
                    self._answer(channel, message)

    def _answer(self, channel: Channel, request: Request) -> None:
        descriptors, channel.descriptors = tuple(channel.descriptors), []

        def progress(text: str) -> None:
            channel.send(Progress(text))

        try:
            channel.send(self._call(request, Call(self._cluster, descriptors, channel.connection, progress)))
        finally:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        if request.method == "shutdown":
            self.end()

    def _call(self, request: Request, call: Call) -> Message:
        try:
            if request.method not in METHODS:
                raise InvalidInputError(f"the API has no method {request.method!r}; it has {', '.join(METHODS)}")
            params, method = METHODS[request.method]
            arguments = msgspec.convert(request.params, params)
            return Result(method(call, arguments))
        except msgspec.ValidationError as error:
            return Failure("InvalidInputError", f"{request.method}: {error}")
        except MuslinError as error:
            return Failure(type(error).__name__, str(error))
        except Exception as error:  # noqa: BLE001 - a broken method must not take the cluster down
            where = traceback.extract_tb(error.__traceback__)[-1]
            return Failure("MuslinError", f"{request.method} failed at {where.name}:{where.lineno}: {error!r}")
