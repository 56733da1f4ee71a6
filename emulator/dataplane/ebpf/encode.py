"""From policies and walks to instructions. Pure; an instruction is a number of 64 bits, as the kernel reads it.

A rule is its tests and then its action; a test that fails goes to the next rule. Alternatives (RULE-5) are tests that
go to the end of their group when they hold; a negated list is tests that go to the next rule when they hold. Rules of a
long list are in blocks (`blocks.py`): tests that fail go past the whole block.

Code is written from its end to its beginning, for a test says how far it is to what lies behind.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from emulator.dataplane.blocks import Cover, Item, in_blocks
from emulator.dataplane.ebpf.layout import INSTRUCTION, NO_PROFILE
from reference.errors import EnvironmentLacksError
from reference.program.nets import net
from reference.program.types import FlowDirection, Match, PortRange, ProgramRule, RuleAction, Walk

FARTHEST = 0xFFFF  # instructions a test may skip
WHEN_TRUE, OF_DESTINATION, LEAVES, OF_PROTOCOL = 1, 2, 4, 4  # flags; of the last one: bits to shift
# Where the parts of an instruction are in the number that it is.
_OPERATION, _FLAGS, _SKIP, _ARGUMENT = (0, 8, 16, 32) if sys.byteorder == "little" else (56, 48, 32, 0)

_WORDS = ("end", "family", "protocol", "icmp type", "icmp type and code", "ports", "address", "address and port",
          "allow", "deny", "pass", "log", "policy", "go on")  # fmt: skip
(_END, _FAMILY, _PROTOCOL, _ICMP_TYPE, _ICMP_TYPE_CODE, _PORTS, _ADDRESS, _ADDRESS_AND_PORT,
 _ALLOW, _DENY, _PASS, _LOG, _POLICY, _GO_ON) = (number << _OPERATION for number in range(len(_WORDS)))  # fmt: skip
_PORTS_NUMBER = _WORDS.index("ports")
_PORT_WORDS = ("ports", "TCP ports", "UDP ports", "SCTP ports")
_PROTOCOLS: dict[int | None, int] = {6: 1, 17: 2, 132: 3}  # with ports, as a test of ports can ask for them
_DECIDING = frozenset(range(_WORDS.index("allow"), _WORDS.index("policy")))
ACTIONS: tuple[RuleAction, ...] = ("allow", "deny", "pass", "log")
_DECISIONS = {  # of rule 0 of a place whose numbers begin with 0
    action: word | len(ACTIONS) + number << _ARGUMENT
    for number, (action, word) in enumerate(zip(ACTIONS, (_ALLOW, _DENY, _PASS, _LOG), strict=True))
}
_EACH = len(ACTIONS)
_TRUE, _DESTINATION, _LEAVES = WHEN_TRUE << _FLAGS, OF_DESTINATION << _FLAGS, LEAVES << _FLAGS

NOTHING = [_END]
"""The code of a policy without rules."""

Place = tuple[str, str, FlowDirection]
"""Where rules are: tier, policy, direction."""


class Numbering(NamedTuple):
    """Where numbers in instructions come from."""

    set: Callable[[Hashable], int]  # of a set's base id, or of a list of nets
    policy: Callable[[str], int]  # of a policy in a direction
    reference: Callable[[Place, int], int]  # the first of a place that has room for a user's rule


def reference(first: int, rule: int, action: RuleAction) -> int:
    """The number of a user's rule, or -1, and an action, where the numbers of its place begin with `first`."""
    return first + (rule + 1) * len(ACTIONS) + ACTIONS.index(action)


def in_direction(policy: str, direction: FlowDirection) -> str:
    """The name of a policy's rules in one direction."""
    return f"{policy} {direction}"


def packed(words: Sequence[int]) -> bytes:
    """What was written from the end, as the kernel reads it."""
    return array("Q", words[::-1]).tobytes()


def decisions(code: bytes) -> Iterator[tuple[int, int]]:
    """(place, number of the reference) of every instruction that decides."""
    for place, (operation, _, _, argument) in enumerate(INSTRUCTION.iter_unpack(code)):
        if operation in _DECIDING:
            yield place, argument


