"""Names, set members and conditions as the kernel gets them."""

import pytest

from emulator.dataplane.contract import RuleRef
from emulator.dataplane.nftables import expressions as e
from emulator.dataplane.nftables.chains import group
from emulator.dataplane.nftables.matching import Needs, conditions, merge, merge_ports
from emulator.dataplane.nftables.names import comment, kernel_name, log_prefix, policy_chain
from emulator.dataplane.nftables.operations import AddElements, messages
from emulator.dataplane.nftables.parts import SetSpec, elements, net_bounds
from emulator.nfnetlink import attributes, each_attribute
from reference.program.types import Match, PortRange

CHAINS = [
    ("np:shop/web", "ingress", "pi-np.shop/web"),
    ("gnp:lockdown", "egress", "po-gnp.lockdown"),
    ("pro:kns.shop", "ingress", "pri-kns.shop"),
    ("pro:ksa.shop.default", "egress", "pro-ksa.shop.default"),
]


@pytest.mark.parametrize(("policy", "direction", "chain"), CHAINS)
def test_chain_names_are_readable(policy, direction, chain):
    """A policy's chain is named for it."""
    assert policy_chain(policy, direction) == chain


def test_long_or_odd_names_are_hashed():
    """A name that nft cannot read back, or a long one, is cut and hashed; different names stay different."""
    long = [kernel_name("pi-", "x" * 200 + end) for end in "ab"]
    odd = [kernel_name("pi-", "a" + character) for character in ":; "]

    assert len({*long, *odd}) == 5
    assert all(len(name) <= 96 and name.startswith("pi-") for name in (*long, *odd))


def test_log_prefixes_fit_and_differ():
    """A prefix is at most 127 bytes and different for every rule, however long the names are."""
    refs = [
        RuleRef(tier="t" * 63, policy=f"np:{'n' * 63}/{'é' * 200}", direction="ingress", rule=rule, action="deny")
        for rule in range(3)
    ]
    refs += [RuleRef(tier="default", policy="np:a/b", direction=way, rule=0) for way in ("ingress", "egress")]
    refs += [RuleRef(guard="spoofed", direction="egress"), RuleRef(guard="invalid", direction="egress")]
    prefixes = [log_prefix(ref) for ref in refs]

    assert len(set(prefixes)) == len(refs)
    assert max(len(prefix.encode()) for prefix in prefixes) <= 127


def test_comments_fit():
    """A comment is cut to what nft allows, never inside a character."""
    assert comment("é" * 100) == "é" * 63


MERGES = [
    (("10.0.0.0/8", "10.1.0.0/16", "fd00::/8"), 4, ("10.0.0.0/8",)),
    (("10.0.0.0/25", "10.0.0.128/25"), 4, ("10.0.0.0/24",)),
    (("10.0.0.9/24",), 4, ("10.0.0.0/24",)),
    (("10.0.0.0/8",), 6, ()),
    (("fd00::1/128", "fd00::/64"), 6, ("fd00::/64",)),
]


@pytest.mark.parametrize(("nets", "family", "merged"), MERGES)
def test_nets_are_merged(nets, family, merged):
    """The nets of a family, no two of them overlapping."""
    assert merge(nets, family) == merged


def test_ports_are_merged():
    """Ranges that overlap or touch become one."""
    ranges = [PortRange(90, 95), PortRange(80, 85), PortRange(86, 86), PortRange(84, 85), PortRange(65535, 65535)]

    assert merge_ports(ranges) == ((80, 86), (90, 95), (65535, 65535))


ELEMENTS = [
    ("nets4", "10.0.0.7/32", [("0a000007", 0), ("0a000008", 1)]),
    ("nets4", "0.0.0.0/0", [("00000000", 0)]),
    ("nets4", "255.255.255.255/32", [("ffffffff", 0)]),
    ("nets4", "128.0.0.0/1", [("80000000", 0)]),
    ("nets6", "ff00::/8", [("ff" + "00" * 15, 0)]),
    ("ranges", "80-90", [("0050", 0), ("005b", 1)]),
    ("ranges", "65535", [("ffff", 0)]),
    ("protocols", "17", [("11", 0)]),
    ("ports4", "10.0.0.7,6,8080", [("0a000007" + "06000000" + "1f900000", 0)]),
    ("interfaces", "cali1", [("63616c6931" + "00" * 11, 0)]),
    ("sources4", "cali1,10.0.0.7", [("63616c6931" + "00" * 11 + "0a000007", 0)]),
]


