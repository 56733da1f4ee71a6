"""The sandbox: what its first process sees, and that nothing outlives it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emulator import reaper, sandbox

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]


def names(folder):
    """The names in a directory; none if it does not exist."""
    return sorted(path.name for path in Path(folder).iterdir()) if Path(folder).exists() else []


def view():
    """What the first process of a sandbox sees."""
    return {
        "pid": os.getpid(),
        "user": os.getuid(),
        "links": names("/sys/class/net"),
        "up": Path("/sys/class/net/lo/flags").read_text().strip(),
        "names": names("/run/netns"),
        "host": os.uname().nodename,
        "temporary": os.environ["TMPDIR"],
        "outer": sandbox.outer_pid(),
        "processes": list(filter(str.isdigit, names("/proc"))),
    }


def test_first_process_sees_only_its_own_world(sandboxed):
    """Inside, the caller is root, process 1 and alone; the only interface is lo, and it is up."""
    seen = sandboxed(view)
    assert (seen["pid"], seen["user"], seen["host"]) == (1, 0, "test")
    assert seen["links"] == ["lo"]
    assert int(seen["up"], 16) & 1
    assert seen["names"] == []
    assert seen["processes"] == ["1"]
    assert seen["temporary"].startswith("/run/")
    assert seen["outer"] != 1


def orphans():
    """Leave an orphan and a child of our own; whether only the latter is still a zombie later, and its status."""
    subprocess.run(["sh", "-c", "sleep 0.01 & exit"], check=True)
    owned = subprocess.Popen(["sh", "-c", "exit 7"])
    deadline = time.monotonic() + 10
    while reaper.zombies() != {owned.pid} and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2 * reaper.INTERVAL + 0.2)
    return [reaper.zombies() == {owned.pid}, owned.wait()]


def test_orphans_are_reaped_and_own_children_are_not(sandboxed):
    """The first process collects orphans, and leaves the status of a child it still waits for alone."""
    assert sandboxed(orphans) == [True, 7]


def build_ground():
    """A fabric and a pod: everything a cluster stands on."""
    from emulator.namespaces import Worker, of_pid
    from emulator.pods import PodNetwork
    from reference.endpoints import WorkloadEndpoint
    from topologies import TOPOLOGIES
    from topologies.fabric import Fabric

    fabric = Fabric(TOPOLOGIES["subnets"](2))
    fabric.start()
    pod = WorkloadEndpoint(
        namespace="d", pod="p", node="node-1", interface="cali1", addresses=("10.0.0.1",), labels={}, profiles=()
    )
    Worker(of_pid(fabric.pid("node-1"))).call(PodNetwork("node-1").create, [pod])


def inodes(pid, kinds=("net", "pid", "mnt")):
    """The namespaces a process is in."""
    return {(kind, Path(f"/proc/{pid}/ns/{kind}").stat().st_ino) for kind in kinds}


def everyone():
    """Every process that is not a zombie, with its namespaces."""
    found = {}
    for name in filter(str.isdigit, names("/proc")):
        try:
            if Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found[int(name)] = inodes(name)
        except OSError:
            continue
    return found


def members(pid_namespace):
    """The processes of a PID namespace."""
    return {pid for pid, seen in everyone().items() if pid_namespace in seen}


def machine():
    """What a leak would show in, outside: links, named namespaces, mounts."""
    links = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    return links, names("/run/netns"), Path("/proc/self/mounts").read_text()


_STAY = """
import importlib.util, os, sys, time
from emulator import sandbox
sandbox.enter("doomed")
spec = importlib.util.spec_from_file_location("doomed", sys.argv[1])
module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)
module.build_ground()
print(sandbox.outer_pid(), flush=True)
time.sleep(600)
"""


def test_kill_leaves_nothing(as_user):
    """After SIGKILL of its first process no process, namespace, interface, name or mount of a sandbox is left."""
    before = machine()
    outer = subprocess.Popen(
        as_user([sys.executable, "-B", "-c", _STAY, __file__]), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    line = outer.stdout.readline()
    assert line, "the sandbox said nothing"
    pid = int(line)
    outer.wait()
    pid_namespace = next(one for one in inodes(pid) if one[0] == "pid")
    inside = members(pid_namespace)
    network_namespaces = {one for member in inside for one in inodes(member) if one[0] != "pid"}
    assert len(inside) > 5
    assert machine() == before
    outside = set(everyone()) - inside
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while members(pid_namespace) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert members(pid_namespace) == set()
    # of those who were there before: a namespace that is gone gives its number to the next one made
    left = {one for process, seen in everyone().items() if process in outside for one in seen}
    assert not {one for one in network_namespaces - inodes(os.getpid()) if one in left}
    assert machine() == before
    outer.stdout.close()


def test_denied_namespaces_are_one_clear_error(as_user):
    """Where the kernel denies a namespace, the error names the step and what to do, and nothing is left running."""
    code = (
        "import os\nfrom pathlib import Path\nfrom emulator import sandbox, namespaces as ns\n"
        "user = os.geteuid()\n"
        "ns.unshare(ns.CLONE_NEWUSER)\n"  # in a user namespace of its own, a limit of its own may be set
        "Path('/proc/self/uid_map').write_text(f'0 {user} 1')\n"
        "Path('/proc/sys/user/max_net_namespaces').write_text('0')\n"
        "try: sandbox.enter()\nexcept sandbox.SandboxError as error: print(error.step, '|', error)"
    )
    done = subprocess.run(
        as_user([sys.executable, "-B", "-c", code]), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("new namespaces | the sandbox could not be made: new namespaces:"), done
    assert "user.max_net_namespaces" in done.stdout


def test_a_process_with_threads_is_refused():
    """Entering from a process with threads is a mistake of the caller, told before anything is done."""
    code = (
        "import threading, time\nfrom emulator import sandbox\n"
        "threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\n"
        "try: sandbox.enter()\nexcept RuntimeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "fresh interpreter" in done.stdout
