"""No hole, no hiccup: no packet passes that both sides of an update deny, none is lost that both allow."""

import itertools
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, program
from update_traffic import Traffic, programs

from emulator.dataplane import DATAPLANES
from emulator.dataplane.nftables import crowds
from emulator.dataplane.nftables.dataplane import NftablesDataplane
from emulator.dataplane.nftables.operations import messages
from emulator.dataplane.nftables.plan import EMPTY, plan

pytestmark = pytest.mark.live
UPDATES = int(os.environ.get("MUSLIN_UPDATES", "100"))  # at 500 the whole claim of the documentation
AT_ONCE = 100  # updates in one sandbox
PAUSE = 0.02  # seconds between two updates
SEED = 4


@pytest.fixture(params=sorted(DATAPLANES))
def dataplane(request, as_user):
    """Every dataplane; what only root may load is not tried by others."""
    if request.param == "ebpf" and as_user(["id"]) != ["id"]:
        pytest.skip("only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
    return request.param


def under_traffic(name, how, count, seed=SEED, limit=30):
    """Apply random programs in a way of `WAYS` while probes flow, as many as there is time for."""
    lab = Lab(name)
    wanted = programs(seed)
    lab.dataplane.apply(next(wanted))
    traffic = Traffic(lab)
    began = time.monotonic()
    applied = 0
    for one in itertools.islice(wanted, count):
        WAYS[how](lab.dataplane, one)
        applied += 1
        time.sleep(PAUSE)
        if time.monotonic() > began + limit:
            break
    seconds = time.monotonic() - began
    found = traffic.stop()
    return {**found, "applied": applied, "rate": found["sent"] / seconds}


def by_apply(dataplane, wanted):
    """As the agent does."""
    dataplane.apply(wanted)


def in_crowds(dataplane, wanted):
    """As the agent does, where few members of a set are many already."""
    crowds.LARGEST = 2
    dataplane.apply(wanted)


def by_deleting_first(dataplane, wanted):
    """Everything is removed, then everything is added."""
    dataplane.clean()
    dataplane.apply(wanted)


def by_emptying_first(dataplane, wanted):
    """First no endpoint is known, then all are."""
    dataplane.apply(program(pods=()))
    dataplane.apply(wanted)


def one_by_one(dataplane, wanted):
    """The operations of one transaction, each in a transaction of its own."""
    assert isinstance(dataplane, NftablesDataplane)
    made = plan(EMPTY, wanted)
    for operation in made.operations:
        if sent := list(messages(operation)):
            dataplane._socket.transact(sent)
    dataplane._programmed = made.result


WAYS = {way.__name__: way for way in (by_apply, in_crowds, by_deleting_first, by_emptying_first, one_by_one)}


SEEDS = range(SEED, SEED + -(-UPDATES // AT_ONCE))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_hole_and_no_hiccup(sandboxed, dataplane, seed):
    """At 5,000 probes a second and more, every probe has the verdict that both sides of each update give it."""
    count = min(UPDATES, AT_ONCE)
    found = sandboxed(under_traffic, dataplane, "by_apply", count, seed)
    assert found["applied"] == count
    assert found["rate"] >= 5000, found
    assert (found["holes"], found["hiccups"], found["stream"], found["overrun"]) == ({}, {}, [0, 0], 0), found


@pytest.mark.parametrize("seed", SEEDS)
def test_no_hole_and_no_hiccup_in_crowds(sandboxed, seed):
    """The same where nftables makes several sets of each, and members go from one to another of them."""
    found = sandboxed(under_traffic, "nftables", "in_crowds", min(UPDATES, AT_ONCE), seed)
    assert found["rate"] >= 5000, found
    assert (found["holes"], found["hiccups"], found["stream"], found["overrun"]) == ({}, {}, [0, 0], 0), found


def test_a_hole_would_be_found(sandboxed, dataplane):
    """Deleting everything before adding everything lets packets through, and is caught."""
    found = sandboxed(under_traffic, dataplane, "by_deleting_first", 20)
    assert found["holes"], found


def test_a_hiccup_would_be_found(sandboxed, dataplane):
    """Forgetting the endpoints before knowing them again loses packets, and is caught."""
    found = sandboxed(under_traffic, dataplane, "by_emptying_first", 20)
    assert found["hiccups"], found


def test_nftables_without_transactions_would_be_found(sandboxed):
    """The very operations of an apply, sent one by one, have holes and hiccups."""
    found = sandboxed(under_traffic, "nftables", "one_by_one", 10)
    assert found["holes"], found
    assert found["hiccups"], found
