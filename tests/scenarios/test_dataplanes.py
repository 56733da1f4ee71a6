"""What scenarios are run on: which dataplanes the machine can run, rehearsed, and who gets which."""

from itertools import permutations

import pytest

from reference.errors import EnvironmentLacksError, InvalidInputError
from scenarios.dataplanes import assigned, columns, require_column, sort_out


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


def four_but_ebpf(names):
    """A user who may not load programs."""
    return [name for name in names if name != "ebpf"], {"ebpf": "needs root"}


def only_nftables(_):
    """A machine with next to nothing."""
    return ["nftables"], {}


@pytest.mark.parametrize(
    ("given", "machine", "wanted", "left_out"),
    [
        ([], None, [], {}),
        (["ebpf"], None, ["ebpf"], {}),  # the machine is not tried: running it will tell
        (["ebpf", "nftables+ebpf"], None, ["ebpf", "nftables+ebpf"], {}),
        (["all"], four_but_ebpf, ["nftables", "iptables", "iptables-legacy"], {"ebpf": "needs root"}),
        (["mixed"], four_but_ebpf, ["mixed"], {"ebpf": "needs root"}),
        (
            ["all", "mixed"],
            four_but_ebpf,
            ["nftables", "iptables", "iptables-legacy", "mixed"],
            {"ebpf": "needs root"},
        ),
        (
            ["mixed", "all"],
            only_nftables,
            ["nftables"],
            {"mixed": "it takes two dataplanes, and here works only nftables"},
        ),
    ],
)
def test_columns(given, machine, wanted, left_out):
    """`all` are those that work here, `mixed` needs two of them, and what cannot be is left out with the reason."""
    found, _, why = columns(given, machine)
    assert (found, why) == (wanted, left_out)


def test_nodes_take_turns():
    """Joined names go to the nodes in turn, from the first one again when there are more nodes."""
    assert assigned("a+b", (), 5, 3) == ("a", "b", "a")
    assert assigned("a", (), 5, 2) == ("a", "a")


@pytest.mark.parametrize("able", ["ab", "abc", "abcd"])
def test_in_a_mixed_collection_all_meet(able):
    """Two dozen scenarios of two nodes bring every dataplane together with every other, on both sides."""
    pairs = {assigned("mixed", able, number, 2) for number in range(24)}
    assert pairs == set(permutations(able, 2))


@pytest.mark.parametrize("given", ["magic", "nftables+magic", "", "nftables+"])
def test_what_is_no_column_is_refused(given):
    """A name that is no dataplane's is refused, also among others."""
    with pytest.raises(InvalidInputError, match="is not known; there are ebpf, iptables, iptables-legacy, nftables"):
        require_column(given)
