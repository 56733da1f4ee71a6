"""Objects that are loaded meanwhile, and what the kernel says of those it refuses."""

import pytest

from emulator.dataplane.ebpf.attach import WORKLOAD
from emulator.dataplane.ebpf.bench import lacking
from emulator.dataplane.ebpf.build import programs
from emulator.dataplane.ebpf.libbpf import Object
from emulator.dataplane.ebpf.library import BpfError

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def loaded_later():
    """What is there of an object: at once, and of one that is loaded meanwhile."""
    found = []
    for later in (False, True):
        loaded = Object(programs(), {"code": 1 << 10}, None, WORKLOAD, later)
        found.append([loaded.maps["code"].entries, sorted(loaded.programs), len(loaded.maps["code"].memory)])
        loaded.close()
    return found


def refused():
    """What is raised, and when, for a map without room."""
    said = []
    for later in (False, True):
        try:
            broken = Object(programs(), {"code": 0}, None, WORKLOAD, later)
            said.append("begun")
            said.append(broken.maps["members"].fd)
        except BpfError as error:
            said.append("'code'" in str(error))
    broken.close()
    return said


def closed():
    """Whether there is still a descriptor when nobody asked in time."""
    gone = Object(programs(), {}, None, WORKLOAD, True)
    gone.close()
    try:
        return gone.maps["code"].fd
    except BpfError as error:
        return str(error)


def test_who_asks_for_what_is_loaded_meanwhile_waits(sandboxed):
    """A descriptor is one of a loaded object, or is never given."""
    at_once, later = sandboxed(loaded_later)
    assert at_once == later == [1 << 10, sorted(WORKLOAD), 8 << 10]
    assert "Bad file descriptor" in sandboxed(closed)


def test_what_the_kernel_refuses_is_told_with_its_words(sandboxed):
    """At once, or when somebody asks for a descriptor."""
    assert sandboxed(refused) == [True, "begun", True]
