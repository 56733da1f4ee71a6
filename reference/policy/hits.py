"""Policy hits: the terms in which Calico's flow logs tell a trace, spelled and read back (FL-5)."""

from __future__ import annotations

import re
from typing import Literal, cast, get_args

import msgspec

from reference.errors import InvalidInputError
from reference.resources.names import dns_label, dns_subdomain

HitAction = Literal["allow", "deny", "pass"]
PROFILE_TIER = "__PROFILE__"  # the tier of a profile's hits
PROFILE_KIND = "pro"
END_OF_TIER = -1  # the rule of a hit whose policy is only the trigger
HIT_KINDS: dict[str, bool] = {  # short kind -> has a namespace
    "np": True,
    "gnp": False,
    "knp": True,
    "kcnp": False,
    "kanp": False,  # AdminNetworkPolicy and BaselineAdminNetworkPolicy are Muslin's: Calico reads them no longer
    "kbanp": False,
    "snp": True,
    "sgnp": False,
    "sknp": True,
    PROFILE_KIND: False,
}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # as it is spelled: no sign to spare, no leading zero


class Hit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decision on the way, in the terms of FL-5. `rule` -1 is the end of a tier, `policy` then only the trigger."""

    tier: str  # "__PROFILE__" for profiles
    kind: str  # one of HIT_KINDS
    namespace: str  # empty for cluster-scoped kinds
    name: str
    action: HitAction
    rule: int

    @property
    def policy(self) -> str:
        """`<kind>:[<namespace>/]<name>`."""
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind}:{place}"

    @property
    def staged(self) -> bool:
        """Report whether it is a staged policy's; such hits are in pending traces only (FL-6)."""
        return self.kind.startswith("s")

    def render(self, index: int) -> str:
        """FL-5: `<index>|<tier>|<kind>:[<namespace>/]<name>|<action>|<rule>`."""
        return f"{index}|{self.tier}|{self.policy}|{self.action}|{self.rule}"

    @classmethod
    def parse(cls, text: str) -> tuple[int, Hit]:
        """The index and the hit that a string of FL-5 spells; `hit.render(index)` gives the string again.

        Raises:
            InvalidInputError: it is not five fields, or one of them is not what FL-5 wants there.
        """
        parts = text.split("|")
        if len(parts) != 5:
            raise _bad(text, f"{len(parts)} fields, expected 5: index|tier|kind:[namespace/]name|action|rule")
        index, tier, policy, action, rule = parts
        if action not in get_args(HitAction):
            raise _bad(text, f"action {action!r} is not one of {', '.join(get_args(HitAction))}")
        kind, namespace, name = _policy(text, policy)
        number, place = _integer(text, "rule", rule, END_OF_TIER), _integer(text, "index", index, 0)
        _check_names(text, kind, tier, name)
        hit = cls(
            tier=tier, kind=kind, namespace=namespace, name=name, action=cast(HitAction, action), rule=number
        )  # fmt: skip
        return place, hit


def _policy(text: str, policy: str) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    kind, colon, place = policy.partition(":")
    if not colon:
        raise _bad(text, f"policy {policy!r} has no kind before a colon")
    if kind not in HIT_KINDS:
        raise _bad(text, f"kind {kind!r} is not one of {', '.join(HIT_KINDS)}")
    namespace, slash, name = place.rpartition("/")
    if bool(slash) != HIT_KINDS[kind]:
        wanted = "needs a namespace: kind:namespace/name" if HIT_KINDS[kind] else "has no namespace"
        raise _bad(text, f"policy {policy!r}: a policy of kind {kind} {wanted}")
    problem = dns_label(namespace) if slash else None
    if problem:
        raise _bad(text, f"namespace {problem}")
    return kind, namespace, name


def _check_names(text: str, kind: str, tier: str, name: str) -> None:
    """Tier and name are DNS names; profiles, and only they, are in a tier that is none."""
    if (kind == PROFILE_KIND) != (tier == PROFILE_TIER):
        raise _bad(text, f"tier {tier!r}: {PROFILE_TIER} is the tier of profiles (pro:), and of nothing else")
    problem = None if tier == PROFILE_TIER else dns_subdomain(tier)
    if problem:
        raise _bad(text, f"tier {problem}")
    problem = None if kind == PROFILE_KIND and name == PROFILE_TIER else dns_subdomain(name)
    if problem:
        raise _bad(text, f"name {problem}")


def _integer(text: str, what: str, digits: str, lowest: int) -> int:
    if not _INTEGER.fullmatch(digits):
        raise _bad(text, f"{what} {digits!r} is not a whole number")
    if int(digits) < lowest:
        raise _bad(text, f"{what} {digits} is below {lowest}")
    return int(digits)


def _bad(text: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"policy hit {text!r}: {why}")
