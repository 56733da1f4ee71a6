"""EndpointSlices of Services with selectors: made, kept current and taken away by events of their own actor."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import commands, slices
from reference import events as ev
from reference.commands import Decision
from reference.endpoints import Host
from reference.resources import EndpointSlice, Key
from reference.resources.manifests import load
from reference.state import State

HOST = Host(name="node-1", addresses=("172.30.1.11", "fd00:30::11"), subnet="lan", is_node=True)
EMPTY = commands.bootstrap("test", "single", "nftables", [HOST], now=1.0).state
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}}"  # noqa: E501
BY_HAND = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: web-mine, namespace: shop, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [192.0.2.1]}], ports: [{port: 1}]}"  # noqa: E501


def pod(name: str, app: str = "web", number: int = 8080, **spec: Any) -> str:
    """A pod of an app that declares port http."""
    body = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": number}]}], **spec}
    metadata = {"name": name, "namespace": "shop", "labels": {"app": app}}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body})


def decide(state: State, *texts: str) -> Decision:
    """Apply manifests."""
    return commands.apply(state, load(*map(yaml.safe_load, texts)).resources, now=2.0)


def found(state: State) -> list[tuple[list[str], list[int | None]]]:
    """The slices of service web that were made here: names of the pods, and ports."""
    made = [one for one in state.all(EndpointSlice) if slices.is_managed(one)]
    return sorted(
        ([backend.target_ref["name"] for backend in one.endpoints], [port.port for port in one.ports]) for one in made
    )


def test_a_service_gets_slices() -> None:
    """The pods that match, with the ports as they declare them: one slice for each way the names resolve."""
    decision = decide(EMPTY, SERVICE, pod("a"), pod("b"), pod("c", number=81), pod("d", app="db"))

    assert found(decision.state) == [(["a", "b"], [8080]), (["c"], [81])]
    actors = {d.actor for d in decision.drafts if isinstance(getattr(d.event, "resource", None), EndpointSlice)}
    assert actors == {"endpointslice-controller"}


def test_slices_follow_pods() -> None:
    """A pod that comes, changes its labels or goes is in the slices, or is not, after the same command."""
    state = decide(EMPTY, SERVICE, pod("a")).state
    state = decide(state, pod("b")).state
    assert found(state) == [(["a", "b"], [8080])]
    state = decide(state, pod("a", app="db")).state
    assert found(state) == [(["b"], [8080])]
    state = commands.delete(state, [Key("Pod", "shop", "b")], now=3.0).state
    assert found(state) == []


def test_slices_follow_the_service() -> None:
    """A service that changes its selector or its ports changes its slices; one that goes takes them along."""
    state = decide(EMPTY, SERVICE, pod("a"), pod("d", app="db")).state
    state = decide(state, SERVICE.replace("app: web", "app: db").replace("http", "9000")).state
    assert found(state) == [(["d"], [9000])]
    state = commands.delete(state, [Key("Service", "shop", "web")], now=3.0).state
    assert found(state) == []


def test_slices_by_hand_stay() -> None:
    """A slice somebody else wrote is never changed, whether its service has a selector or is deleted."""
    state = decide(EMPTY, SERVICE, BY_HAND, pod("a")).state
    state = commands.delete(state, [Key("Service", "shop", "web"), Key("Pod", "shop", "a")], now=3.0).state

    assert [one.name for one in state.all(EndpointSlice)] == ["web-mine"]


def test_a_made_slice_is_made_again() -> None:
    """One that a user deletes is there again at once."""
    before = decide(EMPTY, SERVICE, pod("a")).state
    (made,) = before.all(EndpointSlice)
    after = commands.delete(before, [made.key], now=3.0).state

    assert list(after.all(EndpointSlice)) == [made]


def test_nothing_to_do_says_nothing() -> None:
    """Applying the same again, or a pod no service is about, writes no slice."""
    state = decide(EMPTY, SERVICE, pod("a")).state

    assert decide(state, SERVICE, pod("a")).drafts == ()
    later = decide(state, pod("d", app="db"))
    assert not [d for d in later.drafts if isinstance(d.event, ev.ResourceApplied) and d.actor == slices.ACTOR]


def test_who_has_no_slices() -> None:
    """A service without selector, one of type ExternalName, a pod that finished, a port name nobody declares."""
    bare = "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop}, spec: {ports: [{port: 80}]}}"
    external = "{apiVersion: v1, kind: Service, metadata: {name: b, namespace: shop}, spec: {type: ExternalName, externalName: example.com, selector: {app: web}}}"  # noqa: E501
    state = decide(EMPTY, bare, external, pod("a")).state
    assert found(state) == []
    state = decide(state, SERVICE.replace("http", "nope")).state
    assert found(state) == [(["a"], [])]


def test_a_pod_on_the_host_network_has_the_hosts_addresses() -> None:
    """Such a pod is no endpoint (K8S-4), and stands behind a service all the same, with its node's address."""
    state = decide(EMPTY, SERVICE, pod("a", hostNetwork=True, nodeName="node-1")).state
    (made,) = state.all(EndpointSlice)

    assert made.endpoints[0].addresses == ("172.30.1.11",)


def test_families() -> None:
    """One family unless the service asks for both; IPv4, if any pod has it."""
    both = SERVICE.replace("selector", "ipFamilyPolicy: PreferDualStack, selector", 1)
    six = SERVICE.replace("selector", "ipFamilies: [IPv6], selector", 1)

    def types(service: str) -> list[str]:
        return sorted(one.address_type for one in decide(EMPTY, service, pod("a")).state.all(EndpointSlice))

    assert (types(SERVICE), types(both), types(six)) == (["IPv4"], ["IPv4", "IPv6"], ["IPv6"])


def test_a_namespace_takes_its_slices_along() -> None:
    """Deleting the namespace leaves no slice and no service."""
    state = decide(EMPTY, SERVICE, BY_HAND, pod("a")).state
    state = commands.delete(state, [Key("Namespace", "", "shop")], now=3.0).state

    assert list(state.all(EndpointSlice)) == []


def test_more_backends_than_a_slice_holds() -> None:
    """A hundred to a slice."""
    state = decide(EMPTY, SERVICE, *(pod(f"p{number:03}") for number in range(101))).state

    assert sorted(len(one.endpoints) for one in state.all(EndpointSlice)) == [1, 100]


@given(order=st.permutations([SERVICE, pod("a"), pod("b", number=81), pod("c", app="db"), BY_HAND]))
@settings(deadline=None, max_examples=20)
def test_the_path_does_not_matter(order: list[str]) -> None:
    """Whatever the order in which they come, the same service and pods have the same slices but for addresses."""
    state = EMPTY
    for text in order:
        state = decide(state, text).state

    assert found(state) == [(["a"], [8080]), (["b"], [81])]
