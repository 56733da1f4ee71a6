"""What libbpf does here: load objects, reach their maps and programs, run these on crafted packets, read ring buffers.

Sizes are checked here, for the kernel trusts a caller's buffers.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from ctypes import c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from functools import cached_property, partial
from pathlib import Path
from threading import Thread

from emulator.dataplane.ebpf.library import SAMPLE, BpfError, checked, library, listening

_MMAPABLE = 1 << 10
_NEW = 1  # BPF_NOEXIST
_LONGEST_FRAME = 4096
_AT_ONCE = 4096  # entries that are read in one call


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


class Table:
    """A map of a loaded object."""

    def __init__(self, handle: int, descriptor: Callable[[int], int]) -> None:
        self._handle, self._descriptor = handle, descriptor
        self.name: str = library().bpf_map__name(handle).decode()
        self.key_size: int = library().bpf_map__key_size(handle)
        self.value_size: int = library().bpf_map__value_size(handle)
        self.entries: int = library().bpf_map__max_entries(handle)
        self.mappable = bool(library().bpf_map__map_flags(handle) & _MMAPABLE)

    @cached_property
    def fd(self) -> int:
        """Its descriptor; waits until the object is loaded."""
        return self._descriptor(self._handle)

    def put(self, key: bytes, value: bytes) -> None:
        """Write one entry; readers see the old value or the new one."""
        assert (len(key), len(value)) == (self.key_size, self.value_size), self.name
        checked(library().bpf_map_update_elem(self.fd, key, value, 0), f"writing to map {self.name}")

    def put_new(self, key: bytes, value: bytes) -> None:
        """Write an entry unless it is there."""
        assert (len(key), len(value)) == (self.key_size, self.value_size), self.name
        result = library().bpf_map_update_elem(self.fd, key, value, _NEW)
        if result != -errno.EEXIST:
            checked(result, f"writing to map {self.name}")

    def get(self, key: bytes) -> bytes | None:
        """One entry's value."""
        assert len(key) == self.key_size, self.name
        value = ctypes.create_string_buffer(self.value_size)
        result = library().bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        checked(result, f"reading map {self.name}")
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
            result = library().bpf_map_update_batch(*arguments)
            checked(result, f"writing {len(entries)} entries to map {self.name}")

    def remove_all(self, keys: Sequence[bytes]) -> None:
        """Delete entries; those that are not there are passed over."""
        for key in keys:
            assert len(key) == self.key_size, self.name
            result = library().bpf_map_delete_elem(self.fd, key)
            if result != -errno.ENOENT:
                checked(result, f"deleting from map {self.name}")

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
        result = library().bpf_map_lookup_batch(*arguments)
        if result != -errno.ENOENT:
            checked(result, f"reading map {self.name}")
        size = count.value
        rest = None if result == -errno.ENOENT else following.raw
        return ctypes.string_at(keys, size * self.key_size), ctypes.string_at(values, size * self.value_size), rest

    @cached_property
    def memory(self) -> mmap.mmap:
        """The values of an array made for it, as memory shared with the kernel."""
        assert self.mappable, self.name
        size = self.entries * self.value_size
        return mmap.mmap(self.fd, size + -size % mmap.PAGESIZE)


class Object:
    """An object: its maps, and the descriptors of its programs, by name. Closing it leaves what is attached."""

    def __init__(
        self, path: Path, sizes: Mapping[str, int], shared: Mapping[str, int] | None = None,
        programs: Collection[str] | None = None, later: bool = False,
    ) -> None:  # fmt: skip
        """Load it, with maps of these sizes; maps in `shared` are those behind the descriptors instead.

        `programs`: only these; to verify one takes the kernel ten milliseconds. `later`: it is loaded meanwhile, in a
        thread of its own, and who asks for a descriptor waits, and meets the error.

        Raises:
            BpfError: the kernel refused; EPERM means that the caller may not load eBPF.
        """
        self._open = partial(_opened, path, sizes, shared or {}, programs)
        self._handle: int | None = self._open()
        self._result = -errno.EBADF  # of loading
        self.maps = {
            table.name: table
            for table in (Table(each, self._map_fd) for each in _each(library().bpf_object__next_map, self._handle))
        }
        self._loading = Thread(target=self._load, name="load eBPF programs")
        if later:
            self._loading.start()
            return
        self._load()
        try:
            self._wait()
        except BpfError:
            self.close()
            raise

    def _load(self) -> None:
        """A single call: a thread that asks for the interpreter again and again would be made to wait each time."""
        self._result = library().bpf_object__load(self._handle)

    def _wait(self) -> None:
        if self._loading.ident is not None:
            self._loading.join()
        if self._result < 0:
            raise BpfError(-self._result, "the kernel refused the eBPF programs", self._why())

    def _why(self) -> str:
        """What libbpf and the verifier say when it is loaded once more."""
        with listening() as words, suppress(BpfError):
            handle = self._open()
            library().bpf_object__load(handle)
            library().bpf_object__close(handle)
        return "".join(words)[-4000:]

    def _map_fd(self, handle: int) -> int:
        self._wait()
        return int(library().bpf_map__fd(handle))

    @cached_property
    def programs(self) -> dict[str, int]:
        """Descriptors by name."""
        self._wait()
        return {
            library().bpf_program__name(each).decode(): library().bpf_program__fd(each)
            for each in _each(library().bpf_object__next_program, self._handle)
            if library().bpf_program__autoload(each)
        }

    def close(self) -> None:
        """Let go of maps and programs; the kernel keeps those that are in use."""
        if self._loading.ident is not None:
            self._loading.join()
        if self._handle:
            library().bpf_object__close(self._handle)
            self._handle, self._result = None, -errno.EBADF