class Draft:
    """Code of policies and walks that is being written, from its end: what is written later comes to lie before."""

    def __init__(self, numbers: Numbering) -> None:
        """Nothing is written."""
        self.words: list[int] = []  # the last instruction first; places count from there too
        self.nets: list[tuple[str, ...]] = []  # the lists of nets that rules name
        self._set, self._policy, self._reference = numbers
        # Where the tests of a match stand that names no nets, by its identity: many rules share one.
        self._written: dict[int, dict[int, tuple[Match, int, int]]] = {0: {}, _LEAVES: {}}

    def rules(self, rules: tuple[ProgramRule, ...], place: Place, *, of_walk: bool = True) -> None:
        """The rules of a policy or profile in one direction; when none decides, the walk goes on.

        `of_walk`: a walk goes through it, so that the last rule may lead straight back there.

        Raises:
            EnvironmentLacksError: a rule is too long.
        """
        self.words.append(_END if of_walk else _GO_ON)
        first = self._reference(place, max([rule.index for rule in rules], default=-1))
        self._items(in_blocks(rules), first, leaves=_LEAVES if of_walk else 0)

    def walk(self, walk: Walk) -> None:
        """Tiers in order, then profiles in order, then the walk's end (POL-12 … POL-15, HEP-3).

        Raises:
            EnvironmentLacksError: a tier is too long.
        """
        words, number, direction = self.words, self._policy, walk.direction
        words.append(_DENY | NO_PROFILE << _ARGUMENT if walk.end == "deny" else _GO_ON)
        for profile in reversed(walk.profiles):  # a pass moves on to the next profile (POL-14)
            words.append(_POLICY | 1 << _SKIP | number(in_direction(profile, direction)) << _ARGUMENT)
        for tier in reversed(walk.tiers):
            denies = tier.default_action == "deny" and bool(tier.policies)
            if denies:
                # FL-6: the end of a tier names the last policy of the tier as its trigger.
                first = self._reference((tier.tier, tier.policies[-1], direction), -1)
                words.append(_DENY | reference(first, -1, "deny") << _ARGUMENT)
            if len(tier.policies) + denies > FARTHEST:
                raise _too_long()
            words += [  # a pass goes on behind the tier's end
                _POLICY | after << _SKIP | number(in_direction(policy, direction)) << _ARGUMENT
                for after, policy in enumerate(reversed(tier.policies), 1 + denies)
            ]

    def _items(self, items: Sequence[Item], first: int, leaves: int) -> None:
        """Rules, and blocks of rules, whose numbers begin with `first`.

        `leaves`: the flag of tests in the last rule that says that they lead out of the policy.
        """
        words, written = self.words, self._written[leaves]
        for item in reversed(items):
            behind = len(words) - 1
            if isinstance(item, ProgramRule):
                words.append(_DECISIONS[item.action] + (first + item.index * _EACH << _ARGUMENT))
                match = item.match
                if (found := written.get(id(match))) is not None:
                    words += words[found[1] : found[2]]
                else:
                    self._tests_of_rule(match, leaves, behind)
            else:
                self._items(item.items, first, leaves)
                self._condition(item.cover, behind)
            leaves, written = 0, self._written[0]

    def _tests_of_rule(self, match: Match, flags: int, behind: int) -> None:
        """Write the tests before an action, which are the same wherever they stand, and remember where they are."""
        begin, nets = behind + 2, len(self.nets)
        self._test(match, flags, behind)
        end = len(self.words)
        if end - begin > FARTHEST - 1:
            raise _too_long()
        if len(self.nets) == nets:
            self._written[flags][id(match)] = match, begin, end

    def _condition(self, cover: Cover, behind: int) -> None:
        """What a block asks, before it; nothing where that could not skip so far."""
        begin = len(self.words)
        self._test(_asked(cover), 0, behind)
        if len(self.words) - behind - 1 > FARTHEST:
            del self.words[begin:]

    def _test(self, match: Match, flags: int, behind: int) -> None:
        """Write what a match asks, the cheap questions first (RULE-1); what fails goes to the place `behind`."""
        if match.not_destination_sets:
            self._all_sets(match.not_destination_sets, flags | _DESTINATION | _TRUE, behind)
        if match.destination_sets:
            self._all_sets(match.destination_sets, flags | _DESTINATION, behind)
        if match.not_source_sets:
            self._all_sets(match.not_source_sets, flags | _TRUE, behind)
        if match.source_sets:
            self._all_sets(match.source_sets, flags, behind)
        if match.source_nets or match.not_source_nets or match.destination_nets or match.not_destination_nets:
            self._test_nets(match, flags, behind)
        asked = self._test_ports(match, flags, behind)
        if match.not_icmp is not None:
            self._write(_icmp(*match.not_icmp) | _TRUE | flags, behind)
        if match.icmp is not None:
            self._write(_icmp(*match.icmp) | flags, behind)
        if match.not_protocol is not None:
            self._write(_PROTOCOL | match.not_protocol << _ARGUMENT | _TRUE | flags, behind)
        if match.protocol is not None and not asked:
            self._write(_PROTOCOL | match.protocol << _ARGUMENT | flags, behind)
        if match.family is not None:
            self._write(_FAMILY | match.family << _ARGUMENT | flags, behind)

    def _test_nets(self, match: Match, flags: int, behind: int) -> None:
        if match.not_destination_nets:
            self._one_net(match.not_destination_nets, flags | _DESTINATION | _TRUE, behind)
        if match.destination_nets:
            self._one_net(match.destination_nets, flags | _DESTINATION, behind)
        if match.not_source_nets:
            self._one_net(match.not_source_nets, flags | _TRUE, behind)
        if match.source_nets:
            self._one_net(match.source_nets, flags, behind)

    def _test_ports(self, match: Match, flags: int, behind: int) -> bool:
        """Report whether the tests ask for the protocol on the way, so that it needs no test of its own."""
        number = _PROTOCOLS.get(match.protocol, 0)
        protocol, asked = number << _FLAGS + OF_PROTOCOL, False
        if match.not_destination_ports or match.not_destination_port_sets:
            self._no_port(match.not_destination_ports, match.not_destination_port_sets, flags | _DESTINATION, behind)
        if match.destination_port_sets:
            self._one_port(match.destination_ports, match.destination_port_sets, flags | _DESTINATION, behind)
        elif match.destination_ports:
            self._one_range(match.destination_ports, flags | _DESTINATION | protocol, behind, len(self.words) - 1)
            asked = number > 0
        if match.not_source_ports or match.not_source_port_sets:
            self._no_port(match.not_source_ports, match.not_source_port_sets, flags, behind)
        if match.source_port_sets:
            self._one_port(match.source_ports, match.source_port_sets, flags, behind)
        elif match.source_ports:
            self._one_range(match.source_ports, flags | protocol, behind, len(self.words) - 1)
            asked = number > 0
        return asked

    def _write(self, test: int, behind: int) -> None:
        self.words.append(test | (len(self.words) - behind) << _SKIP)

    def _all_sets(self, bases: Sequence[str], flags: int, behind: int) -> None:
        words = self.words
        for base in reversed(bases):
            words.append(_ADDRESS | flags | (len(words) - behind) << _SKIP | self._set(base) << _ARGUMENT)

    def _one_net(self, nets: tuple[str, ...], flags: int, behind: int) -> None:
        """A list with nothing for a family takes the rule out of that family, negated or not (RULE-4)."""
        self.nets.append(nets)
        self._write(_ADDRESS | flags | self._set(nets) << _ARGUMENT, behind)
        families = {net(text).family for text in nets} if flags & _TRUE else set()
        if len(families) == 1:
            self._write(_FAMILY | flags & _LEAVES | families.pop() << _ARGUMENT, behind)

    def _one_port(self, ranges: Sequence[PortRange], sets: Sequence[str], flags: int, behind: int) -> None:
        """Tests that hold go to the end of the group; the last one decides."""
        group = len(self.words) - 1
        for base in reversed(sets):
            self._write(_ADDRESS_AND_PORT | flags | self._set(base) << _ARGUMENT, behind)
            flags, behind = flags & ~_LEAVES | _TRUE, group
        self._one_range(ranges, flags, behind, group)

    def _one_range(self, ranges: Sequence[PortRange], flags: int, behind: int, group: int) -> None:
        """The same of ranges alone; the group's end is the place `group`."""
        words = self.words
        for ports in reversed(ranges):
            argument = (ports.low << 16 | ports.high) << _ARGUMENT
            words.append(_PORTS | flags | (len(words) - behind) << _SKIP | argument)
            flags, behind = flags & ~_LEAVES | _TRUE, group

    def _no_port(self, ranges: Sequence[PortRange], sets: Sequence[str], flags: int, behind: int) -> None:
        for base in reversed(sets):
            self._write(_ADDRESS_AND_PORT | _TRUE | flags | self._set(base) << _ARGUMENT, behind)
        for ports in reversed(ranges):
            self._write(_PORTS | _TRUE | flags | (ports.low << 16 | ports.high) << _ARGUMENT, behind)


