"""Network namespaces as values, and threads that live in one.

The kernel gives every *thread* its own network namespace, so a thread can visit one (`entered`) or live in one
(`Worker`) while the rest of the process stays at home. A namespace exists as long as somebody refers to it: here an
open descriptor, and, when it is named, a mount under `/run/netns` so that `ip netns exec` finds it. Both vanish with
the sandbox. Imports nothing but the standard library and our errors.
"""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

from reference.errors import EnvironmentLacksError

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 4096
MNT_DETACH = 2

NAMES = Path("/run/netns")
_HERE = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)
_naming = threading.Lock()  # so that a name is looked at and taken away in one step

P = ParamSpec("P")
T = TypeVar("T")


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces.

    Raises:
        OSError: the kernel refused.
    """
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Move the calling thread into the namespace behind a descriptor.

    Raises:
        OSError: the kernel refused.
    """
    _checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, kind: str = "none", flags: int = 0, options: str = "") -> None:
    """Put a file system, or with MS_BIND another path, onto a path.

    Raises:
        OSError: the kernel refused.
    """
    arguments = source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode() or None
    _checked(_libc.mount(*arguments), f"mount {kind if flags & MS_BIND == 0 else source} on {target}")


def unmount(target: str) -> None:
    """Detach a mount; nothing waits for its users.

    Raises:
        OSError: the kernel refused.
    """
    _checked(_libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH)), f"unmount {target}")


class NetworkNamespace:
    """A network namespace somebody holds open; `close` lets go of it, and of its name."""

    def __init__(self, fd: int, name: str = "", *, bound: bool = False) -> None:
        self.fd = fd
        self.name = name
        self._bound = bound

    @property
    def inode(self) -> int:
        """What the kernel tells namespaces apart by."""
        return os.fstat(self.fd).st_ino

    def bind(self, name: str, *, take_over: bool = False) -> None:
        """Name it under `/run/netns`, so that `ip netns exec NAME` finds it.

        `take_over`: a name that another namespace has becomes this one's; the other goes on without.

        Raises:
            FileExistsError: the name is taken.
            OSError: the kernel refused the mount.
        """
        path = NAMES / name
        with _naming:
            if take_over and path.exists():
                _unname(path)
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
            try:
                mount(f"/proc/self/fd/{self.fd}", str(path), flags=MS_BIND)
            except OSError:
                path.unlink()
                raise
        self.name, self._bound = name, True

    def close(self) -> None:
        """Let go. The kernel removes the namespace once no process, descriptor or mount refers to it."""
        path = NAMES / self.name
        with _naming:
            if self._bound and path.exists() and path.stat().st_ino == self.inode:  # nobody took the name over
                _unname(path)
        self._bound = False
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> NetworkNamespace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<NetworkNamespace {self.name or 'unnamed'} fd {self.fd}>"


def _unname(path: Path) -> None:
    unmount(str(path))
    path.unlink()


def here() -> NetworkNamespace:
    """The namespace the calling thread is in now."""
    return NetworkNamespace(os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC))


def of_pid(pid: int, name: str = "") -> NetworkNamespace:
    """The namespace a process lives in. `name` is only for people.

    Raises:
        EnvironmentLacksError: there is no such process, or it may not be looked at.
    """
    try:
        return NetworkNamespace(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC), name)
    except OSError as error:
        raise EnvironmentLacksError(f"the network namespace of process {pid} cannot be opened: {error}") from error


@contextmanager
def home_afterwards() -> Iterator[None]:
    """Bring the calling thread back to the network namespace it is in now, whatever happens inside."""
    with here() as home:
        try:
            yield
        finally:
            setns(home.fd)


@contextmanager
def entered(namespace: NetworkNamespace) -> Iterator[None]:
    """The calling thread visits a namespace, and is home again afterwards."""
    with home_afterwards():
        setns(namespace.fd)
        yield


def move_into_new() -> NetworkNamespace:
    """Make a namespace and leave the calling thread in it; for use inside `home_afterwards`."""
    unshare(CLONE_NEWNET)
    return here()


def create(name: str = "") -> NetworkNamespace:
    """A new, empty network namespace, bound under `/run/netns` when named.

    Raises:
        EnvironmentLacksError: the kernel refused, or the name is taken.
    """
    try:
        with home_afterwards():
            namespace = move_into_new()
        if name:
            try:
                namespace.bind(name)
            except OSError:
                namespace.close()
                raise
    except OSError as error:
        raise EnvironmentLacksError(
            f"a network namespace{f' named {name}' if name else ''} could not be made: {error}"
        ) from error
    return namespace


class Worker:
    """A thread that lives in a namespace and runs what is submitted to it, one call after another.

    Whatever a call raises comes back through its future.
    """

    def __init__(self, namespace: NetworkNamespace | None = None, name: str = "") -> None:
        """Start the thread; it stays in the caller's namespace when none is given.

        Raises:
            OSError: the thread may not enter the namespace.
        """
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name or "namespace-worker", daemon=True)
        self._closed = False
        self._thread.start()
        if namespace is not None:
            try:
                self.call(setns, namespace.fd)
            except BaseException:
                self.close()
                raise

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in the namespace, soon.

        Raises:
            RuntimeError: the worker is closed.
        """
        if self._closed:
            raise RuntimeError(f"{self._thread.name} is closed")
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - the caller's future carries it
                future.set_exception(error)

        self._calls.put(run)
        return future

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call in the namespace and wait for its result."""
        return self.submit(function, *args, **kwargs).result()

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        if not self._closed:
            self._closed = True
            self._calls.put(None)
        if threading.current_thread() is not self._thread:
            with suppress(RuntimeError):
                self._thread.join()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
