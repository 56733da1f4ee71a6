"""What is made for IPv6 from the chains for IPv4 is what would have been written for IPv6."""

from hypothesis import given
from hypothesis import strategies as st

from emulator.dataplane.iptables.chains import policy_chains
from emulator.dataplane.iptables.twins import has_twins, twins
from emulator.dataplane.iptables.wanted import differences
from emulator.dataplane.references import no_program
from reference.program.types import Match, PolicyProgram, PortRange, ProgramRule

SETS = st.lists(st.sampled_from(["na", "n" + "long" * 9, "cali40"]), max_size=2, unique=True).map(tuple)
PORTS = st.lists(st.builds(PortRange, st.sampled_from([1, 80]), st.sampled_from([80, 99])), max_size=2).map(tuple)
PORT_SETS = st.sampled_from([(), ("px",)])
PROTOCOLS = st.sampled_from([None, None, 6, 17, 132, 1, 58, 4])
NETS = st.sampled_from([(), (), (), ("10.0.0.0/8",), ("fd00::/64", "10.0.0.0/8"), ("0.0.0.0/0", "::/0")])
MATCHES = st.builds(
    Match,
    family=st.sampled_from([None, None, 4, 6]),
    protocol=PROTOCOLS,
    source_sets=SETS,
    not_destination_sets=SETS,
    source_nets=NETS,
    not_destination_nets=NETS,
    source_ports=PORTS,
    not_destination_ports=PORTS,
    destination_port_sets=PORT_SETS,
    icmp=st.sampled_from([None, None, (8, None)]),
)
RULES = st.lists(
    st.builds(ProgramRule, st.sampled_from(["allow", "deny", "pass", "log"]), st.integers(0, 9), MATCHES), max_size=3
)


@given(ingress=RULES, egress=RULES, times=st.sampled_from([1, 1, 20]))
def test_chains_are_those_of_the_family(ingress, egress, times):
    """Also of policies that speak of one family, and of long ones; and each is what its own family alone would get."""
    policy = PolicyProgram(id="np:shop/web", tier="t", ingress=tuple(ingress * times), egress=tuple(egress))
    between = differences(None, no_program("node-1"))
    assert between.chains(policy, 4) == tuple(policy_chains(policy, 4))
    assert between.chains(policy, 6) == tuple(policy_chains(policy, 6))
    assert not between.made


def test_the_digit_is_changed_in_the_lookup_only():
    """Names of policies and sets may have the same letters in them."""
    match = Match(source_sets=("cali40--match-set",), destination_port_sets=("cali40",))
    policy = PolicyProgram(id="np:cali40/cali40", tier="cali40", ingress=(ProgramRule("deny", 0, match),))
    assert has_twins(policy)
    assert twins(policy_chains(policy, 4)) == tuple(policy_chains(policy, 6))
