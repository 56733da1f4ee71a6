"""An agent is killed between any two system calls of an apply; its successor converges, with no hole and no hiccup."""

import collections
import itertools
import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import system_calls
from nftables_lab import Lab
from update_traffic import Traffic, programs

from emulator.dataplane import DATAPLANES

pytestmark = pytest.mark.live
KILLS = int(os.environ.get("MUSLIN_KILLS", "8"))  # at 200 the whole claim of the documentation
AT_ONCE = 8  # kills in one sandbox


class Agent:
    """In a process of its own: an agent that takes a kernel from one program to the next, and may die on the way.

    It knows the kernel since an apply of its own; a successor finds it; a careless one removes everything first.
    """

    def __init__(self, name, before, after, *, successor=False, careless=False):
        self._name, self._before, self._after = name, before, after
        self._successor, self._careless = successor, careless

    def run(self, kill_at=None):
        """Its system calls on the way, or None if it was killed at (number, n)."""
        return system_calls.run(self._begin, self._change, kill_at)

    def _begin(self):
        self._dataplane = DATAPLANES[self._name]()
        if not self._successor:
            self._dataplane.apply(self._before)

    def _change(self):
        if self._careless:
            self._dataplane.clean()
        self._dataplane.apply(self._after)


def kills(name, seed, count, careless):
    """Kill agents under traffic, each followed by a new one; what it made of the kernel, and how the probes fared."""
    lab, dice = Lab(name), random.Random(seed)
    steps = list(itertools.islice(programs(seed), count + 1))
    lab.dataplane.apply(steps[0])
    traffic = Traffic(lab)
    died, made = collections.Counter(), []
    for before, after in itertools.pairwise(steps):
        how = {"successor": dice.random() < 0.5, "careless": careless}
        place, calls = None, Agent(name, before, after, **how).run()
        while calls is not None:  # it lived: the first time to know its system calls, or it made others this time
            Agent(name, after, before).run()
            place = system_calls.somewhere(dice, calls)
            calls = Agent(name, before, after, **how).run(place)
        died[place[0]] += 1
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
    return {**found, "died": sum(died.values()), "kinds": len(died), "wrong": wrong}


@pytest.mark.parametrize("name", DATAPLANES)
@pytest.mark.parametrize("seed", range(1, -(-KILLS // AT_ONCE) + 1))
def test_a_killed_agent_leaves_no_hole_and_its_successor_converges(sandboxed, as_user, name, seed):
    """Wherever it dies, no probe gets through that should not, none is lost, and a new agent makes the same kernel."""
    if name == "ebpf" and as_user(["id"]) != ["id"]:
        pytest.skip("only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
    count = min(KILLS, AT_ONCE)
    found = sandboxed(kills, name, seed, count, False)
    assert found["died"] == count
    assert found["kinds"] >= 2, found
    assert (found["wrong"], found["holes"], found["hiccups"], found["overrun"]) == ([], {}, {}, 0), found


def test_a_careless_agent_would_be_found(sandboxed):
    """An agent that removes everything before it adds everything leaves a hole when it dies, and is caught."""
    found = sandboxed(kills, "nftables", 1, 6, True)
    assert found["holes"], found