@pytest.mark.parametrize(("kind", "member", "wanted"), ELEMENTS)
def test_elements(kind, member, wanted):
    """A member becomes its key; an interval its start and, unless it reaches the last key, the first key after it."""
    found = []
    for element in elements(kind, [member]):
        parts = attributes(attributes(element)[1])
        found.append((attributes(parts[1])[1].hex(), int.from_bytes(parts.get(3, b"\0"), "big")))

    assert found == wanted


def test_many_members_are_several_messages():
    """No attribute grows past what netlink can say (64 KiB)."""
    members = frozenset(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}/32" for n in range(5000))
    sent = list(messages(AddElements(SetSpec("s", "nets4"), members)))
    counts = [sum(1 for _ in each_attribute(attributes(message.body)[3])) for message in sent]

    assert sum(counts) == 10000
    assert max(len(message.body) for message in sent) < 65000


def test_host_bits_are_cleared():
    """A net is its network address, whatever was written."""
    assert net_bounds("10.1.2.3/12") == (4, bytes([10, 0, 0, 0]), 12)


COUNTS = [
    (Match(), 1),
    (Match(protocol=6, destination_ports=(PortRange(80, 80),)), 1),
    (Match(source_sets=("na",)), 2),
    (Match(source_sets=("na",), family=4), 1),
    (Match(protocol=1), 1),
    (Match(protocol=1, family=6), 0),
    (Match(source_nets=("10.0.0.0/8",)), 1),
    (Match(source_nets=("10.0.0.0/8", "fd00::/8")), 2),
    (Match(source_nets=("10.0.0.0/8",), destination_nets=("fd00::/8",)), 0),
    (Match(source_nets=("10.0.0.0/8",), not_destination_nets=("fd00::/8",)), 0),
    (Match(not_source_nets=("10.0.0.0/8", "0.0.0.0/0")), 0),
    (Match(protocol=6, destination_ports=(PortRange(80, 80),), destination_port_sets=("pa", "pb"), family=4), 3),
    (Match(protocol=58, not_icmp=(128, 0)), 2),
    (Match(not_icmp=(8, None), family=4), 2),
    (Match(protocol=6, not_icmp=(8, None), family=4), 1),
]


@pytest.mark.parametrize(("match", "count"), COUNTS)
def test_how_many_kernel_rules_a_match_needs(match, count):
    """One for each family and each alternative it has (RULE-4, RULE-5, RULE-13); none where it can match nothing."""
    assert len(list(conditions(match, Needs()))) == count


def test_equal_lists_share_a_literal():
    """Rules that list the same nets or ports in any order look into the same set."""
    needs = Needs()
    for order in (1, -1):
        ports = (PortRange(80, 80), PortRange(443, 443))[::order]
        nets = ("10.0.0.0/8", "192.0.2.0/24")[::order]
        list(conditions(Match(protocol=6, destination_ports=ports, source_nets=nets), needs))

    assert sorted(spec.name.partition("-")[0] for spec, _ in needs.literals) == ["nets4", "ranges"]


def test_no_mark_bit_but_ours_is_touched():
    """Setting the accept mark keeps all other bits."""
    encoded = e.mark_change(put=0x10000)

    assert (0xFFFEFFFF).to_bytes(4, "little") in encoded or (0xFFFEFFFF).to_bytes(4, "big") in encoded


def test_groups_of_two_lists_are_shared():
    """One policy more in a list of a thousand changes one group of it, or cuts one in two; order is kept."""
    before = tuple(f"np:shop/p{number}" for number in range(1000))
    after = (*before[:500], "np:shop/new", *before[500:])
    pieces = group(after)

    assert tuple(policy for piece in pieces for policy in piece) == after
    assert len(set(pieces) - set(group(before))) <= 2
    assert len(pieces) < 130
