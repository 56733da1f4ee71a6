"""Dataplanes against real packets: what is allowed arrives, what is denied is told with its rule, on each of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from emulator.dataplane.libnftables import Libnftables
from emulator.dataplane.nftables import crowds

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, nets, policy, ports, program, rule

pytestmark = pytest.mark.live


@pytest.fixture(params=["nftables", "iptables", "iptables-legacy"])
def dataplane(request):
    """Whoever implements the contract runs these tests."""
    return request.param


def matches(dataplane):
    """One rule at a time on the ingress of every pod: who gets through to pod 2."""
    lab = Lab(dataplane)
    found = {}
    for number, (match, attempts) in enumerate(MATCHES):
        rules = [rule("allow", 0, **match), rule("deny", 1)]
        wanted = program(
            ingress=[("default", "deny", ["np:shop/web"])],
            policies=[policy("np:shop/web", rules)],
            sets=[
                *nets("nclients", "10.0.0.1/32", "fd00::1/128"),
                *ports("phttp", "10.0.0.2,6,8080", "fd00::2,6,8080"),
            ],
            pods=(1, 2, 3),
        )
        lab.apply(wanted)
        found[number] = "".join("." if (said := run(lab, attempt)) == "allowed" else mark(said) for attempt in attempts)
    return found


def matches_in_crowds():
    """The same where any set that has a member is a crowd."""
    crowds.LARGEST = 0
    return matches("nftables")


def mark(said):
    """X for the deny rule of the table, the words otherwise."""
    return "X" if said.startswith("deny by rule 1 of np:shop/web (ingress, tier default) at cali2") else f"<{said}>"


def run(lab, attempt):
    """One attempt of the table: kind, source, port or ICMP type, family."""
    kind, source, number, family = attempt
    if kind == "icmp":
        return lab.icmp(source, 2, *number, family=family)
    return getattr(lab, kind)(source, 2, number, family)


T4, T6, U4 = ("tcp", 1, 80, 4), ("tcp", 1, 80, 6), ("udp", 1, 80, 4)
OTHER4, OTHER6 = ("tcp", 3, 80, 4), ("tcp", 3, 80, 6)
P4, P6 = ("icmp", 1, (8, 0), 4), ("icmp", 1, (128, 0), 6)


def to(port, family=4):
    """A connection from pod 1 to a port of pod 2."""
    return ("tcp", 1, port, family)


MATCHES = [
    ({}, [T4, T6, U4, P4, P6]),
    ({"family": 6}, [T4, T6, P4, P6]),
    ({"protocol": 6}, [T4, T6, U4, P4]),
    ({"not_protocol": 6}, [T4, T6, U4, P4, P6]),
    (
        {"protocol": 6, "destination_ports": (80, (443, 445), 65535)},
        [T4, to(81), to(443), to(445), to(446), to(65535, 6)],
    ),
    ({"protocol": 6, "destination_ports": ((0, 79),)}, [T4, to(79)]),
    ({"protocol": 6, "not_destination_ports": (80, (443, 445))}, [T4, to(81), to(444), to(446, 6), U4]),
    ({"protocol": 6, "not_destination_ports": ((80, 90),)}, [T4, to(90), to(91), to(79, 6)]),
    ({"source_nets": ("10.0.0.1/32",)}, [T4, OTHER4, T6]),
    ({"source_nets": ("10.0.0.0/30", "10.0.0.1/32", "192.0.2.0/24")}, [T4, OTHER4, T6, ("tcp", "out", 80, 4)]),
    ({"source_nets": ("fd00::/127", "10.0.0.3/32")}, [T4, OTHER4, T6, OTHER6]),
    ({"not_source_nets": ("10.0.0.1/32",)}, [T4, OTHER4, T6]),
    ({"not_source_nets": ("10.0.0.1/32", "192.0.2.0/24", "fd00::1/128")}, [T4, OTHER4, T6, OTHER6]),
    ({"not_source_nets": ("0.0.0.0/0", "fd00::1/128")}, [T4, OTHER4, T6, OTHER6]),
    ({"destination_nets": ("0.0.0.0/0",)}, [T4, T6]),
    ({"not_destination_nets": ("10.0.0.3/32",)}, [T4, T6]),
    ({"source_sets": ("nclients",)}, [T4, OTHER4, T6, OTHER6]),
    ({"not_source_sets": ("nclients",)}, [T4, OTHER4, T6, OTHER6, ("tcp", "out", 80, 6)]),
    ({"source_sets": ("nmissing",)}, [T4, T6]),
    ({"not_source_sets": ("nmissing",), "source_sets": ("nclients",)}, [T4, T6, OTHER4]),
    ({"protocol": 6, "destination_port_sets": ("phttp",)}, [T4, to(8080), to(8080, 6), ("udp", 1, 8080, 4)]),
    (
        {"protocol": 6, "destination_ports": (80,), "destination_port_sets": ("phttp",)},
        [T4, to(8080), to(8080, 6), to(81)],
    ),
    ({"protocol": 6, "not_destination_port_sets": ("phttp",)}, [T4, to(8080), to(8080, 6), T6]),
    ({"protocol": 1, "icmp": (8, None)}, [P4, P6, T4, ("icmp", 1, (13, 0), 4)]),
    ({"protocol": 1, "icmp": (8, 3)}, [P4, ("icmp", 1, (8, 3), 4)]),
    ({"protocol": 58, "icmp": (128, 0)}, [P4, P6, T6]),
    ({"protocol": 1, "not_icmp": (8, None)}, [P4, ("icmp", 1, (13, 0), 4), T4, P6]),
    ({"protocol": 1, "not_icmp": (8, 3)}, [P4, ("icmp", 1, (8, 3), 4), ("icmp", 1, (13, 3), 4)]),
]
WANTED = [
    ".....", "X.X.", "..XX", "XX...", ".X..X.", "X.", "X.X.X", "XX..", ".XX", "..X.", "X..X", "X.X", "X.X.", "XXX.",
    ".X", ".X", ".X.X", "X.X..", "XX", "..X", "X..X", "...X", ".XX.", ".XXX", "X.", "X.X", "X.XX", ".X.",
]  # fmt: skip


def test_every_kind_of_match_decides_real_packets(sandboxed, dataplane):
    """Each match lets through exactly what it says; every denial arrives as a drop that names the rule."""
    assert sandboxed(matches, dataplane) == {str(number): wanted for number, wanted in enumerate(WANTED)}


def test_crowds_decide_real_packets_alike(sandboxed):
    """A set that is several of the kernel's means what it meant."""
    assert sandboxed(matches_in_crowds) == {str(number): wanted for number, wanted in enumerate(WANTED)}


