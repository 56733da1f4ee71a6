"""From policies and walks to chains. Pure; a chain is a function of its part alone.

Marks carry a policy's word back to the walk: a chain that allows sets ACCEPT and returns, one that passes sets PASS
and returns (IPT-3). All other mark bits are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from hashlib import sha256
from zlib import crc32

import msgspec

from emulator.dataplane.blocks import Block, Item, in_blocks
from emulator.dataplane.contract import Guard, RuleRef
from emulator.dataplane.nftables import expressions as e
from emulator.dataplane.nftables.matching import Needs, conditions
from emulator.dataplane.nftables.names import PROFILE_TIER, comment, log_prefix, policy_chain, walk_chain
from emulator.dataplane.nftables.parts import Chain, Rule
from reference.program.types import FlowDirection, PolicyProgram, ProgramRule, TierStep, Walk

ACCEPT_MARK, PASS_MARK = 0x10000, 0x20000
DENY_GROUP, LOG_GROUP = 1, 2
GROUPED_ABOVE, GROUP_SIZE = 32, 16  # policies of a tier; shorter lists are easier to read in one chain
SNAPLEN = 128  # enough for an IPv6 header with options and the transport's


def policy_chains(policy: PolicyProgram) -> tuple[Chain, Chain]:
    """The ingress and the egress chain of a policy or profile."""
    return _policy_chain(policy, "ingress", policy.ingress), _policy_chain(policy, "egress", policy.egress)


def _policy_chain(policy: PolicyProgram, direction: FlowDirection, rules: tuple[ProgramRule, ...]) -> Chain:
    return _rules_chain(policy_chain(policy.id, direction), (policy.tier, policy.id, direction), in_blocks(rules))


def _rules_chain(name: str, of: tuple[str, str, FlowDirection], items: tuple[Item, ...]) -> Chain:
    """The chain of some rules of a policy; `of` is its tier, its id and the direction."""
    needs = Needs()
    written: list[Rule] = []
    blocks: list[Chain] = []
    for item in items:
        if isinstance(item, Block):
            blocks.append(block := _block_chain(of, item))
            jump, words = e.verdict(e.JUMP, block.name), comment(f"{len(item.items)} more that need this")
            written.extend(Rule(matching + jump, words) for matching in conditions(item.cover.match, needs))
            written.append(_RETURN_IF_DECIDED)
            continue
        tier, policy, direction = of
        ref = RuleRef(tier=tier, policy=policy, direction=direction, rule=item.index, action=item.action)
        act, words = _action(ref), comment(str(ref))
        written.extend(Rule(matching + act, words, ref) for matching in conditions(item.match, needs))
    return Chain(
        name=name,
        rules=tuple(written),
        sets=frozenset(needs.sets),
        literals=frozenset(needs.literals),
        groups=tuple(blocks),
    )


@lru_cache(maxsize=4096)
def _block_chain(of: tuple[str, str, FlowDirection], block: Block) -> Chain:
    """The chain behind a condition; known by its content, so that blocks that did not change stay."""
    digest = sha256(msgspec.json.encode((of, block.items))).hexdigest()[:16]
    return _rules_chain(f"block-{'in' if of[2] == 'ingress' else 'out'}-{digest}", of, block.items)


def _action(ref: RuleRef) -> bytes:
    """What a matching rule does (POL-12, POL-20)."""
    if ref.action == "deny":
        return deny(ref)
    if ref.action == "log":
        return e.counter() + e.log(LOG_GROUP, log_prefix(ref), SNAPLEN)
    mark = ACCEPT_MARK if ref.action == "allow" else PASS_MARK
    return e.counter() + e.mark_change(put=mark) + e.verdict(e.RETURN)


def deny(ref: RuleRef) -> bytes:
    """Count, tell the listeners which rule it was, drop."""
    return e.counter() + e.log(DENY_GROUP, log_prefix(ref), SNAPLEN) + e.verdict(e.DROP)


def guard_rule(matching: bytes, guard: Guard, direction: FlowDirection) -> Rule:
    """A fixed denial of the dataplane."""
    ref = RuleRef(tier=PROFILE_TIER if guard == "no profile matched" else "", direction=direction, guard=guard)
    return Rule(matching + deny(ref), comment(str(ref)), ref)


def walk_to_chain(walk: Walk) -> Chain:
    """The way of a packet through tiers and profiles (POL-12 … POL-15).

    Returning from the chain means accepted or, of a walk that goes on (HEP-3), not denied; the mark tells which.
    """
    rules = [Rule(e.mark_change(clear=ACCEPT_MARK | PASS_MARK), "a walk begins: nothing decided")]
    direct, groups = set(map(partial(policy_chain, direction=walk.direction), walk.profiles)), []
    for number, tier in enumerate(walk.tiers):
        if number:
            rules.append(Rule(e.mark_change(clear=PASS_MARK), comment(f"tier {tier.tier} begins")))
        if len(tier.policies) > GROUPED_ABOVE:
            made = [_group(some, walk.direction) for some in group(tier.policies)]
            groups.extend(made)
            steps = [(chain.name, f"{len(chain.jumps)} policies") for chain in made]
        else:
            steps = [(policy_chain(policy, walk.direction), policy) for policy in tier.policies]
            direct.update(name for name, _ in steps)
        rules.extend(_tier(tier, steps, walk.direction))
    for profile in walk.profiles:
        rules.append(Rule(e.verdict(e.JUMP, policy_chain(profile, walk.direction)), comment(f"profile {profile}")))
        rules.append(_RETURN_IF_ACCEPTED)
    if walk.end == "deny":
        rules.append(guard_rule(b"", "no profile matched", walk.direction))
    return Chain(name=walk_chain(walk), rules=tuple(rules), jumps=frozenset(direct), groups=tuple(groups))


_RETURN_IF_ACCEPTED = Rule(e.mark_has(ACCEPT_MARK) + e.verdict(e.RETURN), "accepted")
_RETURN_IF_DECIDED = Rule(e.mark_has(ACCEPT_MARK | PASS_MARK) + e.verdict(e.RETURN), "accepted or passed")


def _tier(tier: TierStep, steps: list[tuple[str, str]], direction: FlowDirection) -> Iterator[Rule]:
    """A tier: its policies until one decides or passes, then its default action if none passed (POL-13)."""
    undecided = b""
    for chain, words in steps:
        yield Rule(undecided + e.verdict(e.JUMP, chain), comment(f"tier {tier.tier}: {words}"))
        yield _RETURN_IF_ACCEPTED
        undecided = e.mark_has(PASS_MARK, present=False)
    if tier.default_action == "deny" and tier.policies:
        # FL-6: the end of a tier names the last policy of the tier as its trigger.
        ref = RuleRef(tier=tier.tier, policy=tier.policies[-1], direction=direction, rule=-1, action="deny")
        yield Rule(undecided + deny(ref), comment(str(ref)), ref)


@lru_cache(maxsize=1024)
def group(policies: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Cut a long list of policies where their names say: two lists with one difference share nearly all pieces."""
    pieces: list[tuple[str, ...]] = []
    begun: list[str] = []
    for policy in policies:
        begun.append(policy)
        if crc32(policy.encode()) % GROUP_SIZE == 0:
            pieces.append(tuple(begun))
            begun = []
    return (*pieces, tuple(begun)) if begun else tuple(pieces)


@lru_cache(maxsize=4096)
def _group(policies: tuple[str, ...], direction: FlowDirection) -> Chain:
    """A chain that goes through some policies of a tier until one decides (POL-21's idea, whatever the selectors)."""
    rules = []
    for policy in policies:
        rules.append(Rule(e.verdict(e.JUMP, policy_chain(policy, direction)), comment(policy)))
        rules.append(_RETURN_IF_DECIDED)
    digest = sha256("\0".join(policies).encode()).hexdigest()[:16]
    return Chain(
        name=f"group-{'in' if direction == 'ingress' else 'out'}-{digest}",
        rules=tuple(rules),
        jumps=frozenset(policy_chain(policy, direction) for policy in policies),
    )
