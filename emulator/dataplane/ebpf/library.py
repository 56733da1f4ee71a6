"""The functions of libbpf, by ctypes, and what it says when something is wrong."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from functools import lru_cache
from threading import Lock
from typing import Any

from reference.errors import EnvironmentLacksError

_LIBRARY = "libbpf.so.1"
_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
SAMPLE = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
_WARNING = 0


class BpfError(EnvironmentLacksError):
    """The kernel or libbpf refused; `code` is the error number."""

    def __init__(self, code: int, what: str, log: str = "") -> None:
        super().__init__(f"{what}: {os.strerror(code)}" + (f"\n{log}" if log else ""))
        self.code = code


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_set_print": (c_void_p, (_PRINT,)),
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__key_size": (c_uint, (c_void_p,)),
    "bpf_map__value_size": (c_uint, (c_void_p,)),
    "bpf_map__max_entries": (c_uint, (c_void_p,)),
    "bpf_map__map_flags": (c_uint, (c_void_p,)),
    "bpf_map__type": (c_int, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__autoload": (c_bool, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, c_bool)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_ulonglong)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, POINTER(c_uint), c_void_p)),
    "bpf_map_lookup_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint), c_void_p)),
    "bpf_map_delete_batch": (c_int, (c_int, c_void_p, POINTER(c_uint), c_void_p)),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint,)),
    "bpf_map_get_fd_by_id": (c_int, (c_uint,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint))),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "ring_buffer__new": (c_void_p, (c_int, SAMPLE, c_void_p, c_void_p)),
    "ring_buffer__free": (None, (c_void_p,)),
    "ring_buffer__consume": (c_int, (c_void_p,)),
    "ring_buffer__epoll_fd": (c_int, (c_void_p,)),
}


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The library. It says nothing unless it is listened to: each of its words takes as long as a system call.

    Raises:
        EnvironmentLacksError: it is not installed.
    """
    try:
        found = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise EnvironmentLacksError(f"{_LIBRARY} is not installed; install the package libbpf1") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, list(arguments)
    found.libbpf_set_print(_SILENCE)
    return found


_words: list[str] = []
_listening = Lock()
_vsnprintf = ctypes.CDLL(None).vsnprintf
_vsnprintf.argtypes = (c_void_p, c_size_t, c_char_p, c_void_p)


def _keep_words(level: int, form: bytes, arguments: int) -> int:
    """Keep the warnings of libbpf, among them the verifier's log."""
    if level == _WARNING:
        text = ctypes.create_string_buffer(1 << 16)
        _vsnprintf(text, len(text), form, arguments)
        _words.append(text.value.decode(errors="replace"))
        del _words[:-50]
    return 0


_print, _SILENCE = _PRINT(_keep_words), _PRINT()  # kept: the library calls it as long as it is loaded


@contextmanager
def listening() -> Iterator[list[str]]:
    """The warnings of what is done meanwhile, the last ones."""
    with _listening:
        _words.clear()
        library().libbpf_set_print(_print)
        try:
            yield _words
        finally:
            library().libbpf_set_print(_SILENCE)


def checked(result: int, what: str) -> int:
    """The result of a function, if it is one.

    Raises:
        BpfError: it is an error's number.
    """
    if result < 0:
        raise BpfError(-result, what)
    return result
