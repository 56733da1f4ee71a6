"""Going over to another dataplane under traffic: nothing opens, nothing is lost, connections go on."""

import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import system_calls
from nftables_lab import Lab
from update_traffic import Traffic, programs

from emulator.dataplane import DATAPLANES
from emulator.enforcement import Enforcement

pytestmark = pytest.mark.live
ROUNDS = int(os.environ.get("MUSLIN_SWITCHES", "4"))
KILLS = int(os.environ.get("MUSLIN_SWITCH_KILLS", "2"))
PAUSE = 0.1  # seconds between two switches
SEED = 11


def node(name):
    """A lab whose pods' interfaces are made as a node makes them, with no dataplane yet."""
    lab = Lab(name)
    for number in (1, 2, 3):
        subprocess.run(["tc", "qdisc", "add", "dev", f"cali{number}", "clsact"], check=True)
    lab.drops.close()
    lab.dataplane.close()  # nothing was programmed
    return lab


def there_and_back(first, second, how, rounds):
    """Go over from one dataplane to another and back while probes flow; each switch brings another program too."""
    lab, wanted = node(first), programs(SEED)
    enforcement = Enforcement("node-1", first)
    enforcement.enforce(first, next(wanted))
    traffic = Traffic(lab)
    names = []
    for dataplane in itertools.islice(itertools.cycle([second, first]), rounds):
        WAYS[how](enforcement, dataplane, next(wanted))
        names.append(enforcement.dataplane)
        time.sleep(PAUSE)
    return {**traffic.stop(), "names": names}


def by_enforcement(enforcement, dataplane, wanted):
    """As an agent does."""
    enforcement.enforce(dataplane, wanted)


def by_cleaning_first(enforcement, dataplane, wanted):
    """The old one goes before the next one comes."""
    enforcement._now.clean()
    enforcement.enforce(dataplane, wanted)


WAYS = {way.__name__: way for way in (by_enforcement, by_cleaning_first)}


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(DATAPLANES, 2)))
def test_a_switch_opens_nothing_and_loses_nothing(sandboxed, as_user, first, second):
    """Whatever both programs deny stays denied, whatever both allow passes, and the TCP stream goes on."""
    if "ebpf" in (first, second) and as_user(["id"]) != ["id"]:
        pytest.skip("only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
    found = sandboxed(there_and_back, first, second, "by_enforcement", ROUNDS)
    assert found["names"] == [second, first] * (ROUNDS // 2) + [second] * (ROUNDS % 2)
    assert (found["holes"], found["hiccups"], found["stream"], found["overrun"]) == ({}, {}, [0, 0], 0), found


def test_a_hole_would_be_found(sandboxed):
    """Cleaning the old dataplane before the next one is programmed lets packets through, and is caught."""
    found = sandboxed(there_and_back, "nftables", "iptables", "by_cleaning_first", 4)
    assert found["holes"], found


class Switching:
    """In a process of its own: an agent that goes over from one dataplane to another, and may die on the way."""

    def __init__(self, first, second, before, after):
        self._first, self._second, self._before, self._after = first, second, before, after

    def run(self, kill_at=None):
        """Its system calls on the way, or None if it was killed at (number, n)."""
        return system_calls.run(self._begin, self._change, kill_at)

    def _begin(self):
        self._enforcement = Enforcement("node-1", self._first)
        self._enforcement.enforce(self._first, self._before)

    def _change(self):
        self._enforcement.enforce(self._second, self._after)


def killed_between(first, second, kills):
    """Kill agents on their way from one dataplane to another under traffic; what is left is one more switch away."""
    lab, dice = node(first), random.Random(SEED)
    steps = list(itertools.islice(programs(SEED), kills + 1))
    Switching(first, second, steps[0], steps[0]).run()
    Switching(second, first, steps[0], steps[0]).run()
    traffic = Traffic(lab)
    died = 0
    for before, after in itertools.pairwise(steps):
        calls = Switching(first, second, before, after).run()
        Switching(second, first, after, before).run()
        died += Switching(first, second, before, after).run(system_calls.somewhere(dice, calls)) is None
        kept, left = DATAPLANES[first](), DATAPLANES[second]()
        kept.apply(before)  # whatever there is of either
        left.apply(before)
        left.clean()
        for one in (kept, left):
            one.close()
    return {**traffic.stop(), "died": died}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("nftables", "iptables"),
        ("iptables", "nftables"),
        ("iptables-legacy", "nftables"),
        ("nftables", "ebpf"),
        ("ebpf", "nftables"),
    ],
)
def test_an_agent_killed_on_the_way_leaves_no_hole(sandboxed, as_user, first, second):
    """Wherever it dies, the old dataplane is in force, or both, or the new one: nothing opens and nothing is lost."""
    if "ebpf" in (first, second) and as_user(["id"]) != ["id"]:
        pytest.skip("only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
    found = sandboxed(killed_between, first, second, KILLS)
    assert found["died"], found
    assert (found["holes"], found["hiccups"], found["overrun"]) == ({}, {}, 0), found
