"""What one family's tables and sets hold, as the save commands print it. Pure.

A chain is known by the hashes in its rules' comments: each is of everything up to and including its rule, so one
comparison finds the first rule that differs (IPT-4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import msgspec
from immutables import Map

from emulator.dataplane.iptables.base import HOOKS
from emulator.dataplane.iptables.names import CHAIN_PREFIX, OWN_SET, comment, rule_hash, tagged
from emulator.dataplane.iptables.parts import Chain, Rule, SetType, Table, chain_key
from reference.endpoints import Family

HASH_LENGTH = 16
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_RULE = re.compile(r"^(?:\[(?P<packets>\d+):(?P<bytes>\d+)\] )?-A (?P<chain>\S+)(?: (?P<text>.*))?$")
_OURS = re.compile(rf'--comment "?cali:([A-Za-z0-9_-]{{{HASH_LENGTH}}})')
_LOOKUP = re.compile(r"--match-set (\S+) (\S+)")


class KernelSet(msgspec.Struct, frozen=True):
    """A set of ours: the digit in its name, its type, its members as a program writes them."""

    tag: str
    type: SetType
    members: frozenset[str]


class Kernel(msgspec.Struct, frozen=True):
    """One family's part of the kernel, as far as it is ours."""

    chains: Map[str, tuple[str, ...]] = Map()  # by key: the hashes of its rules, "" for a rule that is not ours
    sets: Map[str, KernelSet] = Map()  # by first name
    hooks: Map[tuple[Table, str], tuple[str, ...]] = Map()  # rules of the kernel's own chains, "" for others' rules
    reads: frozenset[tuple[str, str]] = frozenset()  # first names of the sets that rules read, and the side
    strays: tuple[str, ...] = ()  # other sets of ours that no rule reads


class SavedRule(msgspec.Struct, frozen=True):
    """One line of a save command."""

    table: Table
    chain: str
    text: str
    packets: int = 0
    bytes: int = 0

    @property
    def hash(self) -> str:
        """The hash in the rule's comment; "" if it is not ours."""
        found = _OURS.search(self.text)
        return found[1] if found else ""


def saved_rules(text: str) -> Iterator[SavedRule]:
    """The rules in the output of a save command, with or without counters."""
    table: Table = "filter"
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]  # type: ignore[assignment]  # other software's tables are told apart by their chains
        elif rule := _RULE.match(line):
            yield SavedRule(
                table, rule["chain"], rule["text"] or "", int(rule["packets"] or 0), int(rule["bytes"] or 0)
            )


def saved_chains(text: str) -> Iterator[tuple[Table, str]]:
    """(table, chain) of every chain in the output of a save command."""
    table: Table = "filter"
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]  # type: ignore[assignment]
        elif line.startswith(":"):
            yield table, line[1:].partition(" ")[0]


def written(chain: Chain, tags: Map[str, str]) -> tuple[tuple[str, str], ...]:
    """(hash, text) of each rule of a chain, with the names its sets have now.

    The comment is the last condition: the kernel asks for it as for the others, of packets that the others let by.
    """
    swaps = [(f" {name} ", f" {tagged(name, tags[name])} ") for name in chain.set_names if name in tags]
    found = []
    before = f"{chain.table} {chain.name}"
    for rule in chain.rules:
        text = rule.text
        for old, new in swaps:
            text = text.replace(old, new)
        before = rule_hash(f"{before}\n{text}")
        found.append((before, f'{text} -m comment --comment "cali:{before} {comment(rule.comment)}"'))
    return tuple(found)


def hook_rule(table: Table, base: str, target: str) -> tuple[str, str]:
    """(hash, text) of the jump from one of the kernel's chains to ours."""
    text = f"-j {target}"
    ((_, line),) = written(Chain(name=base, table=table, rules=(Rule(text, "muslin"),)), Map())
    found = _OURS.search(line)
    return (found[1] if found else ""), line


def parse(family: Family, saved: str, sets: str) -> Kernel:
    """What the tables' save command and the sets' one printed."""
    hashes: dict[tuple[Table, str], list[str]] = {place: [] for place in saved_chains(saved)}
    reads: set[tuple[str, str]] = set()
    for rule in saved_rules(saved):
        hashes.setdefault((rule.table, rule.chain), []).append(rule.hash)
        reads.update((name, sides.partition(",")[0]) for name, sides in _LOOKUP.findall(rule.text))
    found, strays = _sets(family, sets, {name for name, _ in reads})
    return Kernel(
        chains=Map(
            {
                chain_key(table, chain): tuple(some)
                for (table, chain), some in hashes.items()
                if chain.startswith(CHAIN_PREFIX)
            }
        ),
        sets=Map(found),
        hooks=Map({(table, base): tuple(hashes.get((table, base), ())) for table, base, _ in HOOKS}),
        reads=frozenset((tagged(name, "0"), side) for name, side in reads if OWN_SET.match(name)),
        strays=tuple(strays),
    )


def _sets(family: Family, saved: str, read: set[str]) -> tuple[dict[str, KernelSet], list[str]]:
    """Of a set under both its names the one that rules read; what is over, an apply ended half-way left behind."""
    types: dict[str, SetType] = {}
    members: dict[str, set[str]] = {}
    for line in saved.splitlines():
        verb, name, *rest = line.split(" ")
        if not OWN_SET.match(name) or name[4] != str(family):
            continue
        if verb == "create":
            types[name], members[name] = rest[0], set()  # type: ignore[assignment]
        elif verb == "add":
            members[name].add(program_member(types[name], rest[0]))
    found: dict[str, KernelSet] = {}
    strays = []
    for name in sorted(types, key=lambda name: (name not in read, name)):
        first = tagged(name, "0")
        if name[5] == "t" or first in found:
            strays.append(name)
        else:
            found[first] = KernelSet(name[5], types[name], frozenset(members[name]))
    return found, strays


def program_member(kind: SetType, member: str) -> str:
    """A member as a program writes it, from how ipset prints it."""
    if kind == "hash:ip,port":
        address, _, rest = member.partition(",")
        protocol, _, port = rest.partition(":")
        return f"{_address(address)},{_PROTOCOLS.get(protocol, protocol)},{port}"
    net, comma, interface = member.partition(",")
    address, slash, length = net.partition("/")
    if kind == "hash:net" and not slash:
        length = "128" if ":" in address else "32"
    return f"{_address(address)}{'/' + length if length else ''}{comma}{interface}"


def kernel_member(kind: SetType, member: str) -> str:
    """A member as ipset reads it: "10.0.0.7,6:8080" from "10.0.0.7,6,8080"."""
    if kind != "hash:ip,port":
        return member
    address, protocol, port = member.split(",")
    return f"{address},{protocol}:{port}"


def _address(address: str) -> str:
    """The two write IPv4-mapped addresses differently."""
    return str(ip_address(address)) if ":" in address and "." in address else address


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many hashes at the beginning are equal."""
    for at, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs or not mine:
            return at
    return min(len(one), len(other))
