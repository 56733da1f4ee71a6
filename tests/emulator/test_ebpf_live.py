"""The eBPF dataplane keeps what the nftables one is tested for: the same tests, with real packets."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import test_nftables_live as suite

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)"),
]
SHARED = [
    suite.test_every_kind_of_match_decides_real_packets,
    suite.test_the_walk,
    suite.test_guards,
    suite.test_connections_outlive_policy,
    suite.test_masquerade_only_beyond_the_pools,
    suite.test_counters_of_rules,
]


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def on_ebpf(name):
    """A function of the shared suite, with this dataplane in its lab."""
    import nftables_lab

    from emulator.dataplane.ebpf.dataplane import EbpfDataplane

    nftables_lab.NftablesDataplane = EbpfDataplane
    nftables_lab.DropListener = lambda node, dataplane: dataplane.drops(node)
    return getattr(suite, name)()


@pytest.mark.parametrize("test", SHARED, ids=lambda test: test.__name__.removeprefix("test_"))
def test_shared(sandboxed, test):
    """What a test of the nftables dataplane states holds for this one."""
    test(lambda function: sandboxed(on_ebpf, function.__name__))
