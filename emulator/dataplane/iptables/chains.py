"""From policies and walks to chains. Pure; a chain is a function of its part and the family alone.

Marks carry a policy's word back to the walk: a rule that allows goes to a chain that sets ACCEPT, one that passes to a
chain that sets PASS, and from the end of either the packet is back where the policy was jumped to from (IPT-3). That is
one kernel rule where "mark" and "return if marked" would be two, for the kernel to keep and for packets to pass by. All
other mark bits are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

from emulator.dataplane.blocks import Block, Item, in_blocks
from emulator.dataplane.contract import Guard, RuleRef
from emulator.dataplane.iptables.matching import Needs, conditions
from emulator.dataplane.iptables.names import (
    PROFILE_TIER,
    block_chain,
    group_chain,
    log_prefix,
    policy_chain,
    walk_chain,
)
from emulator.dataplane.iptables.parts import Chain, Rule, Table
from emulator.dataplane.nftables.chains import GROUPED_ABOVE, group
from emulator.dataplane.references import DIRECTIONS
from emulator.nflog import DENY_GROUP, LOG_GROUP
from reference.endpoints import Family
from reference.program.types import FlowDirection, PolicyProgram, RuleAction, TierStep, Walk

ACCEPT_MARK, PASS_MARK = 0x10000, 0x20000
SNAPLEN = 128  # enough for an IPv6 header with options and the transport's

ACCEPTED = f"-m mark --mark {ACCEPT_MARK:#x}/{ACCEPT_MARK:#x}"
CLEAR = f"-j MARK --set-xmark 0x0/{ACCEPT_MARK | PASS_MARK:#x}"
_UNDECIDED = f"-m mark --mark 0x0/{ACCEPT_MARK | PASS_MARK:#x}"
_NOT_PASSED = f"-m mark ! --mark {PASS_MARK:#x}/{PASS_MARK:#x}"
_RETURN_IF_ACCEPTED = Rule(f"{ACCEPTED} -j RETURN", "accepted")
_RETURN_IF_DECIDED = Rule(f"-m mark ! --mark 0x0/{ACCEPT_MARK | PASS_MARK:#x} -j RETURN", "accepted or passed")


def policy_chains(policy: PolicyProgram, family: Family, table: Table = "filter") -> Iterator[Chain]:
    """The ingress and the egress chain of a policy or profile; an empty one is there only where rules jump to it."""
    for direction, rules in zip(DIRECTIONS, (policy.ingress, policy.egress), strict=True):
        if rules:
            of = _Of(policy.tier, policy.id, direction, family, table)
            made = _rules_chain(policy_chain(policy.id, direction), of, in_blocks(rules))
            if made.rules:
                yield made


class _Of(NamedTuple):
    """What the rules of a chain are of."""

    tier: str
    policy: str
    direction: FlowDirection
    family: Family
    table: Table


def _rules_chain(name: str, of: _Of, items: tuple[Item, ...]) -> Chain:
    needs = Needs(of.family)
    written: list[Rule] = []
    behind: dict[str, Chain] = {}
    for item in items:
        if isinstance(item, Block):
            block = _block_chain(of, item)
            behind[block.name] = block
            for matching in conditions(item.cover.match, needs):
                written.append(Rule(_join(matching, f"-j {block.name}"), f"{len(item.items)} more that need this"))
            written.append(_RETURN_IF_DECIDED)
            continue
        ref = RuleRef(tier=of.tier, policy=of.policy, direction=of.direction, rule=item.index, action=item.action)
        if answer := _answer(item.action, of.table):
            behind[answer.name] = answer
        for matching in conditions(item.match, needs):
            written.extend(_acting(matching, ref))
    return Chain(
        name=name,
        table=of.table,
        rules=tuple(written),
        lookups=frozenset(needs.lookups),
        literals=frozenset(needs.literals),
        groups=tuple(behind.values()),
    )


@lru_cache(maxsize=8192)
def _block_chain(of: _Of, block: Block) -> Chain:
    """The chain behind a condition; known by its content, so that blocks that did not change stay."""
    return _rules_chain(block_chain(of.direction, msgspec.json.encode((of, block.items))), of, block.items)


def _acting(matching: str, ref: RuleRef) -> Iterator[Rule]:
    """A matching rule and what it does (POL-12, POL-20); the kernel rule that counts bears the reference."""
    if ref.action == "deny":
        yield from deny(matching, ref)
    elif ref.action == "log":
        yield Rule(_join(matching, _nflog(LOG_GROUP, ref)), str(ref), ref)
    else:
        yield Rule(_join(matching, f"-g {_ANSWERS[ref.action][0]}"), str(ref), ref)


_ANSWERS: dict[str, tuple[str, int, str]] = {
    "allow": ("cali-allowed", ACCEPT_MARK, "accepted"),
    "pass": ("cali-passed", PASS_MARK, "passed"),
}


@lru_cache(maxsize=32)
def _answer(action: RuleAction, table: Table) -> Chain | None:
    """The chain that rules of an action go to; each table has its own."""
    if action not in _ANSWERS:
        return None
    name, mark, words = _ANSWERS[action]
    return Chain(name=name, table=table, rules=(Rule(f"-j MARK --set-xmark {mark:#x}/{mark:#x}", words),))


def deny(matching: str, ref: RuleRef) -> tuple[Rule, Rule]:
    """Tell the listeners which rule it was, then drop and count."""
    return Rule(_join(matching, _nflog(DENY_GROUP, ref)), "tell"), Rule(_join(matching, "-j DROP"), str(ref), ref)


def _nflog(group_number: int, ref: RuleRef) -> str:
    return f'-j NFLOG --nflog-group {group_number} --nflog-size {SNAPLEN} --nflog-prefix "{log_prefix(ref)}"'


def guard_rules(matching: str, guard: Guard, direction: FlowDirection) -> tuple[Rule, Rule]:
    """A fixed denial of the dataplane."""
    tier = PROFILE_TIER if guard == "no profile matched" else ""
    return deny(matching, RuleRef(tier=tier, direction=direction, guard=guard))


@lru_cache(maxsize=4096)  # both families ask
def walk_to_chain(walk: Walk, table: Table = "filter") -> Chain:
    """The way of a packet through tiers and profiles (POL-12 … POL-15).

    Returning from the chain means accepted or, of a walk that goes on (HEP-3), not denied; the mark tells which.
    """
    rules = [Rule(CLEAR, "a walk begins: nothing decided")]
    direct = {policy_chain(profile, walk.direction) for profile in walk.profiles}
    groups: list[Chain] = []
    for number, tier in enumerate(walk.tiers):
        if number:
            rules.append(Rule(f"-j MARK --set-xmark 0x0/{PASS_MARK:#x}", f"tier {tier.tier} begins"))
        if len(tier.policies) > GROUPED_ABOVE:
            made = [_group(some, walk.direction, table) for some in group(tier.policies)]
            groups.extend(made)
            steps = [(chain.name, f"{len(chain.jumps)} policies") for chain in made]
        else:
            steps = [(policy_chain(policy, walk.direction), policy) for policy in tier.policies]
            direct.update(name for name, _ in steps)
        rules.extend(_tier(tier, steps, walk.direction))
    for profile in walk.profiles:
        rules.append(Rule(f"-j {policy_chain(profile, walk.direction)}", f"profile {profile}"))
        rules.append(_RETURN_IF_ACCEPTED)
    if walk.end == "deny":
        rules.extend(guard_rules("", "no profile matched", walk.direction))
    name = walk_chain(walk.id, walk.direction)
    return Chain(name=name, table=table, rules=tuple(rules), jumps=frozenset(direct), groups=tuple(groups))


def _tier(tier: TierStep, steps: list[tuple[str, str]], direction: FlowDirection) -> Iterator[Rule]:
    """A tier: its policies until one decides or passes, then its default action if none passed (POL-13)."""
    yield from _until_decided(f"tier {tier.tier}: ", steps)
    if steps:
        yield _RETURN_IF_ACCEPTED
    if tier.default_action == "deny" and tier.policies:
        # FL-6: the end of a tier names the last policy of the tier as its trigger.
        ref = RuleRef(tier=tier.tier, policy=tier.policies[-1], direction=direction, rule=-1, action="deny")
        yield from deny(_NOT_PASSED, ref)


def _until_decided(whose: str, steps: Iterable[tuple[str, str]]) -> Iterator[Rule]:
    """Jumps that a packet takes as long as it bears no mark; one that was decided passes by the rest of them."""
    for number, (chain, words) in enumerate(steps):
        yield Rule(_join(_UNDECIDED if number else "", f"-j {chain}"), f"{whose}{words}")


@lru_cache(maxsize=4096)
def _group(policies: tuple[str, ...], direction: FlowDirection, table: Table) -> Chain:
    """A chain that goes through some policies of a tier until one decides (POL-21's idea, whatever the selectors)."""
    steps = [(policy_chain(policy, direction), policy) for policy in policies]
    return Chain(
        name=group_chain(policies, direction),
        table=table,
        rules=tuple(_until_decided("", steps)),
        jumps=frozenset(name for name, _ in steps),
    )


def _join(matching: str, action: str) -> str:
    return f"{matching} {action}" if matching else action
