"""WireGuard keys: X25519 pairs whose private half never shows itself (WG-1).

A private key has no text form: not in repr, str, logs, tracebacks or pickles. Only `reveal`, called where a device is
configured, gives the bytes. Public keys are base64 text, as in a Node object. Imports `reference` and `cryptography`.
"""

from __future__ import annotations

import base64
import binascii
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from reference.errors import InvalidInputError

KEY_BYTES = 32
NO_KEY = base64.b64encode(bytes(KEY_BYTES)).decode()  # the zero key, which stands for "none"


class PrivateKey:
    """The secret half of a node's key pair."""

    __slots__ = ("_key", "public")

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self.public = base64.b64encode(key.public_key().public_bytes_raw()).decode()  # safe to show

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, raw: bytes) -> PrivateKey:
        """The key with these 32 bytes.

        Raises:
            InvalidInputError: there are not 32 of them. The message does not show them.
        """
        if len(raw) != KEY_BYTES:
            raise InvalidInputError(f"a WireGuard private key has {KEY_BYTES} bytes; this one has {len(raw)}")
        return cls(X25519PrivateKey.from_private_bytes(raw))

    def reveal(self) -> bytes:
        """The secret itself; only for the device that is to use it."""
        return self._key.private_bytes_raw()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and self.public == other.public

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"<PrivateKey of {self.public}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a WireGuard private key is not written anywhere")


def public_bytes(text: str) -> bytes:
    """The bytes of a public key in base64.

    Raises:
        InvalidInputError: it is not 32 bytes in base64.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise InvalidInputError(f"{text!r} is no WireGuard public key; write {KEY_BYTES} bytes in base64")
    return raw


def is_public_key(text: str) -> bool:
    """Report whether a text is a usable public key: well formed, and not the zero key (WG-2)."""
    try:
        return public_bytes(text) != bytes(KEY_BYTES)
    except InvalidInputError:
        return False
