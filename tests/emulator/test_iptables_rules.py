"""What rules look like: names within limits, matches in as many rules as xtables needs."""

import pytest
from msgspec import structs

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.iptables.base import dispatch_chains
from emulator.dataplane.iptables.chains import policy_chains, walk_to_chain
from emulator.dataplane.iptables.hosts import FROM_UNTRACKED, host_chains
from emulator.dataplane.iptables.kernel import kernel_member, program_member
from emulator.dataplane.iptables.matching import Needs, conditions, refuse_unsayable, slots
from emulator.dataplane.iptables.names import chain_name, log_prefix, policy_chain, set_name
from emulator.dataplane.iptables.trace import verdict_of
from emulator.dataplane.references import no_program
from reference.errors import EnvironmentLacksError
from reference.program.types import EndpointProgram, Match, PolicyProgram, PortRange, ProgramRule, TierStep, Walk


def ranges(*ports):
    """Ports given as numbers or (low, high)."""
    return tuple(PortRange(*([p, p] if isinstance(p, int) else p)) for p in ports)


def lit(*members):
    """The name of the literal set with these members, with the digit for IPv4."""
    needs = Needs(4)
    needs.in_nets(members, "src", positive=True)
    ((spec, _),) = needs.literals
    return spec.name


NET = ("10.0.0.0/8", "192.0.2.0/24")
TEN = "10.0.0.0/8"
MATCHES = [
    ({}, [""]),
    ({"family": 6}, []),
    ({"protocol": 17}, ["-p 17"]),
    ({"not_protocol": 6}, ["! -p 6"]),
    ({"protocol": 6, "not_protocol": 6}, []),
    ({"protocol": 6, "not_protocol": 17}, ["-p 6"]),
    ({"protocol": 58}, []),
    ({"protocol": 1, "icmp": (8, None)}, ["-p 1 -m icmp --icmp-type 8"]),
    ({"protocol": 1, "not_icmp": (3, 1)}, ["-p 1 -m icmp ! --icmp-type 3/1"]),
    ({"not_icmp": (3, 1)}, ["! -p 1", "-p 1 -m icmp ! --icmp-type 3/1"]),
    ({"not_icmp": (3, 1), "not_protocol": 1}, ["! -p 1"]),
    ({"protocol": 6, "destination_ports": ranges(80, (90, 99))}, ["-p 6 -m multiport --dports 80,90:99"]),
    ({"protocol": 6, "not_source_ports": ranges(80)}, ["-p 6 -m multiport ! --sports 80"]),
    (
        {"source_ports": ranges(53)},
        ["-p 6 -m multiport --sports 53", "-p 17 -m multiport --sports 53", "-p 132 -m multiport --sports 53"],
    ),
    (
        {"protocol": 6, "destination_ports": ranges(80), "destination_port_sets": ("px",)},
        ["-p 6 -m multiport --dports 80", "-p 6 -m set --match-set cali40px dst,dst"],
    ),
    ({"not_source_port_sets": ("px",)}, ["-m set ! --match-set cali40px src,src"]),
    ({"source_nets": (TEN,), "destination_nets": ("192.0.2.1/32",)}, ["-s 10.0.0.0/8 -d 192.0.2.1/32"]),
    ({"source_nets": ("0.0.0.0/0",)}, [""]),
    ({"not_source_nets": ("0.0.0.0/0",)}, []),
    ({"source_nets": ("fd00::/8",)}, []),
    ({"source_nets": NET}, [f"-m set --match-set {lit(*NET)} src"]),
    (
        {"source_nets": (TEN,), "not_source_nets": ("10.1.0.0/16",)},
        [f"-s 10.0.0.0/8 -m set ! --match-set {lit('10.1.0.0/16')} src"],
    ),
    (
        {"source_sets": ("na", "nb"), "not_destination_sets": ("nc",)},
        ["-m set --match-set cali40na src -m set --match-set cali40nb src -m set ! --match-set cali40nc dst"],
    ),
]


@pytest.mark.parametrize(("match", "wanted"), MATCHES)
def test_matches(match, wanted):
    """A Match becomes these IPv4 rules (IPT-3)."""
    assert list(conditions(Match(**match), Needs(4))) == wanted


