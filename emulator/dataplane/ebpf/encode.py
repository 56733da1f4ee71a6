"""From policies and walks to instructions. Pure; an instruction is a number of 64 bits, as the kernel reads it.

A rule is its tests and then its action; a test that fails goes to the next rule. Alternatives (RULE-5) are tests that
go to the end of their group when they hold; a negated list is tests that go to the next rule when they hold. Rules of a
long list are in blocks (`blocks.py`): tests that fail go past the whole block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from emulator.dataplane.blocks import Block, Cover, Item, in_blocks
from emulator.dataplane.contract import RuleRef
from emulator.dataplane.ebpf.layout import INSTRUCTION, NO_PROFILE
from reference.errors import EnvironmentLacksError
from reference.program.nets import net
from reference.program.types import FlowDirection, Match, PolicyProgram, PortRange, ProgramRule, Walk

END, FAMILY, PROTOCOL, ICMP_TYPE, ICMP_TYPE_CODE, PORTS, ADDRESS, ADDRESS_AND_PORT = range(8)
ALLOW, DENY, PASS, LOG, POLICY, GO_ON = range(8, 14)
WHEN_TRUE, OF_DESTINATION, LEAVES, OF_PROTOCOL = 1, 2, 4, 4  # the last one: bits to shift
_PROTOCOLS = {6: 1, 17: 2, 132: 3}  # with ports, as a test of ports can ask for them
FARTHEST = 0xFFFF  # instructions a test may skip
_ACTIONS = {"allow": ALLOW, "deny": DENY, "pass": PASS, "log": LOG}
_WORDS = ("end", "family", "protocol", "icmp type", "icmp type and code", "ports", "address", "address and port",
          "allow", "deny", "pass", "log", "policy", "go on")  # fmt: skip
_PORT_WORDS = ("ports", "TCP ports", "UDP ports", "SCTP ports")


class Test(NamedTuple):
    """One question about a packet."""

    operation: int
    argument: int
    destination: bool = False
    protocol: int = 0  # of a test of ports: that and no other


class Group(NamedTuple):
    """Tests of which one must hold, or none may."""

    tests: tuple[Test, ...]
    negated: bool = False


class Action(NamedTuple):
    """An instruction that decides: where it is in its block, and what it stands for."""

    offset: int
    reference: RuleRef
    rule: ProgramRule | None = None


class Code(NamedTuple):
    """A block of instructions."""

    instructions: list[bytes]
    actions: list[Action]


class Numbering(NamedTuple):
    """Where numbers in instructions come from."""

    set: Callable[[str], int]  # of a set's base id
    nets: Callable[[tuple[str, ...]], int]  # of a set with these members for ever
    policy: Callable[[str, FlowDirection], int]
    reference: Callable[[RuleRef], int]


def policy_code(policy: PolicyProgram, direction: FlowDirection, numbers: Numbering, *, of_walk: bool = True) -> Code:
    """The rules of a policy or profile in one direction; when none decides, the walk goes on.

    `of_walk`: a walk goes through it, so that the last rule may lead straight back there.
    """
    rules = policy.ingress if direction == "ingress" else policy.egress

    def written(items: tuple[Item, ...], *, at_end: bool) -> Code:
        code = Code([], [])
        for position, item in enumerate(items, 1):
            is_last = at_end and position == len(items)
            if isinstance(item, Block):
                inside = written(item.items, at_end=is_last)
                _append(code, _behind(groups(_condition(item.cover), numbers), inside))
                continue
            ref = RuleRef(tier=policy.tier, policy=policy.id, direction=direction, rule=item.index, action=item.action)
            code.instructions.extend(_tests(groups(item.match, numbers), leaves=is_last))
            code.actions.append(Action(len(code.instructions), ref, item))
            code.instructions.append(_instruction(_ACTIONS[item.action], numbers.reference(ref)))
        return code

    code = written(in_blocks(rules), at_end=of_walk)
    code.instructions.append(_instruction(END, 0))
    return code


def _condition(cover: Cover) -> Match:
    """Of ports one range that holds them all: each range is a test here, so that more would cost what they spare."""
    match = cover.match
    if not match.destination_ports:
        return match
    low = min(port.low for port in match.destination_ports)
    high = max(port.high for port in match.destination_ports)
    return msgspec.structs.replace(match, destination_ports=(PortRange(low, high),))


def _behind(condition: Iterator[Group], code: Code) -> Code:
    """A block behind its condition, or by itself where that could not skip so far."""
    asked = list(condition)
    if sum(len(group.tests) for group in asked) + len(code.instructions) > FARTHEST:
        return code
    tests = _tests(iter(asked), leaves=False, over=len(code.instructions))
    actions = [action._replace(offset=action.offset + len(tests)) for action in code.actions]
    return Code(tests + code.instructions, actions)


def _append(code: Code, more: Code) -> None:
    code.actions.extend(action._replace(offset=action.offset + len(code.instructions)) for action in more.actions)
    code.instructions.extend(more.instructions)


def walk_code(walk: Walk, numbers: Numbering) -> Code:
    """Tiers in order, then profiles in order, then the walk's end (POL-12 … POL-15, HEP-3)."""
    code = Code([], [])
    for tier in walk.tiers:
        denies = tier.default_action == "deny" and bool(tier.policies)
        count = len(tier.policies)
        for position, policy in enumerate(tier.policies):
            after = count - position + denies  # a pass goes on behind the tier's end
            code.instructions.append(_instruction(POLICY, numbers.policy(policy, walk.direction), after))
        if denies:
            # FL-6: the end of a tier names the last policy of the tier as its trigger.
            ref = RuleRef(tier=tier.tier, policy=tier.policies[-1], direction=walk.direction, rule=-1, action="deny")
            code.actions.append(Action(len(code.instructions), ref))
            code.instructions.append(_instruction(DENY, numbers.reference(ref)))
    for profile in walk.profiles:  # a pass moves on to the next profile (POL-14)
        code.instructions.append(_instruction(POLICY, numbers.policy(profile, walk.direction), 1))
    code.instructions.append(_instruction(DENY, NO_PROFILE) if walk.end == "deny" else GO_ON_CODE)
    return code


