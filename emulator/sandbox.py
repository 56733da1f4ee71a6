"""The sandbox: private namespaces that the kernel removes, with all that is in them, when one process ends.

`enter` turns a fresh interpreter into the first process of new PID, network, mount, UTS and IPC namespaces, and of a
user namespace when the caller lacks the privilege to make the others. A PID namespace cannot outlive its first
process, and nothing outside refers to the rest, so `kill -9` leaves no process, namespace, interface or mount
(architecture rule 6). The machine's own network is never touched.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from emulator import namespaces as ns
from emulator.netlink import Batch, RouteSocket
from emulator.reaper import start_reaper
from reference.errors import EnvironmentLacksError

RUN = Path("/run/muslin")  # in the sandbox's own tmpfs
_DIRECTORIES = ("/run/netns", "/run/wireguard", "/run/lock", "/run/muslin", "/run/muslin/tmp")

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_LOOPBACK = 1

_outer_pid = 0


class SandboxError(EnvironmentLacksError):
    """The kernel denied one step of making a sandbox; says which, and what can be done."""

    def __init__(self, step: str, error: OSError) -> None:
        reason = error.strerror or str(error)
        super().__init__(f"the sandbox could not be made: {step}: {reason}. {_advice(error.errno)}")
        self.step = step
        self.errno = error.errno


def enter(hostname: str = "muslin", *, keep: Sequence[Path] = ()) -> None:
    """Become the first process of a new sandbox; the process that called ends with status 0.

    Call it in a fresh interpreter, before any thread is started: what returns is a child. Open descriptors, the
    working directory and the environment are kept, TMPDIR is moved inside. `keep` names directories under /run that
    stay visible.

    Raises:
        SandboxError: the kernel denied a step.
    """
    if threading.active_count() > 1:
        raise RuntimeError("a process with threads cannot enter a sandbox; start a fresh interpreter")
    kept = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in keep}
    with _step("new namespaces"):
        _unshare()
    _become_first_process()
    with _step("a private mount table"):
        ns.mount("none", "/", flags=_MS_REC | _MS_PRIVATE)
    _mount_private_views()
    for path, descriptor in kept.items():
        with _step(f"keeping {path}"):
            path.mkdir(parents=True, exist_ok=True)
            ns.mount(f"/proc/self/fd/{descriptor}", str(path), flags=ns.MS_BIND | _MS_REC)
        os.close(descriptor)
    with _step("the host name"):
        socket.sethostname(hostname.replace(" ", "-")[:63])
    _loopback_up()
    _behave_as_init()


def outer_pid() -> int:
    """The pid of this sandbox's first process, as the machine outside sees it.

    Raises:
        RuntimeError: this process has not entered a sandbox.
    """
    if _outer_pid == 0:
        raise RuntimeError("not in a sandbox")
    return _outer_pid


def is_privileged() -> bool:
    """Report whether this process may make the namespaces without a user namespace of its own."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return bool(effective >> _CAP_SYS_ADMIN & 1 and effective >> _CAP_NET_ADMIN & 1)


@contextmanager
def _step(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SandboxError(what, error) from error


def _unshare() -> None:
    """All namespaces in one call; in a user namespace, where the caller becomes root, when it takes one."""
    flags = ns.CLONE_NEWNS | ns.CLONE_NEWPID | ns.CLONE_NEWNET | ns.CLONE_NEWUTS | ns.CLONE_NEWIPC
    if is_privileged():
        ns.unshare(flags)
        return
    user, group = os.geteuid(), os.getegid()
    ns.unshare(flags | ns.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")  # an ordinary user may map its group only after this
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _become_first_process() -> None:
    """Fork: the child is process 1 of the new PID namespace; the parent tells it its outer pid, and ends."""
    global _outer_pid  # noqa: PLW0603 - a fact about this process, written once
    told, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with _step("a first process"):
        pid = os.fork()
    if pid:
        os.write(tell, str(pid).encode())
        os._exit(0)
    os.close(tell)
    _outer_pid = int(os.read(told, 32))
    os.close(told)
    os.setsid()


def _mount_private_views() -> None:
    with _step("its own /proc"):
        ns.mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    with _step("its own /sys"):
        ns.mount("sysfs", "/sys", "sysfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    with _step("its own /run"):
        ns.mount("tmpfs", "/run", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
        for directory in _DIRECTORIES:
            Path(directory).mkdir(parents=True, exist_ok=True)
    # User paths may lie under /tmp, so it stays; our own temporary files go where the kernel will remove them.
    os.environ["TMPDIR"] = str(RUN / "tmp")


def _loopback_up() -> None:
    batch = Batch()
    batch.link_up(_LOOPBACK)
    with _step("bringing up lo"), RouteSocket() as kernel:
        kernel.send(batch)


def _behave_as_init() -> None:
    """The kernel gives a first process no default signal actions, and every orphan of its namespace."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    start_reaper()


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


def _advice(code: int | None) -> str:
    if code == errno.ENOSPC:
        return "The limit of namespaces is reached: raise sysctl user.max_user_namespaces and user.max_net_namespaces."
    for name, wanted in (
        ("kernel/unprivileged_userns_clone", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
        ("user/max_user_namespaces", "10000"),
    ):
        file = Path("/proc/sys", name)
        unwanted = {"1": "0", "0": "1", "10000": "0"}[wanted]
        if file.exists() and file.read_text().strip() == unwanted:
            return (
                "This machine forbids namespaces to ordinary users: run as root, or allow them with "
                f"sysctl -w {name.replace('/', '.')}={wanted}."
            )
    if os.geteuid() == 0:
        return "In a container, start it with --privileged, or with CAP_SYS_ADMIN and CAP_NET_ADMIN and /proc unmasked."
    return "Run as root; in a container, one started with --privileged."
