"""Traffic through a bed: what is measured does pass, and would not without the rule that lets it."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.dataplane import traffic
from benchmarks.dataplane.bed import NO_DATAPLANE, Bed
from benchmarks.dataplane.shapes import FRESH_PORTS, PORT, Policies
from reference.errors import MuslinError

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not (shutil.which("clang") or shutil.which("gcc")), reason="the generator needs a compiler"),
]
MILLISECONDS = 10


def rates(dataplane):
    """What every kind of traffic does, in both ways and families, under a few rules."""
    bed = Bed(dataplane, Policies("ports", 10))
    return [
        traffic.run(mode, bed.pod(client), bed.pod("server"), bed.address("server", family), port, MILLISECONDS).rate
        for mode in traffic.MODES
        for client in ("client", "distant")
        for family in (4, 6)
        for port in [FRESH_PORTS[0] if mode == "first" else PORT]
    ]


def told_at_a_closed_port():
    """What the generator says where the policy drops its packets."""
    bed = Bed("nftables", Policies("ports", 10))
    try:
        traffic.run("rr", bed.pod("client"), bed.pod("server"), bed.address("server", 4), 4999, MILLISECONDS)
    except MuslinError as error:
        return str(error)
    return "nothing"


@pytest.mark.parametrize("dataplane", [NO_DATAPLANE, "nftables", "iptables"])
def test_every_kind_of_traffic_passes(sandboxed, dataplane):
    """TCP and UDP, between pods of one node and of two, IPv4 and IPv6."""
    found = sandboxed(rates, dataplane)
    assert len(found) == len(traffic.MODES) * 4
    assert all(busy > 0 and passed > 0 for busy, passed in found)


def test_a_packet_that_is_dropped_is_an_error_and_no_figure(sandboxed):
    """A connection nobody answers ends the run."""
    assert "no answer" in sandboxed(told_at_a_closed_port)
