"""Going over to another dataplane under traffic: nothing opens, nothing is lost, connections go on."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab
from update_traffic import Traffic, programs

from emulator.dataplane import DATAPLANES
from emulator.enforcement import Enforcement

pytestmark = pytest.mark.live
ROUNDS = int(os.environ.get("MUSLIN_SWITCHES", "4"))
PAUSE = 0.1  # seconds between two switches
SEED = 11


def there_and_back(first, second, how, rounds):
    """Go over from one dataplane to another and back while probes flow; each switch brings another program too."""
    lab = Lab(first)
    for number in (1, 2, 3):  # as a node makes them
        subprocess.run(["tc", "qdisc", "add", "dev", f"cali{number}", "clsact"], check=True)
    lab.drops.close()
    lab.dataplane.close()  # nothing was programmed
    enforcement = Enforcement("node-1", first)
    wanted = programs(SEED)
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