def test_what_two_negations_cannot_say_is_refused():
    """Never is a condition left out: what cannot be said is refused, by name."""
    with pytest.raises(EnvironmentLacksError, match="neither protocol 6 nor ICMP"):
        list(conditions(Match(not_protocol=6, not_icmp=(8, None)), Needs(4)))


def test_a_program_is_refused_before_any_of_it_is_written():
    """What one family cannot say is known without writing rules of the other."""
    rules = [ProgramRule(action="allow", index=0, match=Match(not_protocol=1, not_icmp=(8, None)))]
    web = PolicyProgram(id="np:shop/web", tier="default", egress=tuple(rules))
    wanted = no_program("n")
    refuse_unsayable(wanted)
    with pytest.raises(EnvironmentLacksError, match="neither protocol 1 nor ICMP"):
        refuse_unsayable(structs.replace(wanted, policies=wanted.policies.set(web.id, web)))


def test_multiport_holds_fifteen():
    """A range takes two of multiport's slots; further ports go to further lists, none twice."""
    made = list(slots(ranges(*range(1, 40, 2), *((n, n + 5) for n in range(100, 200, 10)))))
    assert all(sum(2 if ":" in part else 1 for part in words.split(",")) <= 15 for words in made)
    parts = [part for words in made for part in words.split(",")]
    assert len(parts) == len(set(parts)) == 30


def test_many_forbidden_ports_are_one_rule():
    """None of these ports: every list in the same rule."""
    (one,) = conditions(Match(protocol=6, not_destination_ports=ranges(*range(1, 40, 2))), Needs(4))
    assert one.count("! --dports") == 2


def test_actions():
    """Allow and pass go where a mark is set, deny tells and drops, log tells (IPT-3); the rule that counts is named."""
    rules = [ProgramRule(action=a, index=n, match=Match()) for n, a in enumerate(("allow", "pass", "deny", "log"))]
    (chain,) = policy_chains(PolicyProgram(id="np:shop/web", tier="default", ingress=tuple(rules)), 4)
    nflog = "-j NFLOG --nflog-group {} --nflog-size 128 --nflog-prefix"
    assert [(rule.text, rule.ref.rule if rule.ref else None) for rule in chain.rules] == [
        ("-g cali-allowed", 0),
        ("-g cali-passed", 1),
        (f'{nflog.format(1)} "ingress|default|np:shop/web|2"', None),
        ("-j DROP", 2),
        (f'{nflog.format(2)} "ingress|default|np:shop/web|3"', 3),
    ]
    assert [(group.name, *(rule.text for rule in group.rules)) for group in chain.groups] == [
        ("cali-allowed", "-j MARK --set-xmark 0x10000/0x10000"),
        ("cali-passed", "-j MARK --set-xmark 0x20000/0x20000"),
    ]
    assert chain.name == "cali-pi-np.shop/web"


def test_the_walk():
    """IPT-2: a tier's jumps while undecided, return if accepted, drop at its end unless passed; profiles; drop."""
    tiers = (
        TierStep(tier="a", default_action="pass", policies=("gnp:x",)),
        TierStep(tier="b", default_action="deny", policies=("np:s/y", "np:s/z")),
    )
    chain = walk_to_chain(Walk(id="w", direction="ingress", tiers=tiers, profiles=("pro:kns.s",)))
    accepted, undecided = "-m mark --mark 0x10000/0x10000 -j RETURN", "-m mark --mark 0x0/0x30000"
    assert [rule.text for rule in chain.rules if "NFLOG" not in rule.text] == [
        "-j MARK --set-xmark 0x0/0x30000",
        "-j cali-pi-gnp.x",
        accepted,
        "-j MARK --set-xmark 0x0/0x20000",
        "-j cali-pi-np.s/y",
        f"{undecided} -j cali-pi-np.s/z",
        accepted,
        "-m mark ! --mark 0x20000/0x20000 -j DROP",
        "-j cali-pri-kns.s",
        accepted,
        "-j DROP",
    ]


