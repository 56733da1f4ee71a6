"""The messages on the socket, and how they cross it: JSON, one per line.

A request is answered by any number of `Progress` and then one `Result` or `Failure`. File descriptors
(for `exec`) travel beside the request.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import msgspec

from reference import errors


class Request(msgspec.Struct, frozen=True, tag="request", tag_field="is"):
    """A call of a method of `emulator.api.methods`."""

    method: str
    params: dict[str, Any] = {}


class Progress(msgspec.Struct, frozen=True, tag="progress", tag_field="is"):
    """A line of progress on the way to the answer."""

    text: str


class Result(msgspec.Struct, frozen=True, tag="result", tag_field="is"):
    """The answer."""

    value: Any = None


class Failure(msgspec.Struct, frozen=True, tag="failure", tag_field="is"):
    """The call was refused or failed; `type` is a class of `reference.errors`."""

    type: str
    message: str

    def error(self) -> errors.MuslinError:
        """The error to raise on the caller's side."""
        kind = getattr(errors, self.type, errors.MuslinError)
        error: errors.MuslinError = kind(self.message)
        return error


Message = Request | Progress | Result | Failure
_MOST_DESCRIPTORS = 3
_decoder = msgspec.json.Decoder(Message)


class Channel:
    """One end of a connection: messages out, messages in."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._pending = bytearray()
        self.descriptors: list[int] = []  # received with the last request; the receiver closes them

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send one message, with file descriptors beside it."""
        line = msgspec.json.encode(message) + b"\n"
        if descriptors:
            socket.send_fds(self.connection, [line[:1]], list(descriptors))
            line = line[1:]
        self.connection.sendall(line)

    def receive(self) -> Iterator[Message]:
        """Messages until the other end closes."""
        while True:
            end = self._pending.find(b"\n")
            if end >= 0:
                line = bytes(self._pending[:end])
                del self._pending[: end + 1]
                yield _decoder.decode(line)
                continue
            try:
                data, descriptors, _flags, _address = socket.recv_fds(self.connection, 1 << 20, _MOST_DESCRIPTORS)
            except ConnectionResetError:
                return
            self.descriptors.extend(descriptors)
            if not data:
                return
            self._pending += data

    def close(self) -> None:
        """Close the connection and any descriptors nobody took."""
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.connection.close()
