"""Very large sets of nets, each as sets of networks of one length. Pure.

When one interval of a set changes, the kernel goes through all of them: a hundredth of a second among 100,000. A set of
plain keys changes at once, however large. So a set of more than `LARGEST` members, a crowd, is in the kernel a set for
each length its nets have, "s-web4.28", and a rule that asks for an address in it is a rule for each of these, which
cuts the address to that length. No net of a program's set is within another, so at most one of them matches.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

import msgspec

from emulator.dataplane.nftables import expressions as e
from emulator.dataplane.nftables.names import is_programs
from emulator.dataplane.nftables.parts import Chain, Rule, SetSpec, SetType
from emulator.dataplane.nftables.turns import LARGEST
from reference.endpoints import Family
from reference.program.nets import Cover, net

_KEYS: dict[SetType, SetType] = {"nets4": "networks4", "nets6": "networks6"}


class Crowd(msgspec.Struct, frozen=True):
    """How many members of each prefix length a crowd has, the longest first."""

    counts: tuple[tuple[int, int], ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths, each of which is a set of the kernel."""
        return tuple(length for length, _ in self.counts)

    def changed(self, gone: Iterable[str], come: Iterable[str]) -> Crowd:
        """The crowd after members went and came."""
        counts = Counter(dict(self.counts))
        for length, some in _by_length(gone).items():
            counts[length] -= len(some)
        for length, some in _by_length(come).items():
            counts[length] += len(some)
        return Crowd(tuple(sorted((+counts).items(), reverse=True)))


def is_crowd(spec: SetSpec, members: frozenset[str]) -> bool:
    """Whether a set of the program is too large to be one of intervals."""
    return is_programs(spec.name) and spec.type in _KEYS and len(members) > LARGEST


def crowd_of(members: frozenset[str]) -> Crowd:
    """The crowd of all these members."""
    return Crowd(()).changed((), members)


def part(spec: SetSpec, length: int) -> SetSpec:
    """The kernel's set for the members of one length."""
    return SetSpec(f"{spec.name}.{length}", _KEYS[spec.type])


def parts(spec: SetSpec, members: frozenset[str]) -> dict[SetSpec, frozenset[str]]:
    """Members by the kernel sets they belong in."""
    return {part(spec, length): frozenset(some) for length, some in sorted(_by_length(members).items(), reverse=True)}


def replaced(gone: frozenset[str], come: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """(gone within one that came, come within one that goes): to remove after, or add before, these changes nothing.

    Left to the change itself they might: a packet on its way from the one part's rule to the other's would miss both.
    """
    return _within(gone, come), _within(come, gone)


def _within(some: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    wide = [found for found in map(net, others) if not found.is_host] if some else []
    if not wide:
        return frozenset()
    cover = Cover(wide[0].family, wide)
    return frozenset(member for member in some if cover.contains(net(member)))


def chain_in_parts(chain: Chain, crowds: Mapping[str, Crowd]) -> Chain:
    """A chain whose rules ask for the parts of the crowds they read."""
    if not crowds:
        return chain
    read = [spec for spec in chain.sets if spec.name in crowds]
    if not read:
        return chain
    rules = tuple(made for rule in chain.rules for made in _in_parts(rule, read, crowds))
    return msgspec.structs.replace(chain, rules=rules)


def _in_parts(rule: Rule, read: Iterable[SetSpec], crowds: Mapping[str, Crowd]) -> Iterator[Rule]:
    """In any of the parts: a rule for each. In none of them: one rule that asks for all."""
    alternatives = [rule.expressions]
    for spec, source in product(read, (True, False)):
        family: Family = 4 if spec.type == "nets4" else 6
        lengths = crowds[spec.name].lengths
        within, without = (e.address_in_set(family, source, spec.name, asked) for asked in (True, False))
        either = [e.network_in_set(family, source, part(spec, length).name, length, True) for length in lengths]
        none = [e.network_in_set(family, source, part(spec, length).name, length, False) for length in lengths]
        if within in rule.expressions:
            alternatives = [old.replace(within, new) for old in alternatives for new in either]
        alternatives = [old.replace(without, b"".join(none)) for old in alternatives]
    return (msgspec.structs.replace(rule, expressions=made) for made in alternatives)


def _by_length(members: Iterable[str]) -> dict[int, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for member in members:
        found[member.rpartition("/")[2]].append(member)
    return {int(length): some for length, some in found.items()}
