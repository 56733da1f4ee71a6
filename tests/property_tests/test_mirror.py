"""Invariant 11: the IPv6 mirror of an IPv4 cluster gives mirrored verdicts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from property_tests.properties.mirror import mirrored, mirrored_net, mirrored_packet, only_ipv4
from property_tests.strategies.choices import Drawn, Seeded
from property_tests.strategies.clusters import cluster
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.strategies.resources import node, pools
from property_tests.strategies.vocabulary import NODES
from property_tests.worlds import built, pinned
from reference import policy
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.resources import IPPool, Node

NETS = [
    ("10.10.0.7", "fd00:4::a0a:7"),
    ("10.10.0.0/24", "fd00:4::a0a:0/120"),
    ("0.0.0.0/0", "fd00:4::/96"),
    ("fd00::/8", "192.0.2.0/24"),
]


@pytest.mark.parametrize(("net", "mirror"), NETS)
def test_mirrored_nets(net: str, mirror: str) -> None:
    """An IPv4 net keeps its bits at the end of an IPv6 one; an IPv6 net becomes one that cannot match."""
    assert mirrored_net(net) == mirror


@given(data=st.data())
def test_the_mirror_answers_alike(data: st.DataObject) -> None:
    """A packet in the IPv4 cluster and its mirror in the IPv6 one get the same verdict, from oracle and program."""
    choices = Drawn(data.draw)
    drawn = [one for one in cluster(choices) if not isinstance(one, (IPPool, Node))]
    loose = only_ipv4([*(node(name) for name in NODES), *pools(), *drawn])
    four = pinned(loose, built(loose))
    state, mirror = built(four), built([mirrored(resource) for resource in four])
    assert len(state.endpoints) == len(mirror.endpoints)
    about = interest(state)
    if not has_pods(about):
        return
    seeded = Seeded(choices.integer(0, 2**32))
    programs = Compiler().compile(mirror)
    for one in (packet(seeded, about) for _ in range(60)):
        if one.family == 4:
            other = mirrored_packet(one)
            assert policy.allowed(mirror, other) == policy.allowed(state, one), (one, other)
            assert decide(programs, mirror, other).allowed == policy.allowed(state, one), (one, other)