def _opened(path: Path, sizes: Mapping[str, int], shared: Mapping[str, int], programs: Collection[str] | None) -> int:
    """An object that is to be loaded."""
    handle: int | None = library().bpf_object__open_file(str(path).encode(), None)
    if not handle:
        raise BpfError(ctypes.get_errno(), f"{path} cannot be opened")
    try:
        for each in _each(library().bpf_object__next_map, handle):
            name = library().bpf_map__name(each).decode()
            if name in sizes:
                checked(library().bpf_map__set_max_entries(each, sizes[name]), f"sizing map {name}")
            if name in shared and _is_like(each, shared[name]):
                checked(library().bpf_map__reuse_fd(each, shared[name]), f"sharing map {name}")
        for each in _each(library().bpf_object__next_program, handle):
            is_wanted = programs is None or library().bpf_program__name(each).decode() in programs
            checked(library().bpf_program__set_autoload(each, is_wanted), "choosing programs")
    except BpfError:
        library().bpf_object__close(handle)
        raise
    return handle


def _each(following: Callable[[int | None, int | None], int | None], owner: int | None) -> Iterator[int]:
    """Maps, or programs, of an object."""
    handle = following(owner, None)
    while handle:
        yield handle
        handle = following(owner, handle)


def _info(fd: int, info: ctypes.Structure, what: str) -> None:
    size = c_uint(ctypes.sizeof(info))
    checked(library().bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size)), f"asking what {what} is")


def _is_like(handle: int, fd: int) -> bool:
    """Report whether a map that is to be loaded could as well be that one: the same kind, and sizes."""
    info = _MapInfo()
    _info(fd, info, "a map")
    mine = library().bpf_map__type(handle), library().bpf_map__key_size(handle), library().bpf_map__value_size(handle)
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
    most = 64
    fd = checked(library().bpf_prog_get_fd_by_id(program), f"reaching program {program}")
    found: dict[str, int] = {}
    try:
        ids = (c_uint * most)()
        about = _ProgramInfo(map_count=most, map_ids=ctypes.addressof(ids))
        _info(fd, about, f"program {program}")
        for id_ in ids[: min(about.map_count, most)]:
            handle = checked(library().bpf_map_get_fd_by_id(id_), f"reaching map {id_}")
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
    checked(library().bpf_map_lookup_elem(fd, key, value), "reading a map")
    return value.raw[:size]


class Ring:
    """A ring buffer's reader."""

    def __init__(self, table: Table) -> None:
        self._got: list[bytes] = []
        self._callback = SAMPLE(self._take)  # kept: the library calls it as long as the ring is
        self._map = os.dup(table.fd)  # the ring may outlive the object it came with
        self._handle: int | None = library().ring_buffer__new(self._map, self._callback, None, None)
        if not self._handle:
            os.close(self._map)
            raise BpfError(ctypes.get_errno(), f"ring buffer {table.name} cannot be read")
        self._fd: int = library().ring_buffer__epoll_fd(self._handle)

    def _take(self, _context: int, data: int, size: int) -> int:
        self._got.append(ctypes.string_at(data, size))
        return 0

    def fileno(self) -> int:
        """Readable when there are samples."""
        return self._fd

    def drain(self) -> list[bytes]:
        """All samples there are, oldest first."""
        if self._handle:
            library().ring_buffer__consume(self._handle)
        got, self._got = self._got, []
        return got

    def close(self) -> None:
        """Stop reading."""
        if self._handle:
            library().ring_buffer__free(self._handle)
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
        checked(library().bpf_prog_test_run_opts(self._program, ctypes.byref(options)), "running the program")
        result = ctypes.c_int(options.result).value
        return result, int.from_bytes(self._after[self._MARK : self._MARK + 4], "little"), options.duration

    @property
    def frame(self) -> bytes:
        """The frame that ran last, as the program left it."""
        return bytes(self._frame[: self._options.data_size_out])
