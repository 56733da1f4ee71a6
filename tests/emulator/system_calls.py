"""Kill a process between two of its system calls, chosen beforehand: by ptrace, from its parent.

Threads are followed, programs it starts are not.
"""

import collections
import ctypes
import os
import random
import signal
from collections.abc import Callable

_SEIZE, _INTERRUPT, _SYSCALL, _GET_SYSCALL_INFO = 0x4206, 0x4207, 24, 0x420E
_TRACE_SYSTEM_CALLS, _TRACE_THREADS, _KILL_AT_EXIT = 0x1, 0x8, 0x100000
_AT_SYSTEM_CALL = signal.SIGTRAP | 0x80
_ENTRY = 1
_INFO_SIZE = 88
_ALL_CHILDREN_AND_THREADS = 0x40000000  # __WALL

Calls = list[int]  # the numbers of system calls, in order


def run(before: Callable[[], None], during: Callable[[], None], kill_at: tuple[int, int] | None = None) -> Calls | None:
    """Run both in a process of its own; the system calls of the second one, or None if it was killed.

    `kill_at`: (number, n): with SIGKILL just before the n-th system call of that number, counted from 1.
    """
    ready, ready_end = os.pipe()
    go, go_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            before()
            os.write(ready_end, b"!")
            os.read(go, 1)
            during()
            code = 0
        finally:
            os._exit(code)
    try:
        os.close(ready_end)
        assert os.read(ready, 1) == b"!", "it did not come so far"
        _ptrace(_SEIZE, pid, 0, _TRACE_SYSTEM_CALLS | _TRACE_THREADS | _KILL_AT_EXIT)
        _ptrace(_INTERRUPT, pid, 0, 0)
        os.write(go_end, b"!")
        return _follow(pid, kill_at)
    finally:
        for descriptor in (ready, go, go_end):
            os.close(descriptor)


def somewhere(dice: random.Random, calls: Calls) -> tuple[int, int]:
    """A system call to die before: of any kind alike, so that those that change the kernel are among them."""
    number = dice.choice(sorted(set(calls)))
    return number, dice.randint(1, calls.count(number))


def _follow(pid: int, kill_at: tuple[int, int] | None) -> Calls | None:
    made: Calls = []
    counts: collections.Counter[int] = collections.Counter()
    while True:
        task, status = os.waitpid(-1, _ALL_CHILDREN_AND_THREADS)
        if task == pid and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
            if os.WIFSIGNALED(status):
                return None
            assert os.WEXITSTATUS(status) == 0, "it failed by itself"
            return made
        if not os.WIFSTOPPED(status):
            continue  # a thread that ended
        delivered = 0
        if os.WSTOPSIG(status) == _AT_SYSTEM_CALL:
            if (number := _entered(task)) is not None:
                made.append(number)
                counts[number] += 1
                if kill_at is not None and counts[kill_at[0]] == kill_at[1]:
                    os.kill(pid, signal.SIGKILL)
                    kill_at = None
                    continue
        elif status >> 16 == 0:  # no event of ptrace, but a signal of its own
            delivered = os.WSTOPSIG(status)
        _ptrace(_SYSCALL, task, 0, delivered)


def _entered(task: int) -> int | None:
    """The number of the system call that is about to be made; None when one has just been made."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    _ptrace(_GET_SYSCALL_INFO, task, _INFO_SIZE, ctypes.addressof(info))
    return int.from_bytes(info.raw[24:32], "little") if info.raw[0] == _ENTRY else None


def _ptrace(request: int, task: int, address: int, data: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_long(request), ctypes.c_long(task), ctypes.c_void_p(address), ctypes.c_void_p(data))
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(*arguments) < 0 and ctypes.get_errno() != 3:  # ESRCH: it was killed meanwhile
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {task}")
