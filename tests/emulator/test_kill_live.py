"""An agent killed in the middle of an apply, at any line near a system call; its successor converges, with no hole."""

import itertools
import mmap
import os
import random
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab
from update_traffic import Traffic, programs

from emulator.dataplane import DATAPLANES

pytestmark = pytest.mark.live
KILLS = int(os.environ.get("MUSLIN_KILLS", "8"))  # at 200 the whole claim of the documentation
AT_ONCE = 15  # kills in one sandbox
# where the system calls of an apply are made; each line of these is a place to die
NEAR_SYSTEM_CALLS = {
    "nfnetlink.py", "dataplane.py", "commands.py", "libbpf.py", "libnftables.py", "attach.py", "guard.py", "socket.py",
    "tables.py",
}  # fmt: skip


def near_system_calls(count):
    """A trace function that kills this process at a line, counted from now; with a negative count it only counts."""
    lines = 0

    def at_line(frame, event, _):
        nonlocal lines
        path = Path(frame.f_code.co_filename)
        if path.name not in NEAR_SYSTEM_CALLS or "emulator" not in path.parts:
            return None
        if event == "line":
            lines += 1
            if lines == count:
                os.kill(os.getpid(), signal.SIGKILL)
        return at_line

    return at_line, lambda: lines


def agent(name, before, after, count, result, *, careless=False):
    """In a process of its own: an agent starts, then applies a program and dies on the way. How it ended.

    A careless one removes everything first.
    """
    pid = os.fork()
    if pid == 0:
        try:
            dataplane = DATAPLANES[name]()
            dataplane.apply(before)
            trace, lines = near_system_calls(count)
            sys.settrace(trace)
            if careless:
                dataplane.clean()
            dataplane.apply(after)
            sys.settrace(None)
            result[0] = lines()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def kills(name, seed, count, careless):
    """Kill agents under traffic, each followed by a new one; what it made of the kernel, and how the probes fared."""
    lab, dice = Lab(name), random.Random(seed)
    steps = list(itertools.islice(programs(seed), count + 1))
    lab.dataplane.apply(steps[0])
    result = memoryview(mmap.mmap(-1, 8)).cast("Q")
    traffic = Traffic(lab)
    died, made = 0, []
    for before, after in itertools.pairwise(steps):
        # the same two applies once whole, to know how many lines there are, then back
        assert agent(name, before, after, -1, result) == 0
        lines = result[0]
        assert agent(name, after, before, -1, result) == 0
        died += os.WIFSIGNALED(agent(name, before, after, dice.randrange(1, lines), result, careless=careless))
        successor = DATAPLANES[name]()
        successor.apply(after)
        made.append((successor.drift(), successor.read_back()))
        successor.close()
    found = traffic.stop()
    wrong = []
    for number, (after, (drift, back)) in enumerate(zip(steps[1:], made, strict=True)):
        lab.dataplane.clean()
        lab.dataplane.apply(after)
        if drift or back != lab.dataplane.read_back():
            wrong.append([number, drift])
    return {**found, "died": died, "wrong": wrong}


@pytest.mark.parametrize("name", DATAPLANES)
@pytest.mark.parametrize("seed", range(1, -(-KILLS // AT_ONCE) + 1))
def test_a_killed_agent_leaves_no_hole_and_its_successor_converges(sandboxed, as_user, name, seed):
    """Wherever it dies, no probe gets through that should not, none is lost, and a new agent makes the same kernel."""
    if name == "ebpf" and as_user(["id"]) != ["id"]:
        pytest.skip("only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
    count = min(KILLS, AT_ONCE)
    found = sandboxed(kills, name, seed, count, False)
    assert found["died"] >= count * 0.8, found
    assert (found["wrong"], found["holes"], found["hiccups"], found["overrun"]) == ([], {}, {}, 0), found


def test_a_careless_agent_would_be_found(sandboxed):
    """An agent that removes everything before it adds everything leaves a hole when it dies, and is caught."""
    found = sandboxed(kills, "nftables", 1, 6, True)
    assert found["holes"], found
