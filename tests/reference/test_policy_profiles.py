"""Profiles synthesised from namespaces and service accounts, and the labels endpoints inherit from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
import yaml

from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import allowed
from reference.policy.peers import Peers
from reference.profiles import profile
from reference.state import State

CLUSTER = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: bot.v1, namespace: shop, labels: {role: r}}}
---
{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: one}, spec: {labelsToApply: {x: one, y: one}}}
---
{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: two},
 spec: {labelsToApply: {x: two, z: two, app: two}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: bare, namespace: shop, labels: {app: bare}},
 spec: {containers: [{name: c, image: i}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: run, namespace: shop, labels: {app: run}},
 spec: {serviceAccountName: bot.v1, containers: [{name: c, image: i}]}}
"""


@pytest.fixture(scope="module")
def state() -> State:
    """A namespace, an account with a dot in its name, two profiles and two pods."""
    return load_state(*yaml.safe_load_all(CLUSTER))


def test_namespace_profile(state: State) -> None:
    """A namespace's profile allows everything and applies its labels and name, prefixed (K8S-1)."""
    found = profile(state, "kns.shop")
    assert found is not None

    assert found.spec.labels_to_apply == {
        "pcns.team": "a",
        "pcns.kubernetes.io/metadata.name": "shop",
        "pcns.projectcalico.org/name": "shop",
    }
    assert [rule.action for rule in (*found.spec.ingress, *found.spec.egress)] == ["Allow", "Allow"]


def test_account_profile(state: State) -> None:
    """A service account's profile has no rules and applies its labels and name, prefixed (K8S-2)."""
    found = profile(state, "ksa.shop.bot.v1")
    assert found is not None

    assert found.spec.labels_to_apply == {"pcsa.role": "r", "pcsa.projectcalico.org/name": "bot.v1"}
    assert (found.spec.ingress, found.spec.egress) == ((), ())


@pytest.mark.parametrize("name", ["kns.gone", "ksa.shop.gone", "ksa.shop", "gone"])
def test_nothing_behind_a_name(state: State, name: str) -> None:
    """A profile nothing stands behind is None, which the walk takes for a denial (POL-16)."""
    assert profile(state, name) is None


def test_users_profile(state: State) -> None:
    """Any other name is a Profile of the user's."""
    found = profile(state, "one")
    assert found is not None

    assert found.spec.labels_to_apply == {"x": "one", "y": "one"}


def test_effective_labels(state: State) -> None:
    """Own labels shadow inherited ones; of the profiles the first listed wins (SEL-9)."""
    pod = msgspec.structs.replace(state.endpoints["shop", "bare"], profiles=("one", "two"))
    labels = Peers(state).owner(pod).labels

    assert {"x": "one", "y": "one", "z": "two", "app": "bare"}.items() <= labels.items()


@pytest.mark.parametrize(
    ("selector", "bare", "run"),
    [
        ("all()", True, False),  # any account, and only those who have one (RULE-11)
        ("role == 'r'", True, False),
        ("!has(role)", False, True),
        ("projectcalico.org/name == 'bot.v1'", True, False),
    ],
)
def test_account_selector(selector: str, bare: bool, run: bool) -> None:
    """A serviceAccountSelector sees the labels of the account a pod runs as; the selected pods are cut off."""
    policy: dict[str, Any] = {
        "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "p"},
        "spec": {"serviceAccountSelector": selector, "types": ["Ingress"]},
    }  # fmt: skip
    state = load_state(*yaml.safe_load_all(CLUSTER), policy)
    pod = state.endpoints["shop", "bare"]
    nobody = msgspec.structs.replace(pod, service_account="", profiles=("kns.shop",))
    state = replace(state, endpoints=state.endpoints.set(("shop", "bare"), nobody))

    reached = [allowed(state, packet_between(state, "9.9.9.9", name)) for name in ("shop/bare", "shop/run")]
    assert reached == [bare, run]


def test_state_is_read_again_when_it_changes(state: State) -> None:
    """A verdict is of the state it is asked of, whatever was asked before."""
    packet = packet_between(state, "shop/run", "shop/bare")
    without = replace(state, resources=state.resources.delete("Namespace"))

    assert [allowed(one, packet) for one in (state, without, state)] == [True, False, True]
