"""Trying which dataplanes the machine can run, rehearsed."""

from reference.errors import EnvironmentLacksError
from scenarios.dataplanes import sort_out


class Tried:
    """A session that comes up, unless its dataplane needs what is not there."""

    closed: list[str] = []

    def __init__(self, *, topology, nodes, dataplane):
        self.dataplane = dataplane

    def start(self):
        """Bring up, or refuse."""
        if self.dataplane == "ebpf":
            raise EnvironmentLacksError("the ebpf dataplane needs root:\nrun as root")

    def close(self):
        """Take down."""
        self.closed.append(self.dataplane)


def test_dataplanes_that_lack_something_are_told_apart():
    """Those that come up are used, in their order; the others get one line each; every trial is taken down."""
    able, lacking = sort_out(["nftables", "ebpf", "iptables"], make=Tried)
    assert able == ["nftables", "iptables"]
    assert lacking == {"ebpf": "the ebpf dataplane needs root: run as root"}
    assert Tried.closed == ["nftables", "ebpf", "iptables"]