def crowds_known_again():
    """What an agent that starts anew does with crowds it finds, and what it says when somebody flushed a part."""
    crowds.LARGEST = 1
    lab = Lab("nftables")
    tiers = [("default", "deny", ["np:shop/web"])]
    rules = [rule("allow", source_sets=("nclients",))]
    members = ("10.0.0.1/32", "10.9.0.0/16", "fd00::1/128")
    wanted = program(ingress=tiers, policies=[policy("np:shop/web", rules)], sets=nets("nclients", *members))
    lab.apply(wanted)
    lab.dataplane.forget()
    sent = lab.dataplane.apply(wanted).operations
    subprocess.run(["nft", "flush", "set", "inet", "muslin", "s-nclients4.16"], check=True)
    drift = lab.dataplane.drift()
    lab.dataplane.forget()
    return sent, drift, lab.dataplane.apply(wanted).operations, lab.dataplane.drift()


def test_crowds_are_known_again(sandboxed):
    """Nothing is sent for them, and one part that lost its members is mended by itself."""
    assert sandboxed(crowds_known_again) == [0, "set s-nclients4.16 (networks4) has other members", 1, ""]


def walk(dataplane):
    """Tiers, pass, log, end of tier, profiles."""
    lab = Lab(dataplane)
    tiers = [
        ("admin", "pass", ["gnp:guard"]),
        ("team", "deny", ["np:shop/a", "np:shop/b"]),
        ("kube-baseline", "pass", ["gnp:base"]),
    ]
    tcp = {"protocol": 6}
    guard = [
        rule("log", 0),
        rule("pass", 1, destination_ports=(81,), **tcp),
        rule("deny", 2, destination_ports=(82,), **tcp),
    ]
    passes = [rule("pass", 0, destination_ports=(84,), **tcp)]
    allows = [
        rule("allow", 0, destination_ports=((80, 84),), **tcp),
        rule("pass", 3, destination_ports=(85, 86), **tcp),
    ]
    policies = [
        policy("gnp:guard", guard, tier="admin"),
        policy("np:shop/a", passes, tier="team"),
        policy("np:shop/b", allows, tier="team"),
        policy("gnp:base", [rule("deny", 0, destination_ports=(86,), **tcp)], tier="kube-baseline"),
    ]
    lab.apply(program(ingress=tiers, policies=policies))
    found = {str(port): lab.tcp(1, 2, port) for port in (80, 81, 82, 83, 84, 85, 86, 87)}
    lab.apply(program(ingress=tiers, policies=policies, profiles=()))
    found["no profile"] = lab.tcp(1, 2, 85, 6)
    lab.apply(
        program(
            egress=[("team", "deny", ["np:shop/out"])], policies=[policy("np:shop/out", (), [rule("deny", 5)], "team")]
        )
    )
    found["egress"] = lab.tcp(1, 2, 80)
    return found


