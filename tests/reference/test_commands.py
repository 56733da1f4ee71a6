"""Commands: one wish, one atomic decision, in kubectl's words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import commands
from reference import events as ev
from reference.commands import Decision
from reference.endpoints import EndpointPort, Host
from reference.errors import InvalidInputError, RefusedError
from reference.resources import IPPool, Key, Namespace, Node, Pod, Tier
from reference.resources.manifests import load
from reference.state import State, fold_drafts

HOSTS = [
    *(Host(name=f"node-{n}", addresses=(f"172.30.1.{10 + n}",), subnet="lan", is_node=True) for n in (1, 2)),
    Host(name="outside", addresses=("192.0.2.1",), subnet="wan", is_node=False),
]
EMPTY = commands.bootstrap("test", "single", "nftables", HOSTS, now=1.0).state


def manifest(kind: str, name: str, namespace: str | None = None, **more: Any) -> dict[str, Any]:
    """A manifest; labels and annotations go into its metadata."""
    metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    metadata |= {field: more.pop(field) for field in ("labels", "annotations") if field in more}
    calico = kind in ("Tier", "IPPool", "GlobalNetworkPolicy", "NetworkSet", "Profile")
    return {"apiVersion": "projectcalico.org/v3" if calico else "v1", "kind": kind, "metadata": metadata, **more}


def pod(name: str, namespace: str = "shop", /, status: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A pod; what is not metadata goes into its spec."""
    metadata = {field: more.pop(field) for field in ("labels", "annotations") if field in more}
    spec = {"containers": [{"name": "c", "image": "i"}], **more}
    return manifest("Pod", name, namespace, **metadata, spec=spec) | ({"status": status} if status else {})


def decide(state: State, *manifests: dict[str, Any], now: float = 2.0) -> Decision:
    """Apply manifests."""
    return commands.apply(state, load(*manifests).resources, now=now)


def cluster(*manifests: dict[str, Any]) -> State:
    """A cluster with these."""
    return decide(EMPTY, *manifests).state


def words(decision: Decision) -> list[str]:
    """What the user reads."""
    return [str(outcome) for outcome in decision.outcomes]


def kinds(decision: Decision) -> list[str]:
    """The kinds of the events, in order."""
    return [type(draft.event).__name__ for draft in decision.drafts]


# -- the beginning -----------------------------------------------------------------------------------------------------


def test_cluster_begins_with_hosts_nodes_tiers_and_namespaces() -> None:
    """A new cluster has its hosts, a Node for each node, the protected tiers and the two namespaces."""
    assert (EMPTY.name, EMPTY.topology, EMPTY.dataplane) == ("test", "single", "nftables")
    assert sorted(EMPTY.hosts) == ["node-1", "node-2", "outside"]
    assert [node.name for node in EMPTY.all(Node)] == ["node-1", "node-2"]
    assert {tier.name: (tier.spec.order, tier.spec.default_action) for tier in EMPTY.all(Tier)} == {
        "default": (1_000_000.0, "Deny"),
        "kube-admin": (1000.0, "Pass"),
        "kube-baseline": (10_000_000.0, "Pass"),
    }
    assert [namespace.name for namespace in EMPTY.all(Namespace)] == ["default", "kube-system"]


# -- apply -------------------------------------------------------------------------------------------------------------


def test_outcomes_are_kubectls() -> None:
    """A resource is created, configured, or unchanged; unchanged ones give no events."""
    state = cluster(manifest("Namespace", "shop"), pod("a"))
    again = decide(
        state, manifest("Namespace", "shop"), pod("a"), pod("b"), manifest("Tier", "t", spec={"order": 5}),
    )  # fmt: skip
    assert words(again) == ["Namespace shop unchanged", "Tier t created", "Pod shop/a unchanged", "Pod shop/b created"]
    changed = decide(again.state, manifest("Tier", "t", spec={"order": 6}))
    assert words(changed) == ["Tier t configured"]
    assert kinds(decide(state, pod("a"))) == []
    assert decide(state, pod("a")).state is state


