"""libbpf by ctypes: load an object, reach its maps and programs, run a program on a crafted packet, read ring buffers.

Only what this dataplane needs. Sizes are checked here, for the kernel trusts a caller's buffers.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

from reference.errors import EnvironmentLacksError

_LIBRARY = "libbpf.so.1"
_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_SAMPLE = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
_MMAPABLE = 1 << 10
_NEW = 1  # BPF_NOEXIST
_LONGEST_FRAME = 4096
_AT_ONCE = 4096  # entries that are read in one call


class BpfError(EnvironmentLacksError):
    """The kernel or libbpf refused; `code` is the error number."""

    def __init__(self, code: int, what: str, log: str = "") -> None:
        super().__init__(f"{what}: {os.strerror(code)}" + (f"\n{log}" if log else ""))
        self.code = code


class _BatchOptions(ctypes.Structure):
    _fields_ = (("size", c_size_t), ("element_flags", c_ulonglong), ("flags", c_ulonglong))


class _ProgramInfo(ctypes.Structure):
    """As far as we read it."""

    _fields_ = (
        ("type", c_uint), ("id", c_uint), ("tag", c_ulonglong), ("lengths", c_uint * 2), ("times", c_ulonglong * 3),
        ("user", c_uint), ("map_count", c_uint), ("map_ids", c_void_p),
    )  # fmt: skip


class _MapInfo(ctypes.Structure):
    _fields_ = (
        ("type", c_uint), ("id", c_uint), ("key_size", c_uint), ("value_size", c_uint), ("entries", c_uint),
        ("flags", c_uint), ("name", ctypes.c_char * 16),
    )  # fmt: skip


class _TestOptions(ctypes.Structure):
    _fields_ = (
        ("size", c_size_t), ("data_in", c_void_p), ("data_out", c_void_p), ("data_size_in", c_uint),
        ("data_size_out", c_uint), ("context_in", c_void_p), ("context_out", c_void_p), ("context_size_in", c_uint),
        ("context_size_out", c_uint), ("result", c_uint), ("repeat", c_int), ("duration", c_uint), ("flags", c_uint),
        ("cpu", c_uint), ("batch_size", c_uint),
    )  # fmt: skip


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
    "ring_buffer__new": (c_void_p, (c_int, _SAMPLE, c_void_p, c_void_p)),
    "ring_buffer__free": (None, (c_void_p,)),
    "ring_buffer__consume": (c_int, (c_void_p,)),
    "ring_buffer__epoll_fd": (c_int, (c_void_p,)),
}


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise EnvironmentLacksError(f"{_LIBRARY} is not installed; install the package libbpf1") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(arguments)
    library.libbpf_set_print(_print)
    return library


_words: list[str] = []
_vsnprintf = ctypes.CDLL(None).vsnprintf
_vsnprintf.argtypes = (c_void_p, c_size_t, c_char_p, c_void_p)


def _keep_words(level: int, form: bytes, arguments: int) -> int:
    """Keep the warnings of libbpf, among them the verifier's log, for the error that follows."""
    if level == 0:
        text = ctypes.create_string_buffer(1 << 16)
        _vsnprintf(text, len(text), form, arguments)
        _words.append(text.value.decode(errors="replace"))
        del _words[:-50]
    return 0


_print = _PRINT(_keep_words)  # kept: the library calls it as long as it is loaded


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise BpfError(-result, what)
    return result


