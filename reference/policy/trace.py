"""The full trace of one side: hits in the terms of FL-5, and steps for people."""

from __future__ import annotations

from typing import Literal

from reference.policy.nearness import Miss
from reference.policy.ordering import OrderedTier, Policy
from reference.policy.question import Question
from reference.policy.rules import PolicyRule
from reference.policy.verdict import PROFILE_TIER, Hit, HitAction, Side, SideName, Step
from reference.policy.view import ProfileOnWay, TierOnWay
from reference.policy.walk import Recorder

_ACTIONS: dict[str, HitAction] = {"Allow": "allow", "Deny": "deny", "Pass": "pass"}
_PAST = {"Allow": "allowed", "Deny": "denied", "Pass": "passed"}
Outcome = Literal["match", "miss", "end of tier", "log"]


class Trace(Recorder):
    """Writes down one walk."""

    def __init__(self, question: Question, direction: SideName, endpoint: str, tiers: tuple[OrderedTier, ...]) -> None:
        self._question = question
        self._direction = direction
        self._endpoint = endpoint
        self._ahead = list(tiers)  # tiers the walk has not come to
        self._tier = ""
        self._hits: list[Hit] = []
        self._steps: list[Step] = []
        self._reason = ""
        self._tier_default = ""
        self._here: TierOnWay | None = None
        self.misses: list[Miss] = []

    def side(self, *, allowed: bool) -> Side:
        """What was written down."""
        return Side(
            direction=self._direction,
            endpoint=self._endpoint,
            allowed=allowed,
            hits=tuple(self._hits),
            steps=tuple(self._steps),
            reason=self._reason,
            tier_default=self._tier_default,
        )

    def entered(self, tier: TierOnWay) -> None:
        """Notes the tiers skipped on the way here: nothing in them governs this direction of this endpoint."""
        while (skipped := self._ahead.pop(0)) is not tier.tier:
            self._skip(skipped)
        self._tier, self._here = tier.tier.name, tier
        if not tier.tier.exists:
            self._step(
                "", None, "miss", f"tier {self._tier} does not exist: its policies come last, and it denies (POL-4)"
            )

    def entered_profiles(self) -> None:
        """The tiers left were skipped too."""
        for skipped in self._ahead:
            self._skip(skipped)
        self._tier, self._here = PROFILE_TIER, None

    def missed(self, policy: Policy | ProfileOnWay, rule: PolicyRule, field: str) -> None:
        """The reason is put in words here, and only here."""
        self.misses.append(Miss(self._here, policy, rule, field))
        text = f"rule {rule.index} ({rule.action}) misses: {rule.why(field, self._question)}"
        self._step(policy.id, rule.index, "miss", text)

    def logged(self, policy: Policy | ProfileOnWay, rule: PolicyRule) -> None:
        """A Log rule leaves a step, never a hit (POL-12)."""
        self._step(policy.id, rule.index, "log", f"rule {rule.index} (Log) matches and is logged")

    def matched(self, policy: Policy | ProfileOnWay, rule: PolicyRule) -> None:
        """A decision."""
        self._hit(policy, rule.action, rule.index)
        self._step(policy.id, rule.index, "match", f"rule {rule.index} ({rule.action}) matches")
        in_tier = "" if isinstance(policy, ProfileOnWay) else f" in tier {self._tier}"
        self._reason = f"{_PAST[rule.action]} by rule {rule.index} of {policy.id}{in_tier}"

    def ended(self, tier: TierOnWay) -> None:
        """The last policy that governs the direction is named as the trigger (FL-6)."""
        trigger, action = tier.policies[-1], tier.tier.default_action
        self._hit(trigger, action, -1)
        text = f"end of tier: no rule matched, default action {action}"
        self._step("", None, "end of tier", text)
        names = ", ".join(policy.id for policy in tier.policies)
        self._tier_default = "" if action == "Pass" else self._tier
        self._reason = f"{_PAST[action]} at the end of tier {self._tier}: no rule of {names} matched"

    def stood_in(self, profile: ProfileOnWay) -> None:
        """A missing profile denies everything (POL-16)."""
        self._hit(profile, "Deny", -1)
        self._step(profile.id, None, "match", f"profile {profile.name} does not exist, so it denies everything")
        self._reason = f"denied by {profile.id}, which does not exist"

    def exhausted(self) -> None:
        """Nothing allowed it (POL-15). The hit names no profile; the last hit is always the verdict (FL-6)."""
        self._hits.append(Hit(tier=PROFILE_TIER, kind="pro", namespace="", name=PROFILE_TIER, action="deny", rule=-1))
        self._step("", None, "end of tier", "no profile allows it: denied")
        self._reason = "denied: no profile matched"

    def why_skipped(self, tier: OrderedTier) -> str:
        """What of a tier governs this direction of this endpoint, when the walk does not come to it."""
        del tier
        return "no policy in it"

    def _skip(self, tier: OrderedTier) -> None:
        text = f"skipped: {self.why_skipped(tier)} governs {self._direction} of {self._endpoint}"
        self._steps.append(Step(tier=tier.name, policy="", rule=None, outcome="miss", text=text))

    def _hit(self, policy: Policy | ProfileOnWay, action: str, rule: int) -> None:
        self._hits.append(
            Hit(
                tier=self._tier,
                kind=policy.kind,
                namespace=policy.namespace,
                name=policy.name,
                action=_ACTIONS[action],
                rule=rule,
            )
        )

    def _step(self, policy: str, rule: int | None, outcome: Outcome, text: str) -> None:
        self._steps.append(Step(tier=self._tier, policy=policy, rule=rule, outcome=outcome, text=text))