def test_decision_carries_the_state_it_leads_to() -> None:
    """Folding the drafts onto the state gives the decision's state."""
    decision = decide(EMPTY, pod("a"), pod("b"))
    assert fold_drafts(EMPTY, decision.drafts) == decision.state


def test_resources_are_applied_in_the_order_of_their_needs() -> None:
    """Namespaces come first, then tiers and pools, then pods, then policies, whatever the manifest's order."""
    policy = manifest("GlobalNetworkPolicy", "p", spec={"tier": "t"})
    pool = manifest("IPPool", "pool", spec={"cidr": "10.0.0.0/24"})
    decision = decide(EMPTY, policy, pod("a"), pool, manifest("Tier", "t"), manifest("Namespace", "shop"))
    applied = [d.event.resource.key.kind for d in decision.drafts if isinstance(d.event, ev.ResourceApplied)]
    assert applied == ["Namespace", "Tier", "IPPool", "Pod", "GlobalNetworkPolicy"]
    assert decision.state.endpoints["shop", "a"].addresses[0].startswith("10.0.0.")


def test_of_one_key_the_last_manifest_counts() -> None:
    """A key that comes twice is applied once, as it came last."""
    decision = decide(EMPTY, manifest("Tier", "t", spec={"order": 5}), manifest("Tier", "t", spec={"order": 6}))
    assert words(decision) == ["Tier t created"]
    tier = decision.state.get(Tier, "t")
    assert tier
    assert tier.spec.order == 6


def test_undeclared_namespace_is_made() -> None:
    """A namespace that is only referred to is made by muslin, with its name label alone."""
    decision = decide(EMPTY, pod("a", "fresh"))
    made = decision.state.get(Namespace, "fresh")
    assert made
    assert made.metadata.labels == {"kubernetes.io/metadata.name": "fresh"}
    assert decision.drafts[0].actor == "muslin"