def test_the_walk(sandboxed, dataplane):
    """POL-12 … POL-15: tiers in order, pass leaves the tier, its end denies unless it passes, then profiles."""
    assert sandboxed(walk, dataplane) == {
        "80": "allowed",
        "81": "allowed",
        "82": "deny by rule 2 of gnp:guard (ingress, tier admin) at cali2",
        "83": "allowed",
        "84": "allowed",
        "85": "allowed",
        "86": "deny by rule 0 of gnp:base (ingress, tier kube-baseline) at cali2",
        "87": "deny by end of tier (ingress, tier team) at cali2",
        "no profile": "no profile matched (egress) at cali1",
        "egress": "deny by rule 5 of np:shop/out (egress, tier team) at cali1",
    }


def guards(dataplane):
    """Spoofing, unknown interfaces, pod to host, host to pod, hosts beyond."""
    lab = Lab(dataplane)
    lab.apply(program(ingress=[("default", "deny", ["np:shop/none"])], policies=[policy("np:shop/none")]))
    found = {f"host to pod {family}": lab.tcp("node", 2, 80, family) for family in (4, 6)}
    found["outside to pod"] = lab.tcp("out", 2, 80)
    lab.apply(program())
    for family in (4, 6):
        found[f"pod to host {family}"] = lab.tcp(1, "node", 80, family)
        found[f"pod to pod {family}"] = lab.tcp(1, 2, 80, family)
        found[f"pod to outside {family}"] = lab.tcp(1, "out", 80, family)
        found[f"outside to host {family}"] = lab.tcp("out", "node", 80, family)
        found[f"to unknown pod {family}"] = lab.tcp(1, 3, 80, family)
    found["unknown pod"] = lab.tcp(3, 2, 80)  # over IPv6 it does not even find its gateway
    found["spoofed 4"] = lab.udp(1, 2, 80, bind=spoof(lab, "10.0.0.9/32"))
    found["spoofed 6"] = lab.udp(1, 2, 80, 6, bind=spoof(lab, "fd00::9/128"))
    lab.apply(program(egress=[("default", "deny", ["np:shop/none"])], policies=[policy("np:shop/none")]))
    found["policy before host"] = lab.tcp(1, "node", 80)
    return found


