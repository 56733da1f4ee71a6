"""The client's end of the door: connect to a cluster by name, call its methods."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from emulator.api.address import address_of, displayed, listening_names, peer_of
from emulator.api.messages import Channel, Failure, Progress, Request, Result
from reference.errors import InvalidInputError, MuslinError


class Client:
    """A connection to one running cluster. One call at a time; open another client for another thread."""

    def __init__(self, name: str) -> None:
        """Connect.

        Raises:
            InvalidInputError: no cluster of this user has that name; the message names those there are.
        """
        self.name = name
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(address_of(name))
        except (ConnectionRefusedError, FileNotFoundError):
            connection.close()
            names = listening_names()
            there_are = f"running: {', '.join(names)}" if names else "none is running; start one with: muslin up"
            raise InvalidInputError(f"no cluster is named {name!r}; {there_are}") from None
        self.pid, user = peer_of(connection)
        if user != os.getuid():
            connection.close()
            raise InvalidInputError(f"{displayed(name)} belongs to user {user}, not to you; nothing was sent")
        self._channel = Channel(connection)

    def call(
        self,
        method: str,
        *,
        progress: Callable[[str], None] | None = None,
        descriptors: tuple[int, ...] = (),
        **params: Any,  # noqa: ANN401 - each method has its own typed parameters on the other side
    ) -> Any:  # noqa: ANN401
        """Call a method and wait for its answer (plain JSON values).

        Raises:
            MuslinError: what the cluster refused, by the same class; or the connection ended.
        """
        params = {key: msgspec.to_builtins(value) for key, value in params.items()}
        try:
            self._channel.send(Request(method, params), descriptors)
            for message in self._channel.receive():
                match message:
                    case Progress(text):
                        if progress:
                            progress(text)
                    case Result(value):
                        return value
                    case Failure():
                        raise message.error()
        except OSError as error:
            raise MuslinError(f"cluster {self.name} is gone: {error}") from None
        raise MuslinError(f"cluster {self.name} ended before it answered {method}")

    def close(self) -> None:
        """Close the connection. A leased cluster ends when its lease is closed."""
        self._channel.close()