REFUSED = {
    "an overlapping pool": manifest("IPPool", "q", spec={"cidr": "10.0.0.0/25"}),
    "a node that is not on the fabric": manifest("Node", "node-9"),
    "an outside host as node": manifest("Node", "outside"),
    "a pod on a node that is not there": pod("b", nodeName="node-9"),
    "a pod no node fits": pod("b", nodeSelector={"disk": "ssd"}),
    "a pod that moves": pod("a", nodeName="node-2"),
    "a pod that goes to the host's network": pod("a", hostNetwork=True),
    "a pod that changes its account": pod("a", serviceAccountName="other"),
    "a pod that pins another address": pod("a", annotations={"cni.projectcalico.org/ipAddrs": '["10.0.0.9"]'}),
    "a pinned address that is taken": pod("b", annotations={"cni.projectcalico.org/ipAddrs": '["10.0.0.128"]'}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_takes_the_whole_command_along(name: str) -> None:
    """One refused resource and nothing of the command happens; the error names the resource."""
    state = cluster(
        manifest("IPPool", "pool", spec={"cidr": "10.0.0.0/24"}),
        pod("a", nodeName="node-1", annotations={"cni.projectcalico.org/ipAddrs": '["10.0.0.128"]'}),
    )
    bad = REFUSED[name]
    with pytest.raises(RefusedError, match=bad["metadata"]["name"]):
        decide(state, manifest("Namespace", "also"), bad)
    assert state.get(Namespace, "also") is None


def test_node_keeps_the_addresses_of_the_fabric() -> None:
    """Applying a Node changes its labels; its addresses are those of its host."""
    applied = manifest("Node", "node-1", labels={"rack": "a"}) | {
        "status": {"addresses": [{"type": "InternalIP", "address": "10.99.0.1"}]}
    }
    node = cluster(applied).get(Node, "node-1")
    assert node
    assert node.metadata.labels == {"rack": "a"}
    assert node.status.addresses[0].address == "172.30.1.11"
    assert kinds(decide(cluster(applied), applied)) == []


# -- pods --------------------------------------------------------------------------------------------------------------


def test_pod_becomes_an_endpoint() -> None:
    """A pod gets a node, addresses of both families, and an endpoint with its labels and ports (K8S-3, K8S-5)."""
    spec = {
        "serviceAccountName": "clerk",
        "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 1}]}],
        "initContainers": [{"name": "i", "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]}],
    }
    decision = decide(EMPTY, pod("web", labels={"app": "web", "pcns.team": "forged", "pcsa.x": "forged"}, **spec))
    endpoint = decision.state.endpoints["shop", "web"]
    assert endpoint.node == "node-1"
    assert endpoint.interface == "cali551b05c3e54"  # of the SHA-1 of "shop.web"
    assert [":" in address for address in endpoint.addresses] == [False, True]
    assert endpoint.labels == {
        "app": "web",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "clerk",
    }
    assert endpoint.profiles == ("kns.shop", "ksa.shop.clerk")
    assert endpoint.ports == (EndpointPort("http", 6, 80), EndpointPort("dns", 17, 53))
    assert kinds(decision) == [
        *["ResourceApplied"] * 4,  # namespace, pod, two default pools
        "BlockClaimed", "AddressAssigned", "BlockClaimed", "AddressAssigned", "EndpointCreated",
    ]  # fmt: skip


def test_changed_labels_make_a_new_endpoint_with_the_same_addresses() -> None:
    """Labels and ports change the endpoint and nothing else of the pod's network."""
    state = cluster(pod("a", labels={"v": "1"}))
    decision = decide(state, pod("a", labels={"v": "2"}))
    assert words(decision) == ["Pod shop/a configured"]
    assert kinds(decision) == ["ResourceApplied", "EndpointCreated"]
    before, after = state.endpoints["shop", "a"], decision.state.endpoints["shop", "a"]
    assert (after.addresses, after.node, after.labels["v"]) == (before.addresses, before.node, "2")


def test_change_that_does_not_concern_the_network_leaves_the_endpoint() -> None:
    """A new image changes the resource only."""
    decision = decide(cluster(pod("a")), pod("a", containers=[{"name": "c", "image": "other"}]))
    assert kinds(decision) == ["ResourceApplied"]


def test_pods_are_spread_over_the_nodes_with_the_fewest() -> None:
    """A pod without a node goes where the fewest pods are, ties by name; pods that name a node count first."""
    state = cluster(pod("a"), pod("b"), pod("c"), pod("fixed", nodeName="node-1"))
    assert {e.pod: e.node for e in state.endpoints.values()} == {
        "fixed": "node-1", "a": "node-2", "b": "node-1", "c": "node-2",
    }  # fmt: skip
    assert decide(state, pod("d")).state.endpoints["shop", "d"].node == "node-1"


def test_failed_and_unfit_nodes_get_no_new_pods() -> None:
    """Scheduling passes over failed and unschedulable nodes, and those a nodeSelector does not match."""
    failed = commands.fail_node(EMPTY, "node-1", now=2.0).state
    assert decide(failed, pod("a")).state.endpoints["shop", "a"].node == "node-2"
    cordoned = decide(EMPTY, manifest("Node", "node-1", spec={"unschedulable": True})).state
    assert decide(cordoned, pod("a")).state.endpoints["shop", "a"].node == "node-2"
    picky = pod("a", nodeSelector={"kubernetes.io/hostname": "node-2"})
    assert decide(EMPTY, picky).state.endpoints["shop", "a"].node == "node-2"


def test_host_network_pod_is_no_endpoint() -> None:
    """A pod on the host's network is stored and scheduled, and has neither endpoint nor addresses (K8S-4)."""
    state = cluster(pod("a", hostNetwork=True))
    stored = state.get(Pod, "a", "shop")
    assert stored
    assert stored.spec.node_name == "node-1"
    assert not state.endpoints
    assert not state.blocks


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pod_loses_its_addresses(phase: str) -> None:
    """A pod that finished stays as a resource; its endpoint and addresses are gone (K8S-4)."""
    decision = decide(cluster(pod("a")), pod("a", status={"phase": phase}))
    assert kinds(decision) == ["ResourceApplied", "EndpointDeleted", "AddressReleased", "AddressReleased"]
    assert not decision.state.handles
    assert not decide(EMPTY, pod("a", status={"phase": phase})).state.endpoints


def test_live_cluster_does_not_believe_a_pods_status() -> None:
    """Where a pod ran before says nothing about its address here."""
    state = cluster(pod("a", status={"podIP": "10.99.0.1", "podIPs": [{"ip": "10.99.0.1"}]}))
    assert state.endpoints["shop", "a"].addresses[0].startswith("10.244.")


def test_handle_stands_for_one_life_of_a_pod() -> None:
    """Deleting a pod and making it again gives another handle of the same form (IPAM-3)."""
    first = cluster(pod("a"))
    second = decide(commands.delete(first, [Key("Pod", "shop", "a")], now=3.0).state, pod("a")).state
    handles = [*first.handles, *second.handles]
    assert len(set(handles)) == 2
    assert all(handle.startswith("k8s-pod-network.") and len(handle) == 80 for handle in handles)


# -- delete ------------------------------------------------------------------------------------------------------------


def test_deleted_pod_gives_its_addresses_back() -> None:
    """Deleting a pod deletes its endpoint, releases its addresses, and then it is gone."""
    decision = commands.delete(cluster(pod("a")), [Key("Pod", "shop", "a")], now=3.0)
    assert kinds(decision) == ["EndpointDeleted", "AddressReleased", "AddressReleased", "ResourceDeleted"]
    assert words(decision) == ["Pod shop/a deleted"]
    assert not decision.state.addresses


def test_deleted_namespace_takes_everything_along() -> None:
    """A namespace's pods go first, then its other resources, then itself; nothing outside it is touched."""
    state = cluster(
        pod("a"), pod("b"), pod("c", "other"), manifest("ServiceAccount", "s", "shop"),
        manifest("NetworkSet", "n", "shop", spec={"nets": ["192.0.2.0/24"]}),
    )  # fmt: skip
    decision = commands.delete(state, [Key("Namespace", "", "shop"), Key("Pod", "shop", "a")], now=3.0)
    assert words(decision) == [
        "Pod shop/a deleted", "Pod shop/b deleted", "NetworkSet shop/n deleted", "ServiceAccount shop/s deleted",
        "Namespace shop deleted",
    ]  # fmt: skip
    assert [key for items in decision.state.resources.values() for key in items if key.namespace == "shop"] == []
    assert list(decision.state.endpoints) == [("other", "c")]


def test_tier_goes_after_its_policies() -> None:
    """A tier and its policies can be deleted by one command; the tier alone is refused (POL-2)."""
    state = cluster(manifest("Tier", "t"), manifest("GlobalNetworkPolicy", "p", spec={"tier": "t"}))
    tier, policy = Key("Tier", "", "t"), next(iter(state.resources["GlobalNetworkPolicy"]))
    with pytest.raises(RefusedError, match="still owns"):
        commands.delete(state, [tier], now=3.0)
    assert words(commands.delete(state, [tier, policy], now=3.0)) == [f"{policy} deleted", "Tier t deleted"]


UNDELETABLE = {
    Key("Pod", "shop", "absent"): "Pod shop/absent does not exist",
    Key("Node", "", "node-1"): "Node node-1 is part of the fabric",
    Key("Namespace", "", "default"): "Namespace default is built in",
    Key("Tier", "", "default"): "Tier default is built in",
}


@pytest.mark.parametrize("key", UNDELETABLE, ids=str)
def test_what_cannot_be_deleted_is_refused(key: Key) -> None:
    """Missing resources, nodes, and what is built in are refused by name, and the rest of the command with them."""
    state = cluster(pod("a"))
    with pytest.raises(InvalidInputError, match=UNDELETABLE[key]):
        commands.delete(state, [Key("Pod", "shop", "a"), key], now=3.0)


# -- nodes and encryption ----------------------------------------------------------------------------------------------


def test_failing_and_recovering_a_node_happen_once() -> None:
    """Failing a failed node and recovering a sound one are no events."""
    failed = commands.fail_node(EMPTY, "node-1", now=2.0)
    assert kinds(failed) == ["NodeFailed"]
    assert kinds(commands.fail_node(failed.state, "node-1", now=3.0)) == []
    assert kinds(commands.recover_node(failed.state, "node-1", now=3.0)) == ["NodeRecovered"]
    assert kinds(commands.recover_node(EMPTY, "node-1", now=3.0)) == []


@pytest.mark.parametrize("command", [commands.fail_node, commands.recover_node])
@pytest.mark.parametrize("name", ["node-9", "outside"])
def test_unknown_node_is_named_with_the_known_ones(command: Any, name: str) -> None:
    """A name that is no node's is refused, and the nodes are listed."""
    with pytest.raises(InvalidInputError, match=rf"no node '{name}' \(there are: node-1, node-2\)"):
        command(EMPTY, name, now=2.0)


def test_dataplanes_are_chosen_once() -> None:
    """Only machines that have another dataplane go over; nothing happens when all have it; strangers are refused."""
    one = commands.choose_dataplane(EMPTY, "ebpf", ["node-1", "node-1"], now=2.0)
    assert [draft.event for draft in one.drafts] == [ev.DataplaneChosen("ebpf", "node-1")]
    assert kinds(commands.choose_dataplane(one.state, "ebpf", ["node-1", "outside"], now=3.0)) == ["DataplaneChosen"]
    everywhere = commands.choose_dataplane(one.state, "ebpf", now=3.0)
    assert [draft.event for draft in everywhere.drafts] == [ev.DataplaneChosen("ebpf")]
    assert kinds(commands.choose_dataplane(everywhere.state, "ebpf", now=4.0)) == []
    with pytest.raises(InvalidInputError, match=r"no node or host 'node-9' \(there are: node-1, node-2, outside\)"):
        commands.choose_dataplane(EMPTY, "ebpf", ["node-9"], now=2.0)


def test_encryption_is_switched_on_with_the_keys() -> None:
    """Enabling publishes each node's key once; a changed key is published again; disabling forgets all (WG-1, WG-9)."""
    keys = {"node-1": "one", "node-2": "two"}
    on = commands.enable_encryption(EMPTY, "wireguard", keys, now=2.0)
    assert kinds(on) == ["EncryptionEnabled", "KeyPublished", "KeyPublished"]
    assert [draft.actor for draft in on.drafts] == ["user", "node/node-1", "node/node-2"]
    assert kinds(commands.enable_encryption(on.state, "wireguard", keys, now=3.0)) == []
    assert kinds(commands.publish_key(on.state, "node-1", "new", now=3.0)) == ["KeyPublished"]
    off = commands.disable_encryption(on.state, now=4.0)
    assert (off.state.encryption, dict(off.state.public_keys)) == ("", {})
    assert kinds(commands.disable_encryption(off.state, now=5.0)) == []


def test_unknown_encryption_is_refused() -> None:
    """Only wireguard is known."""
    with pytest.raises(InvalidInputError, match="encryption 'ipsec' is not known; there is wireguard"):
        commands.enable_encryption(EMPTY, "ipsec", {}, now=2.0)


# -- laws --------------------------------------------------------------------------------------------------------------

PODS = [pod(f"p{n}", f"ns{n % 3}", labels={"n": str(n)}, nodeName=f"node-{n % 2 + 1}") for n in range(6)]


@settings(deadline=None, max_examples=40)
@given(st.permutations(PODS), st.integers(0, 6))
def test_order_and_splitting_do_not_change_what_is_stored(manifests: list[dict[str, Any]], cut: int) -> None:
    """Any order, at once or in two commands, stores the same resources, and the same endpoints but for addresses."""
    once = cluster(*PODS)
    state = decide(cluster(*manifests[:cut]), *manifests[cut:]).state
    assert state.resources == once.resources
    assert {key: (e.node, e.labels, e.interface) for key, e in state.endpoints.items()} == {
        key: (e.node, e.labels, e.interface) for key, e in once.endpoints.items()
    }
    assert kinds(decide(state, *manifests)) == []
    assert state.get(IPPool, "default-ipv4-ippool")
