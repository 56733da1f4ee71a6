"""A supervisor that is killed, at whatever moment, leaves nothing behind (architecture rule 6)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import muslin
from emulator.api.address import listening_names
from reference.errors import MuslinError

pytestmark = pytest.mark.live
HERE = Path(__file__).parent
POD = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": "busybox"}]}}


def pods(count):
    """Manifests of many pods."""
    return [{**POD, "metadata": {"name": f"pod-{number}"}} for number in range(count)]


def namespace_of(pid, kind):
    """A namespace of a process, by inode."""
    return Path(f"/proc/{pid}/ns/{kind}").stat().st_ino


def members(pid_namespace):
    """Living processes of a PID namespace."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if namespace_of(folder.name, "pid") == pid_namespace:
                    found.append(int(folder.name))
    return found


def applying(cluster):
    """In the middle of bringing up pods."""
    cluster.apply(*pods(150))


def probing(cluster):
    """In the middle of a batch of probes."""
    cluster.apply(*pods(4))
    names = [f"default/pod-{number}" for number in range(4)]
    cluster.probe_many((a, b, "TCP", port) for a in names for b in names for port in range(1, 500))


def executing(cluster):
    """While a command runs in a pod."""
    cluster.apply(*pods(1))
    null = os.open(os.devnull, os.O_RDWR)
    try:
        cluster.execute("default/pod-0", ["sleep", "100"], (null, null, null))
    finally:
        os.close(null)


def explaining(cluster):
    """While packets are traced."""
    cluster.apply(*pods(2))
    while True:
        cluster.explain("default/pod-0", "default/pod-1")


def idle(cluster):
    """While nothing happens."""
    time.sleep(30)


def failing(cluster):
    """While nodes go down and come back."""
    while True:
        cluster.fail_node("node-1")
        cluster.recover_node("node-1")


def ending(cluster):
    """In the middle of the end."""
    cluster.apply(*pods(20))
    cluster.call("shutdown")


def assert_nothing_is_left(before, machine_now, name, pid_namespace, inside):
    """No process, link, namespace name, mount, file in /run, or socket.

    Only those who were inside are looked for: a namespace that is gone gives its number to the next one made.
    """
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (inside & set(members(pid_namespace)) or name in listening_names()):
        time.sleep(0.01)
    assert inside & set(members(pid_namespace)) == set()
    assert name not in listening_names()
    assert machine_now() == before


@pytest.mark.parametrize(
    ("work", "delay"),
    [(applying, 0.05), (applying, 0.3), (probing, 0.3), (executing, 0.5), (explaining, 0.6), (failing, 0.4),
     (idle, 0.0), (ending, 0.2)],
)  # fmt: skip
def test_killed_at_work_leaves_nothing(work, delay, machine_view):
    """Killed with SIGKILL while it works, a supervisor leaves no process, namespace, link, mount or file."""
    before = machine_view()
    cluster = muslin.Cluster(nodes=2).start()
    pid_namespace = namespace_of(cluster.pid, "pid")
    assert len(members(pid_namespace)) > 3

    def until_killed():
        with suppress(MuslinError):
            work(cluster)

    worker = threading.Thread(target=until_killed, daemon=True)
    worker.start()
    time.sleep(delay)
    inside = set(members(pid_namespace))
    with suppress(ProcessLookupError):
        os.kill(cluster.pid, signal.SIGKILL)
    assert_nothing_is_left(before, machine_view, cluster.spec.name, pid_namespace, inside)
    worker.join(5)
    cluster.close()


@pytest.mark.parametrize("delay", [0.15, 0.35, 0.6, 0.9])
def test_killed_while_starting_leaves_nothing(delay, machine_view, supervisors):
    """Killed while it comes up, a supervisor leaves nothing, and whoever launched it gets a clear error."""
    before = machine_view()
    cluster = muslin.Cluster(nodes=3)
    errors = []

    def start():
        try:
            cluster.start()
        except MuslinError as error:
            errors.append(str(error))

    starter = threading.Thread(target=start)
    starter.start()
    deadline = time.monotonic() + 10
    while not supervisors(cluster.spec.name) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(delay)
    spaces = {pid: namespace_of(pid, "pid") for pid in supervisors(cluster.spec.name)}
    own = namespace_of("self", "pid")
    inside = {space: set(members(space)) for space in set(spaces.values()) - {own}}
    for pid in spaces:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    starter.join(20)
    for space, processes in inside.items():
        assert_nothing_is_left(before, machine_view, cluster.spec.name, space, processes)
    assert supervisors(cluster.spec.name) == []
    assert machine_view() == before
    assert all("supervisor" in error or "gone" in error or "ended" in error for error in errors)
    cluster.close()


def test_dies_with_the_process_that_owns_it(machine_view):
    """When a test process is killed, its cluster goes with it."""
    before = machine_view()
    program = (
        "import muslin, time\n"
        "cluster = muslin.Cluster(nodes=1).start()\n"
        "print(cluster.pid, cluster.spec.name, flush=True)\n"
        "time.sleep(100)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid, name = owner.stdout.readline().split()
    pid_namespace = namespace_of(pid, "pid")
    inside = set(members(pid_namespace))
    owner.kill()
    owner.wait()
    assert_nothing_is_left(before, machine_view, name, pid_namespace, inside)
