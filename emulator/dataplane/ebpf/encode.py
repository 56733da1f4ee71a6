"""From policies and walks to instructions, and back to words for listings.

Rules are the business of `assembler.c`: there are many of them. Walks are written here.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from typing import NamedTuple, Protocol, cast

from emulator.dataplane.blocks import Block, Item, in_blocks
from emulator.dataplane.ebpf import build
from emulator.dataplane.ebpf.layout import DIRECTIONS, INSTRUCTION, NO_PROFILE
from reference.errors import EnvironmentLacksError
from reference.program.types import FlowDirection, Match, PortRange, ProgramRule, RuleAction, Walk

FARTHEST = 0xFFFF  # instructions a test may skip
_WHEN_TRUE, _OF_DESTINATION, _OF_PROTOCOL = 1, 2, 4  # flags; of the last one: bits to shift
_WORDS = ("end", "family", "protocol", "icmp type", "icmp type and code", "ports", "address", "address and port",
          "allow", "deny", "pass", "log", "policy", "go on")  # fmt: skip
_PORTS = _WORDS.index("ports")
_DECIDING = range(_WORDS.index("allow"), _WORDS.index("policy"))
# Where the parts of an instruction are in the number that it is.
_OPERATION, _SKIP, _ARGUMENT = (0, 16, 32) if sys.byteorder == "little" else (56, 32, 0)
_DENY, _POLICY, _GO_ON = (_WORDS.index(word) << _OPERATION for word in ("deny", "policy", "go on"))
_PORT_WORDS = ("ports", "TCP ports", "UDP ports", "SCTP ports")
ACTIONS: tuple[RuleAction, ...] = ("allow", "deny", "pass", "log")  # in the order of their words

Place = tuple[str, str, FlowDirection]
"""Where rules are: tier, policy, direction."""
Nets = tuple[str, ...]


class Numbering(NamedTuple):
    """Where numbers in instructions come from."""

    sets: Mapping[Hashable, int]  # of a set's base id, or of a list of nets; one that is asked for is given
    policy: Callable[[str], int]  # of a policy
    reference: Callable[[Place, int], int]  # the first of a place that has room for a user's rule


class Written(NamedTuple):
    """What lists of rules became, one behind the other."""

    instructions: bytes
    lengths: list[int]  # of each, in instructions
    nets: dict[int, tuple[Nets, ...]]  # lists of nets that some of them name, by the place in `lengths`


class _Assembler(Protocol):
    """The module that is compiled from assembler.c."""

    def know(self, rule: type, match: type, ports: type, block: type, actions: tuple[RuleAction, ...], /) -> None: ...

    def highest(self, lists: list[tuple[ProgramRule, ...]], /) -> list[int]: ...

    def assemble(
        self,
        lists: list[tuple[Item, ...]],
        firsts: list[int],
        sets: Mapping[Hashable, int],
        of_walk: bool,
        /,
    ) -> tuple[bytes, list[int], dict[int, tuple[Nets, ...]]]: ...


@lru_cache(maxsize=1)
def _assembler() -> _Assembler:
    path = str(build.assembler())
    loader = ExtensionFileLoader("assembler", path)
    spec = spec_from_file_location("assembler", path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    found = cast(_Assembler, module)
    found.know(ProgramRule, Match, PortRange, Block, ACTIONS)
    return found


def rules(
    lists: list[tuple[ProgramRule, ...]], places: Sequence[Place], numbers: Numbering, *, of_walk: bool = True
) -> Written:
    """The rules of policies or profiles in one direction each; where none decides, the walk goes on.

    `of_walk`: a walk goes through them, so that the last rule of a list may lead straight back there.

    Raises:
        EnvironmentLacksError: a rule is too long.
    """
    assembler = _assembler()
    firsts = [*map(numbers.reference, places, assembler.highest(lists))]
    try:
        return Written(*assembler.assemble([*map(in_blocks, lists)], firsts, numbers.sets, of_walk))
    except OverflowError:
        raise _too_long() from None


def walks(walks: Iterable[Walk], numbers: Numbering) -> Written:
    """Tiers in order, then profiles in order, then the walk's end (POL-12 … POL-15, HEP-3).

    Raises:
        EnvironmentLacksError: a tier is too long.
    """
    words: list[int] = []
    ends: list[int] = []
    for walk in walks:
        way = DIRECTIONS.index(walk.direction)
        for tier in walk.tiers:
            denies = tier.default_action == "deny" and bool(tier.policies)
            if len(tier.policies) + denies > FARTHEST:
                raise _too_long()
            behind = len(words) + len(tier.policies) + denies  # a pass goes on behind the tier's end
            for number in map(numbers.policy, tier.policies):
                words.append(_POLICY | behind - len(words) << _SKIP | policy_number(number, way) << _ARGUMENT)
            if denies:
                # FL-6: the end of a tier names the last policy of the tier as its trigger.
                first = numbers.reference((tier.tier, tier.policies[-1], walk.direction), -1)
                words.append(_DENY | reference(first, -1, "deny") << _ARGUMENT)
        for number in map(numbers.policy, walk.profiles):  # a pass moves on to the next profile (POL-14)
            words.append(_POLICY | 1 << _SKIP | policy_number(number, way) << _ARGUMENT)
        words.append(_DENY | NO_PROFILE << _ARGUMENT if walk.end == "deny" else _GO_ON)
        ends.append(len(words))
    return Written(array("Q", words).tobytes(), [end - begin for begin, end in pairwise([0, *ends])], {})


def policy_number(policy: int, way: int) -> int:
    """The number of a policy in a direction."""
    return policy * len(DIRECTIONS) + way


def reference(first: int, rule: int, action: RuleAction) -> int:
    """The number of a user's rule, or -1, and an action, where the numbers of its place begin with `first`."""
    return first + (rule + 1) * len(ACTIONS) + ACTIONS.index(action)


def decisions(code: bytes) -> Iterator[tuple[int, int]]:
    """(place, number of the reference) of every instruction that decides."""
    for place, (operation, _, _, argument) in enumerate(INSTRUCTION.iter_unpack(code)):
        if operation in _DECIDING:
            yield place, argument


def words(instruction: bytes) -> tuple[str, bool, bool, int, int]:
    """(what it does, whether it goes away when it holds, of the destination, distance, argument), for listings."""
    operation, flags, skip, argument = INSTRUCTION.unpack(instruction)
    what = _PORT_WORDS[flags >> _OF_PROTOCOL] if operation == _PORTS else _WORDS[operation]
    return what, bool(flags & _WHEN_TRUE), bool(flags & _OF_DESTINATION), skip, argument


def _too_long() -> EnvironmentLacksError:
    return EnvironmentLacksError(
        f"the eBPF dataplane cannot express a rule or tier with more than {FARTHEST} parts; split it"
    )
