"""How large the maps of a program have to be. Pure."""

from __future__ import annotations

from itertools import islice

from reference.program.types import NodeProgram

SMALLEST = {"code": 1 << 15, "policies": 1 << 13, "wide": 1 << 13, "members": 1 << 16, "endpoints": 1 << 12}
LARGEST = 1 << 24
SAMPLE = 64  # policies; to count the rules of very many takes its time
_INSTRUCTIONS_PER_RULE = 4


def sizes_for(program: NodeProgram, sizes: dict[str, int], sample: int) -> dict[str, int]:
    """Map sizes with room for two programs as large as this one, should all its policies be like the first so many."""
    some = [len(policy.ingress) + len(policy.egress) for policy in islice(program.policies.values(), sample)]
    rules = sum(some) * len(program.policies) // max(1, len(some))
    steps = sum(
        len(walk.profiles) + sum(len(tier.policies) + 1 for tier in walk.tiers) for walk in program.walks.values()
    )
    needed = {
        "code": 2 * (_INSTRUCTIONS_PER_RULE * rules + 2 * len(program.policies) + steps),
        "policies": 8 * len(program.policies),
        "wide": 2 * (len(program.sets) + rules),
        "members": 2 * sum(len(ipset.members) for ipset in program.sets.values()),
        "endpoints": 8 * len(program.endpoints),
    }
    return {name: size if needed[name] <= size else 1 << needed[name].bit_length() for name, size in sizes.items()}
