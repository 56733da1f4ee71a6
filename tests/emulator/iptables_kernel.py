"""A strict stand-in for one family's tables and sets: reads what is sent, refuses what the kernel would, runs packets.

Tables are replaced at COMMIT, sets line by line; `watch` is called after each such step, when packets may pass.
"""

import ipaddress
import shlex
from functools import lru_cache
from typing import NamedTuple

BASES = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING",),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("POSTROUTING",),
}


class Facts(NamedTuple):
    """A new flow's first packet, forwarded from one interface to another."""

    source_interface: str
    target_interface: str
    source: str
    destination: str
    protocol: int
    port: int


class Kernel:
    """Chains with the words of their rules, sets with their members; every refusal is an AssertionError."""

    def __init__(self):
        self.tables = {table: {base: [] for base in bases} for table, bases in BASES.items()}
        self.sets = {}
        self.watch = lambda: None

    def run(self, planned):
        """Everything a plan sends."""
        for line in planned.sets_before:
            self.ipset(line)
        self.restore(planned.rules)
        for line in (*planned.sets_after, *(f"destroy {name}" for name in planned.destroyed)):
            self.ipset(line)

    def ipset(self, line):
        """One line of ipset restore."""
        verb, name, *rest = line.split(" ")
        assert len(name) <= 31, name
        match verb:
            case "create":
                assert name not in self.sets, f"{name} is there already"
                self.sets[name] = set()
            case "add":
                assert rest[0] not in self.sets[name], f"{name} has {rest[0]} already"
                assert not rest[0].endswith("/0"), "hash:net has no place for all addresses"
                self.sets[name].add(rest[0])
            case "del":
                self.sets[name].remove(rest[0])
            case "swap":
                self.sets[name], self.sets[rest[0]] = self.sets[rest[0]], self.sets[name]
            case "destroy":
                everywhere = (rules for chains in self.tables.values() for rules in chains.values())
                assert not any(name in rule for rules in everywhere for rule in rules), f"{name} is in use"
                del self.sets[name]
        self.watch()

    def restore(self, lines):
        """The lines of iptables-restore --noflush."""
        chains, table = {}, ""
        for line in lines:
            if line.startswith("*"):
                table = line[1:]
                chains = {name: list(rules) for name, rules in self.tables[table].items()}
            elif line == "COMMIT":
                self.commit(table, chains)
            elif line.startswith(":"):
                chains[line[1:].split(" ")[0]] = []
            else:
                self.edit(chains, shlex.split(line))

    @staticmethod
    def edit(chains, words):
        """One command on a table."""
        verb, name, *rest = words
        assert len(name) <= 28, name
        if "--comment" in rest:  # where people look for it
            at = rest.index("--comment")
            number = rest[: verb in ("-I", "-R")]
            rest = [*number, *rest[at - 2 : at + 2], *rest[len(number) : at - 2], *rest[at + 2 :]]
        rules = chains[name]
        match verb:
            case "-A":
                rules.append(rest)
            case "-I":
                rules.insert(int(rest[0]) - 1, rest[1:])
            case "-R":
                assert 0 < int(rest[0]) <= len(rules)
                rules[int(rest[0]) - 1] = rest[1:]
            case "-D":
                del rules[int(rest[0]) - 1]
            case "-F":
                rules.clear()
            case "-X":
                assert not rules, f"{name} is not empty"
                del chains[name]

    def commit(self, table, chains):
        """The table is checked as a whole, and then is there at once."""
        for name, rules in chains.items():
            for rule in rules:
                target = rule[-1] if rule[-2] in ("-j", "-g") else ""
                assert not target.startswith("cali-") or target in chains, f"{name} goes to a lost {target}"
                for at, word in enumerate(rule):
                    assert word != "--match-set" or rule[at + 1] in self.sets, f"no set {rule[at + 1]}"
                    assert word != "--nflog-prefix" or len(rule[at + 1]) < 64
                    assert word != "--comment" or len(rule[at + 1]) < 256
        self.tables[table] = chains
        self.watch()

    def saved(self):
        """What the save commands would print."""
        lines = []
        for table, chains in self.tables.items():
            lines += [f"*{table}", *(f":{name} - [0:0]" for name in chains)]
            lines += [f"-A {name} {shlex.join(rule)}" for name, rules in chains.items() for rule in rules]
            lines.append("COMMIT")
        return "\n".join(lines).replace("'", '"')

    def saved_sets(self, types):
        """What ipset save would print; a name's type is looked up by its first name."""
        lines = []
        for name, members in self.sets.items():
            lines.append(f"create {name} {types[name[:5] + '0' + name[6:]]} family inet")
            lines += [f"add {name} {member.removesuffix('/32')}" for member in members]
        return "\n".join(lines)

    def content(self):
        """Chains without hashes and sets without turns, to compare."""
        chains = {
            (table, name): [" ".join(plain(word) for at, word in enumerate(rule) if at != 3) for rule in rules]
            for table, chains in self.tables.items()
            for name, rules in chains.items()
        }
        return chains, {plain(name): members for name, members in self.sets.items()}

    def passes(self, facts):
        """Report whether a forwarded packet gets through."""
        mark = [0]
        return all(
            self.chain(self.tables[table], base, facts, mark) != "DROP"
            for table, base in (("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("filter", "FORWARD"))
        )

    def chain(self, chains, name, facts, mark):
        """The verdict of a chain; None if it ends without one."""
        for rule in chains[name]:
            if not self.matches(rule, facts, mark[0]):
                continue
            how, target = rule[rule.index("-j") :][:2] if "-j" in rule else rule[rule.index("-g") :][:2]
            if target in ("DROP", "ACCEPT"):
                return target
            if target == "RETURN":
                return None
            if target == "MARK":
                value, mask = (int(part, 16) for part in rule[-1].split("/"))
                mark[0] = (mark[0] & ~mask) ^ value
            if target.startswith("cali-"):
                verdict = self.chain(chains, target, facts, mark)
                if verdict or how == "-g":
                    return verdict
        return None

    def matches(self, rule, facts, mark):
        """Every condition of a rule."""
        words, wanted = list(rule), True
        while words:
            word = words.pop(0)
            if word == "!":
                wanted = False
                continue
            if word in ("-j", "-g"):
                return True
            if word in ("-m", "--comment"):
                words.pop(0)
                continue
            if (self.condition(word, words, facts, mark)) != wanted:
                return False
            wanted = True
        return True

    def condition(self, word, words, facts, mark):
        """One condition; takes its arguments from the words."""
        value = words.pop(0)
        match word:
            case "-i":
                return is_interface(facts.source_interface, value)
            case "-o":
                return is_interface(facts.target_interface, value)
            case "-s":
                return within(facts.source, value)
            case "-d":
                return within(facts.destination, value)
            case "-p":
                return facts.protocol == int(value)
            case "--mark":
                wanted, mask = (int(part, 16) for part in value.split("/"))
                return mark & mask == wanted
            case "--ctstate":
                return "NEW" in value.split(",")
            case "--dports":
                return any(low <= facts.port <= high for low, high in ranges(value))
            case "--sports":
                return False  # it comes from port 0
            case "--match-set":
                sides = words.pop(0).split(",")
                return self.is_in(self.sets[value], facts, sides)
        raise AssertionError(f"unknown option {word}")

    @staticmethod
    def is_in(members, facts, sides):
        """A set with one side holds nets; with two, addresses with a port, or with an interface."""
        address = facts.source if sides[0] == "src" else facts.destination
        if len(sides) == 1:
            return any(within(address, member) for member in members)
        tail = f"{facts.protocol}:{facts.port}" if sides[0] == "dst" else facts.source_interface
        return f"{address},{tail}" in members


def plain(word):
    """A set's first name instead of whichever it has."""
    return f"{word[:5]}0{word[6:]}" if word[:5] in ("cali4", "cali6") and word[5:6].isdigit() else word


def is_interface(name, wanted):
    """An interface name, or the beginning of some."""
    return name.startswith(wanted[:-1]) if wanted.endswith("+") else name == wanted


@lru_cache(maxsize=4096)
def within(address, net):
    """Report whether a net holds an address."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(net)


def ranges(text):
    """(low, high) of each entry of a port list."""
    return [tuple(map(int, (part.split(":") * 2)[:2])) for part in text.split(",")]
