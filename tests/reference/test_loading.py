"""Loading: manifests to a state without a fabric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reference.errors import InvalidInputError
from reference.loading import load_state
from reference.resources import IPPool, Namespace, Node, Tier
from reference.resources.manifests import load


def pod(name: str, /, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod in namespace shop."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    } | ({"status": status} if status else {})


def node(name: str, *addresses: str) -> dict[str, Any]:
    """A node with internal addresses."""
    status = {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}


def test_nothing_loaded_is_what_every_cluster_has() -> None:
    """Without manifests there are the protected tiers and the two namespaces, and no pool or node."""
    state = load_state()
    assert [tier.name for tier in state.all(Tier)] == ["default", "kube-admin", "kube-baseline"]
    assert [namespace.name for namespace in state.all(Namespace)] == ["default", "kube-system"]
    assert not state.hosts
    assert not list(state.all(IPPool))


def test_files_dicts_and_resources_load_alike(tmp_path: Path) -> None:
    """A path, a dictionary, a typed resource and a list of them lead to the same state."""
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump(pod("a")))
    states = [load_state(file), load_state(pod("a")), load_state(*load(pod("a")).resources), load_state([[pod("a")]])]
    assert all(state == states[0] for state in states)


def test_loading_is_deterministic() -> None:
    """The same manifests give the same state, addresses and all."""
    assert load_state(pod("a"), pod("b")) == load_state(pod("a"), pod("b"))


def test_implicit_node_takes_the_pods() -> None:
    """Without a Node there is one, node-1 at 172.30.1.11."""
    state = load_state(pod("a"), pod("b"))
    assert {name: host.addresses for name, host in state.hosts.items()} == {"node-1": ("172.30.1.11",)}
    assert {endpoint.node for endpoint in state.endpoints.values()} == {"node-1"}
    assert state.get(Node, "node-1")


def test_declared_nodes_are_the_only_ones() -> None:
    """Declared nodes are hosts with their own addresses, IPv4 first; one without an address gets a free one."""
    state = load_state(node("b", "fd00::1", "192.0.2.1"), node("a"), pod("x"))
    assert {name: host.addresses for name, host in state.hosts.items()} == {
        "a": ("172.30.1.11",), "b": ("192.0.2.1", "fd00::1"),
    }  # fmt: skip
    assert state.endpoints["shop", "x"].node == "a"


def test_node_named_by_a_pod_is_made() -> None:
    """A dump of pods without their nodes loads: the nodes are made, with the host addresses the pods report."""
    state = load_state(pod("a", nodeName="w1", status={"hostIP": "192.0.2.7"}), pod("b", nodeName="w2"), pod("c"))
    assert {name: host.addresses for name, host in state.hosts.items()} == {
        "w1": ("192.0.2.7",), "w2": ("172.30.1.11",),
    }  # fmt: skip
    assert state.endpoints["shop", "c"].node == "w1"


def test_reported_address_is_the_address() -> None:
    """status.podIP and podIPs are taken as they are, IPv4 first, without a pool; nothing is taken from IPAM."""
    state = load_state(
        pod("a", status={"podIPs": [{"ip": "fd00::9"}, {"ip": "192.168.3.4"}], "podIP": "192.168.3.4"}),
        pod("b", status={"podIP": "192.168.3.5"}),
    )
    assert state.endpoints["shop", "a"].addresses == ("192.168.3.4", "fd00::9")
    assert state.endpoints["shop", "b"].addresses == ("192.168.3.5",)
    assert not state.blocks


def test_reported_address_is_not_given_to_another_pod() -> None:
    """A pod without an address never gets one that another reports, whatever their order."""
    free = load_state(pod("any")).endpoints["shop", "any"].addresses[0]
    state = load_state(pod("any"), pod("fixed", status={"podIP": free}))
    assert state.endpoints["shop", "fixed"].addresses == (free,)
    assert state.endpoints["shop", "any"].addresses[0] != free


@pytest.mark.parametrize("status", [{"podIP": "ten"}, {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}])
def test_wrong_reported_address_is_refused(status: dict[str, Any]) -> None:
    """A status whose addresses are none, or two of one family, is refused with the pod's name."""
    with pytest.raises(InvalidInputError, match=r"Pod shop/a"):
        load_state(pod("a", status=status))


def test_offline_nodes_are_as_many_as_it_takes():
    """Where nobody declared a node, another one is made up before the first one's blocks run out (IPAM-6)."""
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": {"containers": [{"name": "c"}]}}
        for number in range(1300)
    ]
    state = load_state(*pods)
    assert len(state.endpoints) == len(pods)
    assert sorted(name for name, host in state.hosts.items() if host.is_node) == ["node-1", "node-2"]
