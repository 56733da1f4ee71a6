"""Packet traces of the nftables dataplane: each rule a packet meets, named."""

import sys
from pathlib import Path

import pytest

from emulator.dataplane.libnftables import Libnftables
from emulator.nftrace import PacketTrace
from reference.packet import Packet

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, policy, program, rule


def traced():
    """Trace a denied connection, with an allowed one of the same pods beside it."""
    lab = Lab()
    rules = [rule("log", 0), rule("allow", 1, protocol=6, destination_ports=(81,)), rule("deny", 2, protocol=6)]
    tiers = [("default", "deny", ["np:shop/web"])]
    lab.apply(program(ingress=tiers, policies=[policy("np:shop/web", rules)]))
    packet = Packet(source="10.0.0.1", destination="10.0.0.2", protocol=6, destination_port=80)
    with PacketTrace("node-1", lab.dataplane, packet) as trace:
        lab.tcp(1, 2, 81)
        other = len(trace.steps())
        lab.tcp(1, 2, 80)
        steps = trace.steps()
    with Libnftables() as nft:
        left = nft.run("list tables").split("\n")
    return {
        "other": other,
        "named": [[str(step.rule), step.verdict] for step in steps if step.rule],
        "chains": list(dict.fromkeys(step.chain[:8] for step in steps)),
        "last": steps[-1].text.partition(" drop ")[2],
        "left": left,
    }


@pytest.mark.live
def test_a_trace_names_every_rule_on_the_way(sandboxed):
    """The trace goes from the first hook to the drop, names the user's rules, and leaves no table behind."""
    assert sandboxed(traced) == {
        "other": 0,
        "named": [
            ["allow by rule 0 of pro:kns.shop (egress, tier __PROFILE__)", "return"],
            ["log by rule 0 of np:shop/web (ingress, tier default)", "continue"],
            ["deny by rule 2 of np:shop/web (ingress, tier default)", "drop"],
        ],
        "chains": [
            "prerouti",
            "forward",
            "dispatch",
            "walk-out",
            "pro-kns.",
            "walk-in-",
            "pi-np.sh",
        ],
        "last": 'comment "deny by rule 2 of np:shop/web (ingress, tier default)"',
        "left": ["table inet muslin", ""],
    }
