"""What in one family's tables and sets is not as it was programmed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from emulator.dataplane.iptables.base import HOOKS
from emulator.dataplane.iptables.kernel import Kernel, hook_rule

V = TypeVar("V")
_MOST_SAID = 5


def said(found: Kernel, programmed: Kernel) -> str:
    """The differences, in one line for people; "" if there are none.

    Rules of others are no concern of ours, unless they come before our jump (IPT-7).
    """
    words = [
        f"the jump in chain {base} of table {table} is not there once and first"
        for table, base, target in HOOKS
        if not _is_hooked(found.hooks.get((table, base), ()), hook_rule(table, base, target)[0])
    ]
    words += _differences("chain", found.chains, programmed.chains, "rules")
    words += _differences("set", found.sets, programmed.sets, "members")
    return "; ".join(words[:_MOST_SAID]) + (f"; and {len(words) - _MOST_SAID} more" if len(words) > _MOST_SAID else "")


def _is_hooked(rules: tuple[str, ...], wanted: str) -> bool:
    return rules[:1] == (wanted,) and not any(rules[1:])


def _differences(kind: str, found: Mapping[str, V], programmed: Mapping[str, V], parts: str) -> list[str]:
    words = [f"{kind} {name} is missing" for name in programmed if name not in found]
    words += [f"{kind} {name} is not ours" for name in found if name not in programmed]
    changed = (name for name in programmed if name in found and found[name] != programmed[name])
    return words + [f"{kind} {name} has other {parts}" for name in changed]
