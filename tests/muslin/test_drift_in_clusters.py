"""A running cluster repairs what others do to its nodes' kernels, and notes it."""

import os
import time

import pytest
from click.testing import CliRunner

import muslin
from muslin.cli.logs import log as log_command
from reference.replay import verify_programs

pytestmark = pytest.mark.live

POD = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}}
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "default"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
NOT_FIRST = "the jump in chain FORWARD of table filter is not there once and first"
DAMAGE = [
    ("nftables", "nft delete table inet muslin", "the table inet muslin is gone"),
    ("nftables", "nft flush chain inet muslin forward", "chain forward has other rules"),
    ("nftables", "nft flush set inet muslin workload-sources4", "set workload-sources4 (sources4) has other members"),
    ("iptables", "iptables-nft -F FORWARD", NOT_FIRST),
    ("iptables", "ipset flush cali40workload-sources", "set cali40workload-sources has other members"),
    ("iptables-legacy", "iptables-legacy -D FORWARD 1", NOT_FIRST),
    ("iptables-legacy", "ip6tables-legacy -F cali-FORWARD", "chain filter cali-FORWARD has other rules"),
    ("iptables-legacy", "ipset flush cali60workload-sources", "set cali60workload-sources has other members"),
    pytest.param("ebpf", "tc qdisc del dev {interface} clsact", "no programs on interface {interface}", marks=AS_ROOT),
    pytest.param("ebpf", "nft flush ruleset", "table inet muslin_ebpf is gone", marks=AS_ROOT),
]


@pytest.mark.parametrize(("dataplane", "damage", "words"), DAMAGE)
def test_drift_is_repaired_within_a_second_and_noted(tmp_path, dataplane, damage, words):
    """What somebody changed on a node is as it was within a second, told by log and list, and the log verifies."""
    log = tmp_path / "log.db"
    with muslin.Cluster(nodes=2, dataplane=dataplane, log=log) as cluster:
        cluster.apply([{**POD, "metadata": {"name": name, "namespace": "default"}} for name in ("a", "b")], DENY)
        assert not cluster.probe("default/a", "default/b").allowed
        endpoint = cluster.state.endpoints["default", "b"]
        command = damage.format(interface=endpoint.interface).split()
        began = time.monotonic()
        assert cluster.execute(f"node/{endpoint.node}", command) == 0
        while not (drifts := cluster.call("status")["drift"]):
            assert time.monotonic() < began + 1.5, "the damage was not found"
            time.sleep(0.01)
        assert time.monotonic() < began + 1.0
        assert drifts == {endpoint.node: 1}
        assert not cluster.probe("default/a", "default/b").allowed
        time.sleep(1.0)
        assert cluster.call("status")["drift"] == drifts, "a repair is no drift"
        (notice,) = cluster.log.notices()
        assert (notice.node, notice.kind, notice.seq) == (endpoint.node, "drift", cluster.state.seq)
        assert words.format(interface=endpoint.interface) in notice.text
        assert verify_programs(cluster.log) == []
    shown = CliRunner().invoke(log_command, [str(log), "--observations"])
    assert f"drift {notice.text}" in shown.output


@pytest.mark.parametrize("name", ["nftables", "iptables"])
def test_a_trace_is_no_drift(name):
    """Tracing a packet puts rules into the kernel for a while; nobody takes that for damage."""
    with muslin.Cluster(nodes=1, dataplane=name) as cluster:
        cluster.apply([{**POD, "metadata": {"name": one, "namespace": "default"}} for one in ("a", "b")])
        began = time.monotonic()
        while time.monotonic() < began + 1.5:
            assert cluster.explain("default/a", "default/b").steps
        assert cluster.call("status")["drift"] == {}