def _icmp(icmp_type: int, code: int | None) -> int:
    if code is None:
        return _ICMP_TYPE | icmp_type << _ARGUMENT
    return _ICMP_TYPE_CODE | (icmp_type << 8 | code) << _ARGUMENT


def _asked(cover: Cover) -> Match:
    """Of ports one range that holds them all: each range is a test here, so that more would cost what they spare."""
    match = cover.match
    if not match.destination_ports:
        return match
    low = min(port.low for port in match.destination_ports)
    high = max(port.high for port in match.destination_ports)
    return msgspec.structs.replace(match, destination_ports=(PortRange(low, high),))


def _too_long() -> EnvironmentLacksError:
    return EnvironmentLacksError(
        f"the eBPF dataplane cannot express a rule or tier with more than {FARTHEST} parts; split it"
    )


def words(instruction: bytes) -> tuple[str, bool, bool, int, int]:
    """(what it does, whether it goes away when it holds, of the destination, distance, argument), for listings."""
    operation, flags, skip, argument = INSTRUCTION.unpack(instruction)
    what = _PORT_WORDS[flags >> OF_PROTOCOL] if operation == _PORTS_NUMBER else _WORDS[operation]
    return what, bool(flags & WHEN_TRUE), bool(flags & OF_DESTINATION), skip, argument
