"""A strict stand-in for the kernel's side of a transaction: it refuses what nf_tables would refuse."""

import re

from emulator.dataplane.nftables.base import STATIC_SETS
from emulator.dataplane.nftables.operations import (
    AddChain,
    AddElements,
    AddRules,
    AddSet,
    FlushChain,
    RemoveChain,
    RemoveElements,
    RemoveSet,
    ResetTable,
)
from emulator.dataplane.nftables.turns import first, with_first_names


class Kernel:
    """Chains with their rules, sets with their members; every refusal is an AssertionError."""

    def __init__(self):
        self.chains = {}
        self.sets = {}

    def run(self, operations):
        """Run one transaction."""
        for operation in operations:
            self.one(operation)
        for rules in self.chains.values():
            for name in targets(rules):
                assert name in self.chains or name in self.sets, f"a rule refers to {name}, which is not there"

    def one(self, operation):
        """Run one operation."""
        match operation:
            case ResetTable():
                self.chains, self.sets = {}, {}
            case AddSet(spec):
                assert spec.name not in self.sets, spec.name
                self.sets[spec.name] = set()
            case AddElements(spec, members):
                assert not self.sets[spec.name] & members, spec.name
                keys = [key(spec, m) for m in self.sets[spec.name] | members]
                assert len(keys) == len(set(keys)), f"{spec.name} has a key twice"
                self.sets[spec.name] |= members
            case RemoveElements(spec, members):
                assert self.sets[spec.name] >= members, spec.name
                self.sets[spec.name] -= members
            case AddChain(chain):
                assert chain.name not in self.chains, chain.name
                self.chains[chain.name] = ()
            case FlushChain(name):
                self.chains[name] = self.chains[name][:0]
            case AddRules(chain):
                for target in targets(chain.rules):
                    assert target in self.chains or target in self.sets, f"{target} is not there yet"
                self.chains[chain.name] += chain.rules
            case RemoveChain(name):
                assert self.chains.pop(name) == (), f"{name} is not empty"
                assert not self.is_used(name), f"{name} is still in use"
            case RemoveSet(spec):
                del self.sets[spec.name]
                assert not self.is_used(spec.name), f"{spec.name} is still in use"

    def content(self):
        """Chains and sets, the latter by their first names whichever they have, to compare."""
        chains = {
            name: [(with_first_names(rule.expressions), rule.comment) for rule in rules]
            for name, rules in self.chains.items()
        }
        return chains, {first(name): members for name, members in self.sets.items()}

    def is_used(self, name):
        """Report whether a rule or a verdict refers to a chain or set."""
        dispatched = {member.partition(",")[2] for members in self.sets.values() for member in members}
        return name in dispatched or any(name in targets(rules) for rules in self.chains.values())


def key(spec, member):
    """What the kernel tells elements apart by."""
    return member.partition(",")[0] if spec.type == "verdicts" else member


_NAMES = re.compile(rb"(?:pi|po|pri|pro|walk|group|s|z|nets4|nets6|ranges|protocols|dispatch)-[A-Za-z0-9/_.-]+(?=\0)")
_STATIC = {spec.name for spec in STATIC_SETS}


def targets(rules):
    """The names of chains and sets in the encoded expressions of rules."""
    return {name.decode() for rule in rules for name in _NAMES.findall(rule.expressions)} - _STATIC