def spoof(lab, address):
    """Give pod 1 an address that is not its own."""
    from emulator.namespaces import entered

    with entered(lab.hosts[1]):
        subprocess.run(
            ["ip", "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else [])], check=True
        )
    return address.partition("/")[0]


def test_guards(sandboxed, dataplane):
    """CT-1, CT-5, HEP-12, POL-19: what no policy decides, in both families; neighbour discovery works."""
    both = {
        "pod to host": "to host (egress) at cali1",
        "pod to pod": "allowed",
        "pod to outside": "allowed",
        "outside to host": "allowed",
        "to unknown pod": "unknown interface (ingress) at cali3",
        "host to pod": "allowed",
        "spoofed": "spoofed (egress) at cali1",
    }
    assert sandboxed(guards, dataplane) == {
        **{f"{name} {family}": said for name, said in both.items() for family in (4, 6)},
        "unknown pod": "unknown interface (egress) at cali3",
        "outside to pod": "deny by end of tier (ingress, tier default) at cali2",
        "policy before host": "deny by end of tier (egress, tier default) at cali1",
    }


def established(dataplane):
    """An open connection while policy turns against it, and a segment of none."""
    import socket

    lab = Lab(dataplane)
    lab.apply(program())
    with (
        lab.socket_in(2, socket.AF_INET, socket.SOCK_STREAM) as server,
        lab.socket_in(1, socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        server.bind((lab.address(2), 80))
        server.listen()
        client.settimeout(3)
        client.connect((lab.address(2), 80))
        connection, _ = server.accept()
        connection.settimeout(3)
        deny = program(ingress=[("default", "deny", ["np:shop/no"])], policies=[policy("np:shop/no")])
        lab.apply(deny)
        client.send(b"still here")
        said = connection.recv(100).decode()
        new = lab.tcp(1, 2, 81)
        connection.close()
    with (
        lab.socket_in(1, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw,
        lab.socket_in(2, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as server,
    ):
        lab.apply(program())
        raw.sendto(bytes.fromhex("9c400050 00000001 00000001 50140000 00000000"), (lab.address(2), 0))
        invalid = lab.outcome(server)
    return {"old": said, "new": new, "invalid": invalid}


def test_connections_outlive_policy(sandboxed, dataplane):
    """CT-2: an established flow is never cut by a policy; a new one is denied; a segment of no flow is invalid."""
    assert sandboxed(established, dataplane) == {
        "old": "still here",
        "new": "deny by end of tier (ingress, tier default) at cali2",
        "invalid": "invalid (egress) at cali1",
    }


def masquerade(dataplane):
    """Who an outside host and a pod see."""
    import socket

    lab = Lab(dataplane)
    pools = frozenset({"10.0.0.0/24", "fd00::/64"})
    lab.apply(program(nat_sources=pools, pools=pools))
    found = {}
    for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        for target in ("out", 2):
            with (
                lab.socket_in(target, kind, socket.SOCK_DGRAM) as server,
                lab.socket_in(1, kind, socket.SOCK_DGRAM) as client,
            ):
                server.bind((lab.address(target, family), 53))
                server.settimeout(3)
                client.sendto(b"?", (lab.address(target, family), 53))
                found[f"{target} {family}"] = server.recvfrom(10)[1][0]
    return found


def test_masquerade_only_beyond_the_pools(sandboxed, dataplane):
    """NAT-1: an address in no pool sees the node, a pod sees the pod."""
    assert sandboxed(masquerade, dataplane) == {
        "out 4": "192.0.2.1",
        "out 6": "2001:db8::1",
        "2 4": "10.0.0.1",
        "2 6": "fd00::1",
    }


def counts(dataplane):
    """Counters after known packets, summed over the kernel rules of one user's rule."""
    lab = Lab(dataplane)
    rules = [rule("log", 0), rule("allow", 1, protocol=6, source_sets=("nclients",)), rule("deny", 2)]
    members = nets("nclients", "10.0.0.1/32", "fd00::1/128")
    lab.apply(
        program(ingress=[("default", "deny", ["np:shop/web"])], policies=[policy("np:shop/web", rules)], sets=members)
    )
    for family in (4, 6):
        lab.tcp(1, 2, 80, family)
    lab.udp(1, 2, 80)
    counted = {str(ref): counter.packets for ref, counter in lab.dataplane.counters().items() if counter.packets}
    return {words: number for words, number in counted.items() if "np:shop/web" in words}


def test_counters_of_rules(sandboxed, dataplane):
    """A user's rule has counted each packet it matched once, whatever family."""
    assert sandboxed(counts, dataplane) == {
        "log by rule 0 of np:shop/web (ingress, tier default)": 3,
        "allow by rule 1 of np:shop/web (ingress, tier default)": 2,
        "deny by rule 2 of np:shop/web (ingress, tier default)": 1,
    }


def histories():
    """The same end by many roads, a stranger's table, and a second dataplane that takes over."""
    from emulator.dataplane.nftables.dataplane import NftablesDataplane

    with Libnftables() as nft:
        nft.run("add table inet foreign; add chain inet foreign c; add rule inet foreign c counter")
    tiers = [("default", "deny", ["np:shop/a", "np:shop/b"])]
    a, b = (
        policy("np:shop/a", [rule("allow", 0, source_sets=("n1",))]),
        policy("np:shop/b", [rule("deny", 0, protocol=6, destination_ports=(1, 9))]),
    )
    end = program(ingress=tiers, policies=[a, b], sets=nets("n1", "10.0.0.0/25", "10.0.0.128/32"), pods=(1, 2))
    stages = [
        program(),
        program(ingress=tiers, policies=[a], pods=(1, 3), sets=nets("n1", "10.0.0.0/24")),
        program(ingress=tiers, policies=[b, a], sets=nets("n2", "10.0.0.0/24"), pods=()),
        program(
            ingress=tiers[:1],
            policies=[policy("np:shop/a", [rule("pass", 0)]), b],
            nat_sources=frozenset({"10.0.0.0/8"}),
        ),
    ]
    step = NftablesDataplane()
    for stage in stages:
        step.apply(stage)
    first, again = (
        step.apply(end),
        step.apply(
            program(ingress=tiers, policies=[a, b], sets=nets("n1", "10.0.0.0/25", "10.0.0.128/32"), pods=(1, 2))
        ),
    )
    by_steps = step.read_back()
    fresh = NftablesDataplane()
    fresh.apply(end)
    at_once = fresh.read_back()
    with Libnftables() as nft:
        nft.run("delete table inet muslin")
        step.apply(stages[0])
        step.apply(end)
        healed = step.read_back()
        step.clean()
        left = nft.run("list ruleset").replace("\t", "").replace("\n", " ")
    return {
        "path does not matter": by_steps == at_once and len(str(at_once)) > 1000,
        "healed": healed == at_once,
        "sent": first.operations > 0,
        "sent again": [again.operations, again.bytes],
        "left": left,
    }


def test_history_does_not_matter(sandboxed):
    """Invariant 28: one state, one table, by whatever road; twice sends nothing; a foreign table is untouched."""
    assert sandboxed(histories) == {
        "path does not matter": True,
        "healed": True,
        "sent": True,
        "sent again": [0, 0],
        "left": "table inet foreign { chain c { counter packets 0 bytes 0 } } ",
    }


def turning():
    """A set's members change beside rules, an agent takes over, members change alone."""
    from emulator.dataplane import DATAPLANES

    def of(port, *members):
        rules = [rule("allow", protocol=6, destination_ports=(port,), source_sets=("n",))]
        tiers = [("default", "deny", ["np:shop/web"])]
        return program(ingress=tiers, policies=[policy("np:shop/web", rules)], sets=nets("n", *members), pods=(1, 2, 3))

    lab = Lab()
    lab.apply(of(80, "10.0.0.3/32"))
    before = [lab.tcp(1, 2, 80)[:7], lab.tcp(3, 2, 80)]
    lab.apply(of(81, "10.0.0.1/32"))
    after = [lab.tcp(1, 2, 81), lab.tcp(3, 2, 81)[:7]]
    successor = DATAPLANES["nftables"]()
    taken_over = successor.apply(of(81, "10.0.0.1/32"))
    drift, back = successor.drift(), successor.read_back()
    with Libnftables() as nft:
        names = [
            name for name in ("s-n4", "z-n4", "s-n6", "z-n6") if f"set {name} " in nft.run("list table inet muslin")
        ]
    added = successor.apply(of(81, "10.0.0.1/32", "10.0.0.3/32"))
    both = lab.tcp(3, 2, 81)
    successor.clean()
    successor.apply(of(81, "10.0.0.1/32"))
    return {
        "outcomes": [*before, *after, both],
        "taken over": [taken_over.operations, drift],
        "names": names,
        "added": added.operations,
        "the same as at once": back == successor.read_back(),
    }


def test_a_set_that_took_its_turn_is_known_again(sandboxed):
    """Under its other name it is read, found by an agent that takes over, and changes in place."""
    assert sandboxed(turning) == {
        "outcomes": ["deny by", "allowed", "allowed", "deny by", "allowed"],
        "taken over": [0, ""],
        "names": ["z-n4", "s-n6"],
        "added": 1,
        "the same as at once": True,
    }
