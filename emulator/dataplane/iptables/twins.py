"""The chains of a policy for IPv6, from those for IPv4. Pure.

Most policies say the same in both families, but for the digit in the names of their sets: to change that takes a third
of the time of writing them again.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from emulator.dataplane.blocks import has_blocks
from emulator.dataplane.iptables.parts import Chain, Rule, SetSpec
from reference.packet import PORTED
from reference.program.types import Match, PolicyProgram

_BEGINS, _TWIN_BEGINS = "cali40", "cali60"
_LOOKUP, _TWIN_LOOKUP = f"--match-set {_BEGINS}", f"--match-set {_TWIN_BEGINS}"
_SAME_IN_BOTH = frozenset((None, *PORTED))  # protocols


def has_twins(policy: PolicyProgram) -> bool:
    """Whether the chains of both families differ in names of sets only. Blocks are named by their family, too."""
    return not has_blocks(policy) and all(
        _is_same_in_both(rule.match) for rules in (policy.ingress, policy.egress) for rule in rules
    )


def twins(chains: Iterable[Chain]) -> tuple[Chain, ...]:
    """The chains of such a policy for IPv6, from those for IPv4."""
    return tuple([_twin(chain) if chain.lookups else chain for chain in chains])


def _is_same_in_both(match: Match) -> bool:
    return (
        match.protocol in _SAME_IN_BOTH
        and match.family is None
        and match.not_protocol is None
        and match.icmp is None
        and match.not_icmp is None
        and not (match.source_nets or match.not_source_nets or match.destination_nets or match.not_destination_nets)
    )


def _twin(chain: Chain) -> Chain:
    return msgspec.structs.replace(
        chain,
        rules=tuple([Rule(rule.text.replace(_LOOKUP, _TWIN_LOOKUP), rule.comment, rule.ref) for rule in chain.rules]),
        lookups=frozenset(
            [(SetSpec(_TWIN_BEGINS + spec.name[len(_BEGINS) :], spec.type), side) for spec, side in chain.lookups]
        ),
    )