def groups(match: Match, numbers: Numbering) -> Iterator[Group]:
    """What a match asks, the cheap questions first (RULE-1)."""
    protocol = _protocol_of_ports(match)
    yield from _of_packet(match, asked=protocol)
    for ports, sets, destination, negated in (
        (match.source_ports, match.source_port_sets, False, False),
        (match.not_source_ports, match.not_source_port_sets, False, True),
        (match.destination_ports, match.destination_port_sets, True, False),
        (match.not_destination_ports, match.not_destination_port_sets, True, True),
    ):
        if ports or sets:
            code = _PROTOCOLS[protocol] if protocol and not sets and not negated else 0
            yield Group(tuple(_ports(ports, sets, destination, numbers, code)), negated)
    for nets, destination, negated in (
        (match.source_nets, False, False),
        (match.not_source_nets, False, True),
        (match.destination_nets, True, False),
        (match.not_destination_nets, True, True),
    ):
        if nets:
            yield from _nets(nets, destination, negated, numbers)
    for bases, destination, negated in (
        (match.source_sets, False, False),
        (match.not_source_sets, False, True),
        (match.destination_sets, True, False),
        (match.not_destination_sets, True, True),
    ):
        for base in bases:
            yield Group((Test(ADDRESS, numbers.set(base), destination),), negated)


def _protocol_of_ports(match: Match) -> int:
    """The protocol that tests of ports ask for on the way, so that it needs no test of its own; 0 for none."""
    asks = (match.source_ports and not match.source_port_sets) or (
        match.destination_ports and not match.destination_port_sets
    )
    return match.protocol if asks and match.protocol in _PROTOCOLS else 0


def _of_packet(match: Match, asked: int) -> Iterator[Group]:
    if match.family is not None:
        yield Group((Test(FAMILY, match.family),))
    for protocol, negated in ((match.protocol, False), (match.not_protocol, True)):
        if protocol is not None and (negated or not asked):
            yield Group((Test(PROTOCOL, protocol),), negated)
    for icmp, negated in ((match.icmp, False), (match.not_icmp, True)):
        if icmp is not None:
            yield Group((_icmp(*icmp),), negated)


def _nets(nets: tuple[str, ...], destination: bool, negated: bool, numbers: Numbering) -> Iterator[Group]:
    """A list with nothing for a family takes the rule out of that family, negated or not (RULE-4)."""
    families = {net(text).family for text in nets}
    if negated and len(families) == 1:
        yield Group((Test(FAMILY, families.pop()),))
    yield Group((Test(ADDRESS, numbers.nets(nets), destination),), negated)


def _icmp(icmp_type: int, code: int | None) -> Test:
    return Test(ICMP_TYPE, icmp_type) if code is None else Test(ICMP_TYPE_CODE, icmp_type << 8 | code)


def _ports(
    ranges: Sequence[PortRange], sets: Sequence[str], destination: bool, numbers: Numbering, protocol: int
) -> Iterator[Test]:
    for each in ranges:
        yield Test(PORTS, each.low << 16 | each.high, destination, protocol)
    for base in sets:
        yield Test(ADDRESS_AND_PORT, numbers.set(base), destination)


def _tests(asked: Iterator[Group], *, leaves: bool, over: int = 1) -> list[bytes]:
    """The tests before an action; those that fail go past it, and with `leaves` out of the policy at once.

    `over`: how many instructions are behind them, when it is not one.
    """
    every = list(asked)
    end = sum(len(group.tests) for group in every) + over
    written: list[bytes] = []
    for group in every:
        group_end = len(written) + len(group.tests)
        for test in group.tests:
            at = len(written)
            last = at == group_end - 1
            target, flag = (end, WHEN_TRUE) if group.negated else (end, 0) if last else (group_end, WHEN_TRUE)
            flags = flag | OF_DESTINATION * test.destination | test.protocol << OF_PROTOCOL
            flags |= LEAVES * (leaves and target == end)
            written.append(_instruction(test.operation, test.argument, target - at, flags))
    return written


def _instruction(operation: int, argument: int, skip: int = 0, flags: int = 0) -> bytes:
    if skip > FARTHEST:
        raise EnvironmentLacksError(
            f"the eBPF dataplane cannot express a rule or tier with more than {FARTHEST} parts; split it"
        )
    return INSTRUCTION.pack(operation, flags, skip, argument)


def words(instruction: bytes) -> tuple[str, bool, bool, int, int]:
    """(what it does, whether it goes away when it holds, of the destination, distance, argument), for listings."""
    operation, flags, skip, argument = INSTRUCTION.unpack(instruction)
    what = _PORT_WORDS[flags >> OF_PROTOCOL] if operation == PORTS else _WORDS[operation]
    return what, bool(flags & WHEN_TRUE), bool(flags & OF_DESTINATION), skip, argument


GO_ON_CODE = _instruction(GO_ON, 0)
