"""Drift: whatever somebody does to a dataplane's part of the kernel is found, told, and repaired by the next apply."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab
from update_traffic import programs

pytestmark = pytest.mark.live
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")

# dataplane, what somebody does, what is said about it
DAMAGE = [
    (
        "nftables",
        "nft delete rule inet muslin pi-np.shop/base handle {handle}",
        "chain pi-np.shop/base has other rules",
    ),
    ("nftables", "nft insert rule inet muslin forward accept", "chain forward has other rules"),
    ("nftables", "nft flush chain inet muslin dispatch-to-workload", "chain dispatch-to-workload has other rules"),
    ("nftables", "nft flush set inet muslin s-nclients4", "set s-nclients4 (nets4) has other members"),
    ("nftables", "nft add element inet muslin s-nfriends6 {{ fd00::1 }}", "set s-nfriends6 (nets6) has other members"),
    ("nftables", "nft flush map inet muslin to-workload", "set to-workload (verdicts) has other members"),
    ("nftables", "nft add chain inet muslin mine", "chain mine is not ours"),
    ("nftables", "nft delete table inet muslin", "the table inet muslin is gone"),
    ("nftables", "nft add table inet muslin {{ flags dormant; }}", "the table inet muslin is dormant"),
    ("nftables", "nft flush ruleset", "the table inet muslin is gone"),
    ("iptables", "iptables-nft -D FORWARD 1", "the jump in chain FORWARD of table filter"),
    ("iptables", "iptables-nft -F {policy_chain}", "has other rules"),
    ("iptables", "ip6tables-nft -I {policy_chain} -j ACCEPT", "has other rules"),
    ("iptables", "nft add table ip6 filter {{ flags dormant; }}", "table ip6 filter is dormant"),
    ("iptables", "ipset flush {set}", "has other members"),
    ("iptables", "ipset add {set} 10.9.9.0/24", "has other members"),
    ("iptables-legacy", "iptables-legacy -F {policy_chain}", "has other rules"),
    ("iptables-legacy", "iptables-legacy -D INPUT 1", "the jump in chain INPUT of table filter"),
    ("iptables-legacy", "ip6tables-legacy -t raw -F PREROUTING", "the jump in chain PREROUTING of table raw"),
    ("iptables-legacy", "ip6tables-legacy -A {policy_chain} -j ACCEPT", "has other rules"),
    ("iptables-legacy", "ipset flush {set}", "has other members"),
    pytest.param("ebpf", "tc qdisc del dev cali2 clsact", "no programs on interface cali2", marks=AS_ROOT),
    pytest.param("ebpf", "tc filter del dev cali2 egress", "no programs on interface cali2", marks=AS_ROOT),
    pytest.param("ebpf", "nft flush chain inet muslin_ebpf nat_outgoing", "table inet muslin_ebpf", marks=AS_ROOT),
    pytest.param("ebpf", "nft delete table inet muslin_ebpf", "table inet muslin_ebpf", marks=AS_ROOT),
    pytest.param("ebpf", "nft add table inet muslin_ebpf {{ flags dormant; }}", "is dormant", marks=AS_ROOT),
    *(
        pytest.param("ebpf", f"{{meddler}} {name} {what}", f"map {name} is not as it was written", marks=AS_ROOT)
        for name, what in (
            ("members", "delete"),
            ("members", "add"),
            ("members", "change"),
            ("nets", "add"),
            ("sources", "add"),
            ("sources", "delete"),
            ("endpoints", "change"),
            ("endpoints", "delete"),
            ("locals", "delete"),
            ("code", "change"),
            ("policies", "change"),
            ("settings", "change"),
        )
    ),
]


def damaged(dataplane, command):
    """Program, damage, ask, repair: what was said before, then of the damage, then after; and what is in the kernel."""
    lab = Lab(dataplane)
    for wanted in itertools.islice(programs(7), 3):
        lab.dataplane.apply(wanted)
    subprocess.run(["nft", "add table inet somebody"], check=True)
    before, back = lab.dataplane.drift(), lab.dataplane.read_back()
    names = {name: find(back) for name, find in FINDERS.items() if f"{{{name}}}" in command}
    subprocess.run(command.format(**names).split(), check=True, capture_output=True)
    found = lab.dataplane.drift()
    lab.dataplane.forget()
    lab.dataplane.apply(wanted)
    others = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
    return {
        "before": before,
        "found": found,
        "after": lab.dataplane.drift(),
        "repaired": lab.dataplane.read_back() == back,
        "others": "table inet somebody" in others,
    }


def _a_handle(_):
    listing = subprocess.run(
        ["nft", "-a", "list", "chain", "inet", "muslin", "pi-np.shop/base"], check=True, capture_output=True, text=True
    ).stdout
    return listing.rpartition("# handle ")[2].split()[0]


FINDERS = {
    "handle": _a_handle,
    "policy_chain": lambda back: next(name for name in back["ipv4"]["chains"] if "pi" in name).partition(" ")[2],
    "meddler": lambda _: f"{sys.executable} {Path(__file__).with_name('ebpf_meddler.py')}",
    "set": lambda back: next(name for name in back["ipv4"]["sets"] if "clients" in name),
}


@pytest.mark.parametrize(("dataplane", "command", "words"), DAMAGE)
def test_damage_is_found_and_repaired(sandboxed, as_user, dataplane, command, words):
    """Damage of each kind is told in a line, the next apply after forgetting repairs it, and others are left alone."""
    if dataplane == "ebpf" and as_user(["id"]) != ["id"]:
        pytest.skip("only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
    found = sandboxed(damaged, dataplane, command)
    assert found["before"] == ""
    assert words in found["found"]
    assert found["after"] == ""
    assert found["repaired"]
    assert found["others"] == (command != "nft flush ruleset")


def woken(dataplane, table):
    """What is wrong when a table was put to sleep and a plan by itself was carried out."""
    lab = Lab(dataplane)
    (wanted,) = itertools.islice(programs(7), 1)
    lab.dataplane.apply(wanted)
    subprocess.run(["nft", f"add table {table} {{ flags dormant; }}"], check=True)
    found = lab.dataplane.drift()
    lab.dataplane.forget()
    lab.dataplane.apply(lab.dataplane.plan(wanted))
    return [found, lab.dataplane.drift()]


@pytest.mark.parametrize(
    ("dataplane", "table"),
    [
        ("nftables", "inet muslin"),
        ("iptables", "ip filter"),
        pytest.param("ebpf", "inet muslin_ebpf", marks=AS_ROOT),
    ],
)
def test_a_plan_wakes_what_sleeps(sandboxed, as_user, dataplane, table):
    """An apply of a plan repairs what an apply of the program does."""
    if dataplane == "ebpf" and as_user(["id"]) != ["id"]:
        pytest.skip("only root may load eBPF programs (CAP_BPF, CAP_NET_ADMIN)")
    found, after = sandboxed(woken, dataplane, table)
    assert f"table {table} is dormant" in found
    assert after == ""
