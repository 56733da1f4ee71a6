"""Instructions, places and keys of the eBPF dataplane (pure: no kernel)."""

from __future__ import annotations

import struct
import sys
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import policy, program, rule

from emulator.dataplane.ebpf import dataplane as ebpf
from emulator.dataplane.ebpf import hosts, layout
from emulator.dataplane.ebpf.encode import Numbering, rules, walks, words
from emulator.dataplane.ebpf.pool import Pool
from reference.errors import EnvironmentLacksError
from reference.packet import Packet
from reference.program.types import Failsafe, Failsafes, HostEndpointProgram, Match, TierStep, Walk

SETS = {"n1": 1, "n2": 2, "pweb": 3}
NUMBERS = Numbering(sets=defaultdict(lambda: 9, SETS), policy=lambda id_: 3, reference=lambda place, last: 12)
TCP = {"protocol": 6}


def code_of(policy, **more):
    """The instructions of a policy."""
    code = rules([policy.ingress], [(policy.tier, policy.id, "ingress")], NUMBERS, **more)
    assert code.lengths == [len(code.instructions) // layout.INSTRUCTION.size]
    return code.instructions


def listed(code):
    """Each instruction in a word or three: what, where it goes, of what."""
    said = []
    for at in range(0, len(code), layout.INSTRUCTION.size):
        what, when_true, of_destination, skip, argument = words(code[at : at + layout.INSTRUCTION.size])
        side = " of destination" if of_destination else ""
        way = f" {'+' if when_true else '-'}{skip}" if skip else ""
        said.append(f"{what}{side} {argument:x}{way}")
    return said


# fmt: off
MATCHES = [
    # what the rule asks                                  its instructions; +n: n on when it holds, -n: when it does not
    ({}, ["allow 10"]),
    ({"family": 6, **TCP}, ["family 6 -3", "protocol 6 -2", "allow 10"]),
    ({"source_ports": (7,), **TCP}, ["TCP ports 70007 -2", "allow 10"]),
    ({"not_source_ports": (7,), **TCP}, ["protocol 6 -3", "ports 70007 +2", "allow 10"]),
    ({"source_ports": (7,), "source_port_sets": ("pweb",), **TCP},
     ["protocol 6 -4", "ports 70007 +2", "address and port 3 -2", "allow 10"]),
    ({"source_ports": (7,), "protocol": 136}, ["protocol 88 -3", "ports 70007 -2", "allow 10"]),
    ({"not_protocol": 17}, ["protocol 11 +2", "allow 10"]),
    ({"icmp": (8, None)}, ["icmp type 8 -2", "allow 10"]),
    ({"not_icmp": (8, 3)}, ["icmp type and code 803 +2", "allow 10"]),
    ({"destination_ports": (80, (90, 99))},
     ["ports of destination 500050 +2", "ports of destination 5a0063 -2", "allow 10"]),
    ({"not_source_ports": (80, 81)}, ["ports 500050 +3", "ports 510051 +2", "allow 10"]),
    ({"destination_ports": (80,), "destination_port_sets": ("pweb",)},
     ["ports of destination 500050 +2", "address and port of destination 3 -2", "allow 10"]),
    ({"source_sets": ("n1", "n2")}, ["address 1 -3", "address 2 -2", "allow 10"]),
    ({"not_destination_sets": ("n1",)}, ["address of destination 1 +2", "allow 10"]),
    ({"source_nets": ("10.0.0.0/8", "fd00::/8")}, ["address 9 -2", "allow 10"]),
    ({"not_source_nets": ("10.0.0.0/8",)}, ["family 4 -3", "address 9 +2", "allow 10"]),
    ({"not_source_nets": ("10.0.0.0/8", "fd00::/8")}, ["address 9 +2", "allow 10"]),
]
# fmt: on


@pytest.mark.parametrize(("match", "wanted"), MATCHES, ids=lambda value: "" if isinstance(value, list) else str(value))
def test_a_rule_is_its_tests_and_its_action(match, wanted):
    """A test that fails goes behind the action; alternatives meet before what follows them (RULE-1, RULE-5)."""
    code = code_of(policy("np:a/b", [rule("allow", 0, **match)]))
    assert listed(code) == [*wanted, "end 0"]


def test_every_field_of_a_match_is_asked():
    """No field of a match is left out: each gives at least one instruction."""
    values = {"family": 4, "protocol": 6, "not_protocol": 6, "icmp": (1, 1), "not_icmp": (1, 1)}
    for name in Match.__struct_fields__:  # each by itself: a protocol may be asked for together with ports
        default = ("10.0.0.0/8",) if name.endswith("nets") else (80,) if name.endswith("_ports") else ("n1",)
        code = code_of(policy("np:a/b", [rule("allow", 0, **{name: values.get(name, default)})]))
        assert len(code) > len(code_of(policy("p", [rule("allow", 0)]))), name


def test_a_walk_goes_on_behind_the_tier_that_passes():
    """POL-13, POL-14: a pass leaves the tier, past its end; of profiles it goes to the next."""
    tiers = (
        TierStep(tier="a", default_action="deny", policies=("gnp:1", "gnp:2")),
        TierStep(tier="b", default_action="pass", policies=("gnp:3",)),
    )
    code = walks([Walk(id="w", direction="egress", tiers=tiers, profiles=("pro:x",))] * 2, NUMBERS)
    assert code.lengths == [6, 6]
    assert listed(code.instructions) == 2 * [
        "policy 7 -3",
        "policy 7 -2",
        "deny d",
        "policy 7 -1",
        "policy 7 -1",
        "deny 5",
    ]


def test_a_rule_too_long_to_skip_is_refused():
    """What the instructions cannot say is refused by name, not cut short."""
    many = rule("allow", 0, destination_ports=tuple((n, n) for n in range(65536)))
    with pytest.raises(EnvironmentLacksError, match="more than 65535 parts"):
        code_of(policy("np:a/b", [many]))


def test_parts_this_dataplane_does_not_know_are_refused(monkeypatch):
    """Architecture rule 9: a program with a part that came later than this dataplane is refused by the part's name."""
    guard = HostEndpointProgram(name="h", interface="eth0", ingress="w", egress="w")
    strange = msgspec.structs.replace(program(), host_endpoints=program().endpoints.set("eth0", guard))
    ebpf.refuse_unknown_parts(strange)
    monkeypatch.setattr(ebpf, "_DECIDING_PARTS", [name for name in ebpf._DECIDING_PARTS if name != "host_endpoints"])
    with pytest.raises(EnvironmentLacksError, match="node-1: the ebpf dataplane cannot express host endpoints yet"):
        ebpf.refuse_unknown_parts(strange)
    ebpf.refuse_unknown_parts(program(to_host="accept"))


def test_failsafe_ports_are_left_alone_by_peer_and_way():
    """HEP-9: inbound by source, outbound by destination; untracked lists name answers, normal ones open ports."""
    safe = Failsafes(
        inbound=(Failsafe(protocol=6, port=22, net="10.0.0.0/8"),), outbound=(Failsafe(protocol=17, port=53),)
    )
    guard = HostEndpointProgram(name="h", interface="eth0", ingress="w", egress="w")
    guarded = program(host_endpoints=Map({"eth0": guard}), failsafes=safe, open_ports=(51820,))
    ssh = ["family 4 -4", "TCP ports of destination 160016 -3", "address 9 -2", "allow 10"]
    dns = ["UDP ports of destination 350035 -2", "allow 10"]
    wireguard = ["UDP ports of destination ca6cca6c -2", "allow 10"]
    ssh_answers = ["family 4 -4", "TCP ports 160016 -3", "address of destination 9 -2", "allow 10"]
    dns_answers = ["UDP ports 350035 -2", "allow 10"]
    listed_ports = {
        p.id.removeprefix(hosts.SAFE_PREFIX): listed(code_of(p, of_walk=False)) for p in hosts.safe_ports(guarded)
    }
    assert listed_ports == {
        "in": [*ssh, "go on 0"],
        "in, answers too": [*ssh, *dns_answers, "go on 0"],
        "in, open ports too": [*wireguard, *ssh, "go on 0"],
        "out": [*dns, "go on 0"],
        "out, answers too": [*dns, *ssh_answers, "go on 0"],
        "out, open ports too": [*wireguard, *dns, "go on 0"],
    }
    assert list(hosts.safe_ports(program(failsafes=safe))) == []


def test_lists_of_an_interface():
    """HEP-4, HEP-11: `*` has no untracked lists, and of pods' interfaces it has only what is early or forwarded.

    Trap 29 (BPF-8): doNotTrack has a list of the programs' own both ways; nothing of it is left to iptables.
    """
    names = ("untracked_ingress", "untracked_egress", "pre_dnat", "forward_ingress", "forward_egress")
    own = HostEndpointProgram(name="o", interface="eth0", ingress="in", egress="out", **{name: name for name in names})
    every = msgspec.structs.replace(own, name="e", interface="*", pre_dnat="every_pre_dnat")
    guarded = program(host_endpoints=Map({"eth0": own, "*": every}))
    found = {name: [hosts.lists(guarded, name, d).walks for d in layout.DIRECTIONS] for name in ("eth0", "lo", "cali1")}
    forwarded = ("", "", "", "forward_egress")
    assert found == {
        "eth0": [
            ("untracked_ingress", "pre_dnat", "in", "forward_ingress"),
            ("untracked_egress", "", "out", "forward_egress"),
        ],
        "lo": [("", "every_pre_dnat", "in", "forward_ingress"), ("", "", "out", "forward_egress")],
        "cali1": [("", "every_pre_dnat", "", "forward_ingress"), forwarded],
    }
    assert hosts.lists(program(host_endpoints=Map({"eth0": own})), "cali1", "ingress") is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=60))
