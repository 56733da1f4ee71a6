"""WireGuard keys keep their secret half to themselves."""

import base64
import logging
import pickle
import traceback

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from encryption.keys import NO_KEY, PrivateKey, is_public_key, public_bytes
from reference.errors import InvalidInputError

SECRET = bytes(range(32))


def shapes(secret: bytes) -> list[str]:
    """The texts a leaked secret could appear as."""
    return [secret.hex(), base64.b64encode(secret).decode(), repr(secret)]


@pytest.mark.parametrize(
    "show", [repr, str, "{}".format, "{!r}".format, lambda k: repr([k]), lambda k: repr(vars(type(k)))]
)
def test_no_text_of_a_private_key_holds_the_secret(show):
    """However a private key is printed, only its public half can be seen."""
    text = show(PrivateKey.from_bytes(SECRET))

    assert not any(shape in text for shape in shapes(SECRET))


def test_no_log_or_traceback_holds_the_secret(caplog):
    """A key that is logged or stands in a traceback's frames shows its public half."""
    key = PrivateKey.from_bytes(SECRET)
    logging.getLogger("t").warning("key %s %r", key, key)
    try:
        raise ValueError(key)
    except ValueError as error:
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())

    assert key.public in caplog.text
    assert not any(shape in caplog.text + told.replace("SECRET", "") for shape in shapes(SECRET))


@pytest.mark.parametrize("write", [pickle.dumps, msgspec.json.encode, msgspec.msgpack.encode])
def test_a_private_key_cannot_be_written(write):
    """Pickling or encoding a private key fails instead of giving bytes that may end in a log or a report."""
    with pytest.raises(TypeError):
        write(PrivateKey.generate())


def test_the_public_half_is_that_of_x25519():
    """The public half is what X25519 says it is, in base64."""
    expected = X25519PrivateKey.from_private_bytes(SECRET).public_key().public_bytes_raw()

    assert expected == public_bytes(PrivateKey.from_bytes(SECRET).public)
    assert PrivateKey.from_bytes(SECRET).reveal() == SECRET


def test_every_generated_key_is_another():
    """Two generated keys differ, and each equals itself."""
    one, two = PrivateKey.generate(), PrivateKey.generate()

    assert one != two
    assert one == PrivateKey.from_bytes(one.reveal())
    assert len({one, two, PrivateKey.from_bytes(one.reveal())}) == 2


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", base64.b64encode(bytes(31)).decode(), "ü" * 44])
def test_malformed_public_keys_are_refused(text):
    """A text that is not 32 bytes in base64 is no public key, and the error shows it."""
    assert not is_public_key(text)
    with pytest.raises(InvalidInputError, match="write 32 bytes in base64"):
        public_bytes(text)


def test_the_zero_key_is_no_key():
    """The zero key is well formed and stands for none (WG-2)."""
    assert public_bytes(NO_KEY) == bytes(32)
    assert not is_public_key(NO_KEY)


def test_a_private_key_of_another_length_is_refused_without_showing_it():
    """The error about a private key's length says the length and nothing of the key."""
    with pytest.raises(InvalidInputError) as caught:
        PrivateKey.from_bytes(b"secret")

    assert "secret" not in str(caught.value)
    assert "6" in str(caught.value)