class Table:
    """A map of a loaded object."""

    def __init__(self, handle: int) -> None:
        library = _library()
        self.fd: int = library.bpf_map__fd(handle)
        self.name: str = library.bpf_map__name(handle).decode()
        self.key_size: int = library.bpf_map__key_size(handle)
        self.value_size: int = library.bpf_map__value_size(handle)
        self.entries: int = library.bpf_map__max_entries(handle)
        self.mappable = bool(library.bpf_map__map_flags(handle) & _MMAPABLE)

    def put(self, key: bytes, value: bytes) -> None:
        """Write one entry; readers see the old value or the new one."""
        assert (len(key), len(value)) == (self.key_size, self.value_size), self.name
        _checked(_library().bpf_map_update_elem(self.fd, key, value, 0), f"writing to map {self.name}")

    def put_new(self, key: bytes, value: bytes) -> None:
        """Write an entry unless it is there."""
        assert (len(key), len(value)) == (self.key_size, self.value_size), self.name
        result = _library().bpf_map_update_elem(self.fd, key, value, _NEW)
        if result != -errno.EEXIST:
            _checked(result, f"writing to map {self.name}")

    def get(self, key: bytes) -> bytes | None:
        """One entry's value."""
        assert len(key) == self.key_size, self.name
        value = ctypes.create_string_buffer(self.value_size)
        result = _library().bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        _checked(result, f"reading map {self.name}")
        return value.raw

    def put_all(self, entries: Mapping[bytes, bytes]) -> None:
        """Write many entries; each by itself is atomic."""
        count = c_uint(len(entries))
        if entries:
            keys, values = b"".join(entries), b"".join(entries.values())
            wanted = len(entries) * self.key_size, len(entries) * self.value_size
            assert (len(keys), len(values)) == wanted, self.name
            options = _BatchOptions(ctypes.sizeof(_BatchOptions), 0, 0)
            arguments = self.fd, keys, values, ctypes.byref(count), ctypes.byref(options)
            result = _library().bpf_map_update_batch(*arguments)
            _checked(result, f"writing {len(entries)} entries to map {self.name}")

    def remove_all(self, keys: Sequence[bytes]) -> None:
        """Delete entries; those that are not there are passed over."""
        for key in keys:
            assert len(key) == self.key_size, self.name
            result = _library().bpf_map_delete_elem(self.fd, key)
            if result != -errno.ENOENT:
                _checked(result, f"deleting from map {self.name}")

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every entry, in no order."""
        place: bytes | None = None
        while True:
            keys, values, place = self.part(place, _AT_ONCE)
            for at in range(len(keys) // self.key_size):
                key, value = at * self.key_size, at * self.value_size
                yield keys[key : key + self.key_size], values[value : value + self.value_size]
            if place is None:
                return

    def part(self, place: bytes | None, most: int) -> tuple[bytes, bytes, bytes | None]:
        """(keys, values, where the next part is) of entries from a place on; None: the first, and after the last."""
        keys, values = (
            ctypes.create_string_buffer(most * self.key_size),
            ctypes.create_string_buffer(most * self.value_size),
        )
        following = ctypes.create_string_buffer(max(self.key_size, 4))
        count, options = c_uint(most), _BatchOptions(ctypes.sizeof(_BatchOptions), 0, 0)
        arguments = self.fd, place, following, keys, values, ctypes.byref(count), ctypes.byref(options)
        result = _library().bpf_map_lookup_batch(*arguments)
        if result != -errno.ENOENT:
            _checked(result, f"reading map {self.name}")
        size = count.value
        rest = None if result == -errno.ENOENT else following.raw
        return ctypes.string_at(keys, size * self.key_size), ctypes.string_at(values, size * self.value_size), rest

    def memory(self) -> mmap.mmap:
        """The values of an array made for it, as memory shared with the kernel."""
        assert self.mappable, self.name
        size = self.entries * self.value_size
        return mmap.mmap(self.fd, size + -size % mmap.PAGESIZE)


class Object:
    """A loaded object: its maps and the descriptors of its programs, by name. Closing it leaves what is attached."""

    def __init__(
        self, path: Path, sizes: Mapping[str, int], shared: Mapping[str, int] | None = None,
        programs: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """Load it, with maps of these sizes; maps in `shared` are those behind the descriptors instead.

        `programs`: only these; to verify one takes the kernel ten milliseconds.

        Raises:
            BpfError: the kernel refused; EPERM means that the caller may not load eBPF.
        """
        library = _library()
        _words.clear()
        self._handle: int | None = library.bpf_object__open_file(str(path).encode(), None)
        if not self._handle:
            raise BpfError(ctypes.get_errno(), f"{path} cannot be opened", "".join(_words))
        try:
            for handle in self._each(library.bpf_object__next_map):
                name = library.bpf_map__name(handle).decode()
                if name in sizes:
                    _checked(library.bpf_map__set_max_entries(handle, sizes[name]), f"sizing map {name}")
                if shared and name in shared and _is_like(handle, shared[name]):
                    _checked(library.bpf_map__reuse_fd(handle, shared[name]), f"sharing map {name}")
            for handle in self._each(library.bpf_object__next_program):
                is_wanted = programs is None or library.bpf_program__name(handle).decode() in programs
                _checked(library.bpf_program__set_autoload(handle, is_wanted), "choosing programs")
            loaded = library.bpf_object__load(self._handle)
            if loaded < 0:
                raise BpfError(-loaded, "the kernel refused the eBPF programs", "".join(_words)[-4000:])
        except BpfError:
            self.close()
            raise
        self.maps = {table.name: table for table in map(Table, self._each(library.bpf_object__next_map))}
        self.programs: dict[str, int] = {
            library.bpf_program__name(handle).decode(): library.bpf_program__fd(handle)
            for handle in self._each(library.bpf_object__next_program)
            if library.bpf_program__autoload(handle)
        }

    def _each(self, following: Callable[[int | None, int | None], int | None]) -> Iterator[int]:
        handle = following(self._handle, None)
        while handle:
            yield handle
            handle = following(self._handle, handle)

    def close(self) -> None:
        """Let go of maps and programs; the kernel keeps those that are in use."""
        if self._handle:
            _library().bpf_object__close(self._handle)
            self._handle = None


def _info(fd: int, info: ctypes.Structure, what: str) -> None:
    size = c_uint(ctypes.sizeof(info))
    _checked(_library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), f"asking what {what} is")


def _is_like(handle: int, fd: int) -> bool:
    """Report whether a map that is to be loaded could as well be that one: the same kind, and sizes."""
    library, info = _library(), _MapInfo()
    _info(fd, info, "a map")
    mine = library.bpf_map__type(handle), library.bpf_map__key_size(handle), library.bpf_map__value_size(handle)
    return bool(mine == (info.type, info.key_size, info.value_size))


def program_id(fd: int) -> int:
    """The number by which the kernel tells a loaded program from all others.

    Raises:
        BpfError: it is no program.
    """
    about = _ProgramInfo()
    _info(fd, about, "a program")
    return int(about.id)


def maps_of(program: int) -> dict[str, int]:
    """Descriptors of the maps that a program in the kernel uses, by name; `program` is its id. Close them.

    Raises:
        BpfError: there is no such program, or this user may not have its maps.
    """
    library, most = _library(), 64
    fd = _checked(library.bpf_prog_get_fd_by_id(program), f"reaching program {program}")
    found: dict[str, int] = {}
    try:
        ids = (c_uint * most)()
        about = _ProgramInfo(map_count=most, map_ids=ctypes.addressof(ids))
        _info(fd, about, f"program {program}")
        for id_ in ids[: min(about.map_count, most)]:
            handle = _checked(library.bpf_map_get_fd_by_id(id_), f"reaching map {id_}")
            info = _MapInfo()
            _info(handle, info, f"map {id_}")
            found[info.name.decode()] = handle
    except BpfError:
        for handle in found.values():
            os.close(handle)
        raise
    finally:
        os.close(fd)
    return found


def read(fd: int, key: bytes, size: int) -> bytes:
    """One entry of a map that is not of a loaded object, `size` bytes of it.

    Raises:
        BpfError: there is none.
    """
    value = ctypes.create_string_buffer(max(size, 4096))  # the kernel writes as much as the map's values have
    _checked(_library().bpf_map_lookup_elem(fd, key, value), "reading a map")
    return value.raw[:size]


class Ring:
    """A ring buffer's reader."""

    def __init__(self, table: Table) -> None:
        self._got: list[bytes] = []
        self._callback = _SAMPLE(self._take)  # kept: the library calls it as long as the ring is
        self._map = os.dup(table.fd)  # the ring may outlive the object it came with
        self._handle: int | None = _library().ring_buffer__new(self._map, self._callback, None, None)
        if not self._handle:
            os.close(self._map)
            raise BpfError(ctypes.get_errno(), f"ring buffer {table.name} cannot be read")
        self._fd: int = _library().ring_buffer__epoll_fd(self._handle)

    def _take(self, _context: int, data: int, size: int) -> int:
        self._got.append(ctypes.string_at(data, size))
        return 0

    def fileno(self) -> int:
        """Readable when there are samples."""
        return self._fd

    def drain(self) -> list[bytes]:
        """All samples there are, oldest first."""
        if self._handle:
            _library().ring_buffer__consume(self._handle)
        got, self._got = self._got, []
        return got

    def close(self) -> None:
        """Stop reading."""
        if self._handle:
            _library().ring_buffer__free(self._handle)
            self._handle = None
            os.close(self._map)


