"""Namespaces as values, and threads that live in them."""

import subprocess
import threading
from pathlib import Path

import pytest

from emulator import namespaces, sysctl
from emulator.namespaces import Worker, create, entered, here


def visits():
    """Enter a namespace, fail there, and come home; live in one; name one."""
    home = here().inode
    other = create("web_shop")
    with entered(other):
        inside = here().inode
    try:
        with entered(other):
            raise ZeroDivisionError
    except ZeroDivisionError:
        after_failure = here().inode
    with Worker(other) as worker:
        lived = worker.call(lambda: here().inode)
        failed = worker.submit(lambda: 1 // 0).exception()
        again = worker.call(lambda: here().inode)
    by_name = subprocess.run(
        ["ip", "netns", "exec", "web_shop", "readlink", "/proc/self/ns/net"], capture_output=True, text=True, check=True
    ).stdout
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(here().inode))
    with entered(other):
        pass
    thread.start()
    thread.join()
    other.close()
    return {
        "entered another": inside != home and inside == lived == again,
        "home after failure": after_failure == home == here().inode == elsewhere[0],
        "failure came back": type(failed).__name__,
        "found by ip netns": str(inside) in by_name,
        "name is gone": not Path("/run/netns/web_shop").exists(),
    }


@pytest.mark.live
def test_threads_visit_and_live_in_namespaces(sandboxed):
    """A visit ends at home whatever happens; a worker stays; `ip netns` finds the name until it is closed."""
    assert sandboxed(visits) == {
        "entered another": True,
        "home after failure": True,
        "failure came back": "ZeroDivisionError",
        "found by ip netns": True,
        "name is gone": True,
    }


def taken_name():
    """Take a name twice."""
    create("twice")
    try:
        create("twice")
    except namespaces.EnvironmentLacksError as error:
        return str(error)
    return ""


@pytest.mark.live
def test_taken_name_is_refused(sandboxed):
    """A second namespace of the same name is refused by an error that gives the name."""
    assert "twice" in sandboxed(taken_name)


def settings():
    """Write a sysctl in another namespace; its value there, and here."""
    other = create()
    with entered(other):
        sysctl.write({"net/ipv4/ip_forward": "1", "net/ipv6/icmp/ratemask": ""})
        there = sysctl.read("net/ipv4/ip_forward"), sysctl.read("net/ipv6/icmp/ratemask")
    sysctl.write({"net/ipv4/ip_forward": "0"})
    with entered(other):
        still = sysctl.read("net/ipv4/ip_forward")
    return [*there, still, sysctl.read("net/ipv4/ip_forward")]


@pytest.mark.live
def test_sysctls_belong_to_the_namespace_of_the_thread(sandboxed):
    """`/proc/sys/net` is that of the thread that opens the file, with no process or mount in between."""
    assert sandboxed(settings) == ["1", "", "1", "0"]


def test_worker_gives_back_results_and_errors():
    """Without a namespace a worker is a plain thread: results in order, errors through the future."""
    with Worker() as worker:
        assert [worker.submit(pow, 2, n).result() for n in range(4)] == [1, 2, 4, 8]
        with pytest.raises(KeyError):
            worker.call({}.__getitem__, "absent")


def test_closed_worker_refuses_calls():
    """What is submitted after close would never run, so it is refused; what was submitted before has run."""
    worker = Worker()
    future = worker.submit(lambda: 5)
    worker.close()
    worker.close()
    assert future.result(timeout=0) == 5
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(lambda: 6)


def test_unknown_setting_is_named():
    """A setting the kernel does not have is an error with the setting's usual name."""
    with pytest.raises(namespaces.EnvironmentLacksError, match=r"net\.ipv4\.no_such_thing = '1'"):
        sysctl.write({"net/ipv4/no_such_thing": "1"})


def test_namespace_of_no_process():
    """A process that does not exist has no namespace; the error gives the pid."""
    with pytest.raises(namespaces.EnvironmentLacksError, match="process 4194999"):
        namespaces.of_pid(4194999)
