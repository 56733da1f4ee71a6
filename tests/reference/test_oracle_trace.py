"""The trace and its text: everything that was looked at, in order, with reasons."""

from __future__ import annotations

from textwrap import dedent

import yaml

from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import evaluate
from reference.state import State

CLUSTER = """
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: ops}, spec: {order: 10}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.2}}
---
{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: guard},
 spec: {tier: ops, selector: app == 'db', types: [Ingress], ingress: [
   {action: Deny, protocol: UDP}, {action: Log, protocol: TCP}, {action: Pass, source: {selector: app == 'web'}}]}}
---
{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: db, namespace: shop},
 spec: {selector: app == 'db', types: [Ingress], ingress: [
   {action: Allow, protocol: TCP, destination: {ports: [5432]}}]}}
"""
DENIED = """\
TCP 10.244.0.1:40000 -> 10.244.0.2:80
from shop/web to shop/db

egress at shop/web
  tier ops
    skipped: no policy in it governs egress of shop/web
  tier kube-admin
    skipped: no policy in it governs egress of shop/web
  tier default
    skipped: no policy in it governs egress of shop/web
  tier kube-baseline
    skipped: no policy in it governs egress of shop/web
  profiles
    pro:kns.shop
      rule 0 (Allow) matches
  = allowed by rule 0 of pro:kns.shop
    0|__PROFILE__|pro:kns.shop|allow|0
  selected by no policy

ingress at shop/db
  tier ops
    gnp:guard
      rule 0 (Deny) misses: protocol TCP is not UDP
      rule 1 (Log) matches and is logged
      rule 2 (Pass) matches
  tier kube-admin
    skipped: no policy in it governs ingress of shop/db
  tier default
    np:shop/db
      rule 0 (Allow) misses: destination port 80 is not in 5432
    end of tier: no rule matched, default action Deny
  = denied at the end of tier default: no rule of np:shop/db matched
    0|ops|gnp:guard|pass|2
    1|default|np:shop/db|deny|-1
  selected by gnp:guard (tier ops), np:shop/db (tier default)
  near misses
    np:shop/db rule 0 (Allow) would have allowed it, but destination port 80 is not in 5432

DENIED: ingress of shop/db denied at the end of tier default: no rule of np:shop/db matched
"""


def cluster() -> State:
    """Two tiers that pass and deny."""
    return load_state(*yaml.safe_load_all(CLUSTER))


def test_denied_text() -> None:
    """The text walks both ends, names each rule that missed with its reason, and ends in the verdict."""
    state = cluster()

    assert dedent(DENIED) == evaluate(state, packet_between(state, "shop/web", "shop/db")).explain()


def test_allowed_text_ends_in_both_reasons() -> None:
    """An allowed flow names what allowed it at both ends."""
    state = cluster()
    verdict = evaluate(state, packet_between(state, "shop/web", "shop/db", "TCP", 5432))

    assert verdict.explain().splitlines()[-1] == (
        "ALLOWED: egress of shop/web allowed by rule 0 of pro:kns.shop; "
        "ingress of shop/db allowed by rule 0 of np:shop/db in tier default"
    )


def test_outcomes() -> None:
    """A step says what came of it: miss, log, match, end of tier."""
    state = cluster()
    side = evaluate(state, packet_between(state, "shop/web", "shop/db")).ingress
    assert side is not None

    outcomes = [(step.tier, step.policy, step.rule, step.outcome) for step in side.steps]
    assert outcomes == [
        ("ops", "gnp:guard", 0, "miss"),
        ("ops", "gnp:guard", 1, "log"),
        ("ops", "gnp:guard", 2, "match"),
        ("kube-admin", "", None, "miss"),
        ("default", "np:shop/db", 0, "miss"),
        ("default", "", None, "end of tier"),
    ]


def test_missing_tier_is_told() -> None:
    """A policy whose tier does not exist is walked last, and the trace says so (POL-4)."""
    policy = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "lost"},
              "spec": {"tier": "gone", "selector": "app == 'web'", "types": ["Egress"]}}  # fmt: skip
    state = load_state(*yaml.safe_load_all(CLUSTER), policy)
    side = evaluate(state, packet_between(state, "shop/web", "shop/db")).egress
    assert side is not None

    assert ("gone", "tier gone does not exist: its policies come last, and it denies (POL-4)") in [
        (step.tier, step.text) for step in side.steps
    ]
    assert side.hit_strings() == ("0|gone|gnp:lost|deny|-1",)
