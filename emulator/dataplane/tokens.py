"""What the tokens stand for that dropped and logged packets bear.

Most rules never drop or log a packet, so a token is made out when one is asked for and not while rules are written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock

from emulator.dataplane.contract import RuleRef

_MOST = 1 << 17  # rules whose tokens are not made out yet


class Tokens:
    """Tokens are kept when rules go: a drop may be reported after the rule that caused it was replaced."""

    def __init__(self, token_of: Callable[[RuleRef], str]) -> None:
        """Nothing is known. `token_of`: how a rule's token is written."""
        self._token_of = token_of
        self._rules: dict[str, RuleRef] = {}
        self._waiting: deque[RuleRef] = deque()
        self._one_at_a_time = Lock()

    def remember(self, rules: Iterable[RuleRef | None]) -> None:
        """Rules that may drop or log from now on; those without a name never do."""
        self._waiting.extend(filter(None, rules))
        if len(self._waiting) > _MOST:
            self._make_out()

    def rule(self, token: str) -> RuleRef | None:
        """The rule a token stands for; None if it is not ours. Any thread may ask."""
        self._make_out()
        return self._rules.get(token)

    def _make_out(self) -> None:
        with self._one_at_a_time:
            while self._waiting:
                rule = self._waiting.popleft()
                self._rules[self._token_of(rule)] = rule