def test_dispatch_is_a_tree():
    """Interfaces are told apart by one character first; a branch ends in the guard against unknown ones."""
    names = ["cali10", "cali11", "cali2", "cali"]
    made = {
        chain.name: [rule.text for rule in chain.rules if "NFLOG" not in rule.text]
        for chain in dispatch_chains(
            tuple(EndpointProgram(name=name, interface=name, addresses=(), ingress="i", egress="e") for name in names)
        )
    }
    assert made["cali-to-wl-dispatch"] == [
        "-o cali -g cali-tw-i",
        "-o cali1+ -g cali-to-wl-dispatch-1",
        "-o cali2 -g cali-tw-i",
        "-j DROP",
    ]
    assert made["cali-to-wl-dispatch-1"] == ["-o cali10 -g cali-tw-i", "-o cali11 -g cali-tw-i", "-j DROP"]


def test_names_keep_to_the_limits():
    """IPT-1, IPT-6: 28 characters of a chain, 31 of a set, 63 bytes of a prefix; different things differ."""
    long = "np:" + "n" * 60 + "/" + "p" * 200
    assert len(policy_chain(long, "ingress")) == 28
    assert policy_chain(long, "ingress") != policy_chain(long + "x", "ingress")
    assert chain_name("cali-pi-", "a b") == chain_name("cali-pi-", "a b") != chain_name("cali-pi-", "a_b")
    assert len(set_name("s" * 40, 4)) == 31
    assert set_name("n" + "x" * 24, 6) == "cali60n" + "x" * 24
    refs = [RuleRef(tier="t", policy=long, direction="ingress", rule=number) for number in range(50)]
    assert len({log_prefix(ref) for ref in refs}) == 50
    assert all(len(log_prefix(ref)) <= 63 for ref in refs)


MEMBERS = [
    ("hash:net", "10.0.0.7/32", "10.0.0.7"),
    ("hash:net", "10.0.0.0/8", "10.0.0.0/8"),
    ("hash:net", "fd00::7/128", "fd00::7"),
    ("hash:net", "::ffff:a00:1/128", "::ffff:10.0.0.1"),
    ("hash:ip,port", "10.0.0.7,6,80", "10.0.0.7,tcp:80"),
    ("hash:ip,port", "fd00::7,132,80", "fd00::7,sctp:80"),
    ("hash:net,iface", "10.0.0.7,cali1", "10.0.0.7,cali1"),
]


@pytest.mark.parametrize(("kind", "ours", "printed"), MEMBERS)
def test_members_are_read_as_they_were_meant(kind, ours, printed):
    """Ipset prints members in other words than a program."""
    assert program_member(kind, printed) == ours
    assert program_member(kind, kernel_member(kind, ours)) == ours


def test_no_host_endpoint_no_rule():
    """The root chains of host endpoints are there and empty while nothing guards the machine."""
    from immutables import Map

    from reference.program.types import NodeProgram

    empty = NodeProgram(node="n", seq=0, sets=Map(), policies=Map(), walks=Map(), endpoints=Map())
    made = host_chains(empty, 4)
    assert len(made) == 7
    assert all(chain.rules == () for chain in made)


def test_the_mark_of_the_way_out_ends_at_the_way_in():
    """Over loopback a packet comes in with the mark that untracked egress policy left: it is cleared there (HEP-4)."""
    from immutables import Map

    from reference.program.types import HostEndpointProgram, NodeProgram

    walks = {
        direction: Walk(id=direction, direction=direction, tiers=(), profiles=()) for direction in ("ingress", "egress")
    }
    for interface, cleared in (("lo", True), ("*", False)):
        guard = HostEndpointProgram(
            name="h", interface=interface, ingress="ingress", egress="egress", untracked_egress="egress"
        )
        machine = NodeProgram(
            node="n", seq=0, sets=Map(), policies=Map(), walks=Map(walks), endpoints=Map(),
            host_endpoints=Map({interface: guard}),
        )  # fmt: skip
        rules = next(chain.rules for chain in host_chains(machine, 4) if chain.name == FROM_UNTRACKED)
        assert [rule.comment for rule in rules[:1]] == ["nothing decided"] * cleared


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("-i eth0 -j ACCEPT", "accept"),
        ("-j DROP", "drop"),
        ("-j cali-x", "jump cali-x"),
        ("-g cali-x", "goto cali-x"),
        ("-j MARK --set-xmark 0x1/0x1", "continue"),
        ("-m comment --comment x -j RETURN", "return"),
    ],
)
def test_verdicts_of_rules(text, verdict):
    """The legacy variant tells rules and no verdicts; a rule's text says its own."""
    assert verdict_of(text) == verdict
