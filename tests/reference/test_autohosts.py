"""Automatic host endpoints: events that follow the configuration and the nodes (HEP-8)."""

from __future__ import annotations

from typing import Any

import pytest

from reference import commands
from reference.commands import Decision
from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import allowed
from reference.resources import HostEndpoint, Key, load
from reference.resources.hosts import DEFAULT_ALLOW_PROFILE
from reference.state import State


def configuration(auto_create: str, **more: str) -> dict[str, Any]:
    """The controllers' configuration."""
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "KubeControllersConfiguration",
        "metadata": {"name": "default"},
        "spec": {"controllers": {"node": {"hostEndpoint": {"autoCreate": auto_create, **more}}}},
    }


def node(name: str, address: str, **labels: str) -> dict[str, Any]:
    """A node."""
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


N1, N2 = node("n1", "172.30.1.11", rack="a"), node("n2", "172.30.1.12")
BY_HAND = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "HostEndpoint",
    "metadata": {"name": "n1-auto-hep"},
    "spec": {"node": "n1", "interfaceName": "eth0"},
}


def apply(state: State, *manifests: dict[str, Any]) -> Decision:
    """Apply manifests, offline."""
    return commands.apply(state, load(*manifests).resources, now=0.0, offline=True)


def names(state: State) -> list[str]:
    """The names of all host endpoints."""
    return [endpoint.name for endpoint in state.all(HostEndpoint)]


def test_one_for_every_node() -> None:
    """Enabled, each node has one for all its interfaces: its addresses, its labels and the controller's."""
    state = load_state(N1, N2, configuration("Enabled"))
    assert names(state) == ["n1-auto-hep", "n2-auto-hep"]
    made = state.get(HostEndpoint, "n1-auto-hep")
    assert made is not None
    assert (made.spec.node, made.spec.interface_name, made.spec.expected_ips) == ("n1", "*", ("172.30.1.11",))
    assert made.spec.profiles == (DEFAULT_ALLOW_PROFILE,)
    assert made.metadata.labels == {"rack": "a", "projectcalico.org/created-by": "calico-kube-controllers"}


def test_automatic_ones_allow() -> None:
    """They allow everything until a policy selects them; one made by hand does not (trap 12)."""
    automatic = load_state(N1, N2, configuration("Enabled"))
    assert allowed(automatic, packet_between(automatic, "n2", "n1"))
    by_hand = load_state(N1, N2, BY_HAND)
    assert not allowed(by_hand, packet_between(by_hand, "n2", "n1"))


@pytest.mark.parametrize(
    "off", [configuration("Disabled"), configuration("Enabled", createDefaultHostEndpoint="Disabled")]
)
def test_switched_off(off: dict[str, Any]) -> None:
    """Switched off, they go, in the very command that switched them off."""
    state = load_state(N1, N2, configuration("Enabled"))
    decision = apply(state, off)
    assert names(decision.state) == []
    assert [draft.actor for draft in decision.drafts] == ["user", "node controller", "node controller"]


def test_the_configuration_goes() -> None:
    """Without a configuration there are none."""
    state = load_state(N1, configuration("Enabled"))
    after = commands.delete(state, [Key("KubeControllersConfiguration", "", "default")], now=0.0).state
    assert names(after) == []


def test_nodes_come_and_change() -> None:
    """A new node gets one; a node's new labels become its host endpoint's."""
    state = load_state(N1, configuration("Enabled"))
    more = apply(state, N2, node("n1", "172.30.1.11", rack="b")).state
    assert names(more) == ["n1-auto-hep", "n2-auto-hep"]
    changed = more.get(HostEndpoint, "n1-auto-hep")
    assert changed is not None
    assert changed.metadata.labels["rack"] == "b"


def test_deleted_by_hand_it_comes_back() -> None:
    """The controller sees to it that each node keeps one."""
    state = load_state(N1, configuration("Enabled"))
    assert names(commands.delete(state, [Key("HostEndpoint", "", "n1-auto-hep")], now=0.0).state) == ["n1-auto-hep"]


def test_what_a_user_made_is_left_alone() -> None:
    """A host endpoint of that name that the controller did not make stays, also when they are switched off."""
    state = load_state(N1, BY_HAND, configuration("Enabled"))
    kept = state.get(HostEndpoint, "n1-auto-hep")
    assert kept is not None
    assert kept.spec.interface_name == "eth0"
    assert names(apply(state, configuration("Disabled")).state) == ["n1-auto-hep"]


def test_other_commands_decide_nothing_of_it() -> None:
    """Applying something else, or the same again, adds no event."""
    state = load_state(N1, configuration("Enabled"))
    assert apply(state, N1, configuration("Enabled")).drafts == ()


def test_long_names_are_hashed() -> None:
    """A name too long for a resource ends in a hash, another for each node."""
    long = [".".join(["n" * 60] * 4) + end for end in ("a", "b")]
    state = load_state(*(node(name, f"172.30.1.{n}") for n, name in enumerate(long, 11)), configuration("Enabled"))
    assert len(set(names(state))) == 2
    assert all(len(name) <= 253 and name.endswith("-auto-hep") for name in names(state))
