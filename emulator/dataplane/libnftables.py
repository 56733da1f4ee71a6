"""libnftables by ctypes: runs the nft program's commands in the calling thread's network namespace.

For listings and other things people read; a command loads the whole ruleset first, so nothing frequent goes here.
"""

from __future__ import annotations

import ctypes
import threading
from functools import lru_cache
from types import TracebackType

from reference.errors import EnvironmentLacksError

_LIBRARY = "libnftables.so.1"
_JSON, _HANDLE, _TERSE = 1 << 4, 1 << 3, 1 << 11
_one_at_a_time = threading.Lock()  # the library keeps global state; a process has an agent's thread for each node


class NftError(EnvironmentLacksError):
    """The nft library refused a command."""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise EnvironmentLacksError(f"{_LIBRARY} is not installed; install the package libnftables1") from error
    context = ctypes.c_void_p
    for name, result, arguments in (
        ("nft_ctx_new", context, [ctypes.c_uint32]),
        ("nft_ctx_free", None, [context]),
        ("nft_ctx_buffer_output", ctypes.c_int, [context]),
        ("nft_ctx_buffer_error", ctypes.c_int, [context]),
        ("nft_ctx_output_set_flags", None, [context, ctypes.c_uint]),
        ("nft_run_cmd_from_buffer", ctypes.c_int, [context, ctypes.c_char_p]),
        ("nft_ctx_get_output_buffer", ctypes.c_char_p, [context]),
        ("nft_ctx_get_error_buffer", ctypes.c_char_p, [context]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Libnftables:
    """A context of the library; it stays in the network namespace it was made in."""

    def __init__(self, *, json: bool = False, handles: bool = False, terse: bool = False) -> None:
        """Make one. `terse` leaves set members out of listings."""
        self._library = _library()
        flags = json * _JSON | handles * _HANDLE | terse * _TERSE
        with _one_at_a_time:
            self._context = self._library.nft_ctx_new(0)
            self._library.nft_ctx_buffer_output(self._context)
            self._library.nft_ctx_buffer_error(self._context)
            self._library.nft_ctx_output_set_flags(self._context, flags)

    def __enter__(self) -> Libnftables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _one_at_a_time:
            self._library.nft_ctx_free(self._context)

    def run(self, commands: str) -> str:
        """Run commands, the nft language; returns what nft would print.

        Raises:
            NftError: the library or the kernel refused; the message is the library's first line.
        """
        with _one_at_a_time:
            failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        if failed:
            complaint: bytes = self._library.nft_ctx_get_error_buffer(self._context)
            first = complaint.decode(errors="replace").strip().partition("\n")[0]
            raise NftError(f"nft refused `{commands.strip()[:80]}`: {first}")
        return output.decode()
