"""The walk: tiers, then profiles, then deny (2a.4). The only place where rules turn into a decision.

The walk tells a `Recorder` what it meets. For a bare yes or no that is the one that forgets everything, so that a
verdict and its explanation come from the same lines of code.
"""

from __future__ import annotations

from reference.policy.ordering import Policy
from reference.policy.question import Question
from reference.policy.rules import PolicyRule
from reference.policy.view import ProfileOnWay, TierOnWay, Way


class Recorder:
    """Hears what the walk meets, and forgets it."""

    def missed(self, policy: Policy | ProfileOnWay, rule: PolicyRule, field: str) -> None:
        """A rule did not match, because of one field."""

    def logged(self, policy: Policy | ProfileOnWay, rule: PolicyRule) -> None:
        """A Log rule matched; the walk goes on."""

    def matched(self, policy: Policy | ProfileOnWay, rule: PolicyRule) -> None:
        """A rule that decides matched."""

    def entered(self, tier: TierOnWay) -> None:
        """The walk came to a tier."""

    def ended(self, tier: TierOnWay) -> None:
        """No rule of the tier matched."""

    def entered_profiles(self) -> None:
        """The tiers are behind."""

    def stood_in(self, profile: ProfileOnWay) -> None:
        """A profile does not exist, and denies."""

    def exhausted(self) -> None:
        """No profile decided."""


SILENT = Recorder()


def walk(way: Way, question: Question, recorder: Recorder = SILENT) -> bool:
    """Report whether the packet may pass.

    First match decides: Allow and Deny for good, Pass for this tier, Log for nothing (POL-12). A tier without a match
    ends in its default action (POL-13); only tiers with a policy that governs the direction are on the way (POL-11).
    """
    action = decide(way, question, recorder)
    return _profiles_allow(way, question, recorder) if action is None else action == "Allow"


def decide(way: Way, question: Question, recorder: Recorder = SILENT) -> str | None:
    """What the tiers say, "Allow" or "Deny"; None when all of them pass, and the profiles have the word."""
    for tier in way.tiers:
        recorder.entered(tier)
        action = _first_match_of_tier(tier, way, question, recorder)
        if action is None:
            recorder.ended(tier)
            action = tier.tier.default_action
        if action != "Pass":
            return action
    recorder.entered_profiles()
    return None


def _first_match_of_tier(tier: TierOnWay, way: Way, question: Question, recorder: Recorder) -> str | None:
    for policy in tier.policies:
        action = _first_match(policy, policy.rules(way.direction), question, recorder)
        if action is not None:
            return action
    return None


def _first_match(
    policy: Policy | ProfileOnWay, rules: tuple[PolicyRule, ...], question: Question, recorder: Recorder
) -> str | None:
    for rule in rules:
        field = rule.miss(question)
        if field is not None:
            recorder.missed(policy, rule, field)
        elif rule.action == "Log":
            recorder.logged(policy, rule)
        else:
            recorder.matched(policy, rule)
            return rule.action
    return None


def _profiles_allow(way: Way, question: Question, recorder: Recorder) -> bool:
    """First Allow or Deny in the endpoint's profiles, in their order; a Pass moves on to the next (POL-14, POL-15)."""
    for profile in way.profiles:
        if not profile.exists:  # POL-16
            recorder.stood_in(profile)
            return False
        action = _first_match(profile, profile.rules, question, recorder)
        if action in {"Allow", "Deny"}:
            return action == "Allow"
    recorder.exhausted()
    return False