def _address(buffer: bytearray) -> int:
    """Where a buffer is; it must be kept, and keep its size."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class TestRun:
    """Runs a loaded TC program on crafted frames, without any network (BPF_PROG_TEST_RUN)."""

    __test__ = False  # for pytest, which takes the name for a test

    _CONTEXT = 192  # struct __sk_buff
    _MARK, _INGRESS_INTERFACE, _INTERFACE = 8, 36, 40

    def __init__(self, program: int) -> None:
        self._program = program
        self._context, self._after = bytearray(self._CONTEXT), bytearray(self._CONTEXT)
        self._options = _TestOptions(ctypes.sizeof(_TestOptions))
        self._options.context_in = _address(self._context)
        self._options.context_size_in = self._CONTEXT
        self._options.context_out = _address(self._after)
        self._frame = bytearray(_LONGEST_FRAME)
        self._options.data_out = _address(self._frame)

    def __call__(
        self, frame: bytes, interface: int, *, came_by: int = 0, mark: int = 0, repeat: int = 1
    ) -> tuple[int, int, int]:
        """(what the program returned, the packet's mark afterwards, nanoseconds per run).

        `interface` is a device of the calling thread's network namespace, `came_by` the one a packet was received on.

        Raises:
            BpfError: the kernel refused the frame or the interface.
        """
        for at, value in ((self._MARK, mark), (self._INGRESS_INTERFACE, came_by), (self._INTERFACE, interface)):
            self._context[at : at + 4] = value.to_bytes(4, "little")
        data = ctypes.c_char_p(frame)
        options = self._options
        options.data_in = ctypes.cast(data, c_void_p).value
        options.data_size_in, options.context_size_out = len(frame), self._CONTEXT
        options.data_size_out, options.repeat = _LONGEST_FRAME, repeat
        _checked(_library().bpf_prog_test_run_opts(self._program, ctypes.byref(options)), "running the program")
        result = ctypes.c_int(options.result).value
        return result, int.from_bytes(self._after[self._MARK : self._MARK + 4], "little"), options.duration

    @property
    def frame(self) -> bytes:
        """The frame that ran last, as the program left it."""
        return bytes(self._frame[: self._options.data_size_out])