def test_places_never_overlap_and_all_come_back(steps):
    """Ranges that are taken lie apart; when all are given back, the whole is one piece again."""
    pool = Pool(64)
    taken: list[tuple[int, int]] = []
    for take, length in steps:
        if take:
            start = pool.take(length)
            if start is None:
                continue
            assert all(start + length <= other or other + size <= start for other, size in taken)
            assert start + length <= 64
            taken.append((start, length))
        elif taken:
            pool.give_back(*taken.pop(length % len(taken)))
        assert pool.free == 64 - sum(size for _, size in taken)
    for each in taken:
        pool.give_back(*each)
    assert pool.take(64) == 0


MEMBERS = [
    "10.0.0.1/32",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "fd00::1/128",
    "fd00::/64",
    "::/0",
    "10.0.0.1,6,80",
    "fd00::1,17,53",
]


@pytest.mark.parametrize("member", MEMBERS)
def test_members_survive_the_way_into_a_key_and_back(member):
    """A single address or named port goes to one map, a wider net to the other, with its length."""
    number = layout.set_number(5, 6 if ":" in member else 4)
    hosts, nets = layout.member_keys(number, [member])
    is_net = "/" in member and not member.endswith(("/32", "/128"))
    assert (len(hosts), len(nets)) == (not is_net, is_net)
    (key,) = nets or hosts
    assert (layout.net_text if is_net else layout.member_text)(key) == (number, member)
    assert list(nets.values()) == ([int(member.partition("/")[2])] if is_net else [])


@pytest.mark.parametrize("family", layout.FAMILIES)
def test_every_member_has_a_key_of_its_own(family):
    """Many at once are what each is by itself: addresses, nets and named ports beside each other."""
    members = [member for member in MEMBERS if (":" in member) == (family == 6)]
    number = layout.set_number(5, family)
    each = [layout.member_keys(number, [member]) for member in members]
    together = layout.member_keys(number, members)
    assert sorted(together.hosts) == sorted(key for keys in each for key in keys.hosts)
    assert together.nets == {key: prefix for keys in each for key, prefix in keys.nets.items()}


def test_events_are_read_as_the_kernel_writes_them():
    """The fields of an event, at the offsets of the C structure."""
    data = struct.pack(
        "=16s16sQIIHHHBBBBBBII4x",
        layout.packed("10.0.0.1"),
        layout.packed("10.0.0.2"),
        0,
        1000,
        17,
        1,
        2,
        1,
        4,
        6,
        0,
        0,
        0,
        2,
        3,
        99,
    )
    packet = Packet(source="10.0.0.1", destination="10.0.0.2", protocol=6, source_port=1, destination_port=2)
    assert layout.event(data) == layout.Event(packet, 1000, "egress", 17, layout.DROPPED, layout.DROP, 3, 99)
