"""What loading fills in."""

from __future__ import annotations

from typing import Any

import pytest

from reference.resources import defaulted, load

CALICO = "projectcalico.org/v3"
ALLOW = {"action": "Allow"}


def loaded(api_version: str, kind: str, name: str = "a", **rest: object) -> Any:
    """The one resource of a manifest."""
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **rest}
    (resource,) = load(manifest).resources
    assert defaulted(resource) == resource  # twice is as once
    return resource


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ("Ingress",)),
        ({"ingress": [ALLOW]}, ("Ingress",)),
        ({"egress": [ALLOW]}, ("Egress",)),
        ({"ingress": [ALLOW], "egress": [ALLOW]}, ("Ingress", "Egress")),
        ({"types": ["Egress"], "ingress": [ALLOW]}, ("Egress",)),
        ({"types": []}, ("Ingress",)),
    ],
)
@pytest.mark.parametrize("kind", ["NetworkPolicy", "GlobalNetworkPolicy"])
def test_calico_types(kind: str, spec: dict[str, object], types: tuple[str, ...]) -> None:
    """POL-6: types follow from the rules when they are absent."""
    assert loaded(CALICO, kind, spec=spec).spec.types == types


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ("Ingress",)),
        ({"egress": [{}]}, ("Ingress", "Egress")),
        ({"egress": []}, ("Ingress",)),
        ({"policyTypes": ["Egress"]}, ("Egress",)),
        ({"policyTypes": [], "ingress": []}, ("Ingress",)),
    ],
)
def test_kubernetes_types(spec: dict[str, object], types: tuple[str, ...]) -> None:
    """K8S-8: absent policyTypes mean Ingress, and Egress too when there are egress rules."""
    assert loaded("networking.k8s.io/v1", "NetworkPolicy", spec=spec).spec.policy_types == types


def test_tier() -> None:
    """POL-5, POL-6: the tier is `default`, and a label says so; a label that says otherwise is corrected."""
    assert loaded(CALICO, "NetworkPolicy", spec={"tier": ""}).spec.tier == "default"
    policy = loaded(CALICO, "GlobalNetworkPolicy", spec={"tier": "security"})
    assert policy.metadata.labels == {"projectcalico.org/tier": "security"}


def test_historical_names() -> None:
    """A policy named <tier>.<label> keeps its name."""
    assert loaded(CALICO, "NetworkPolicy", "security.web", spec={"tier": "security"}).name == "security.web"
    assert loaded(CALICO, "GlobalNetworkPolicy", "default.web").name == "default.web"
    assert loaded(CALICO, "NetworkPolicy", "knp.default.a.b").name == "knp.default.a.b"


def test_namespace() -> None:
    """Namespaced kinds live in `default` when they do not say; cluster-scoped ones nowhere."""
    assert loaded("v1", "Pod").namespace == "default"
    assert loaded(CALICO, "Tier").namespace == ""


def test_namespace_label() -> None:
    """A Namespace always carries its name as a label."""
    assert loaded("v1", "Namespace", "shop").metadata.labels == {"kubernetes.io/metadata.name": "shop"}


@pytest.mark.parametrize(
    ("spec", "account"),
    [
        ({}, "default"),
        ({"serviceAccount": "old"}, "old"),
        ({"serviceAccountName": "new", "serviceAccount": "old"}, "new"),
    ],
)
def test_service_account(spec: dict[str, object], account: str) -> None:
    """A pod runs as its service account, the deprecated alias's, or `default`."""
    assert loaded("v1", "Pod", spec=spec).spec.service_account_name == account


@pytest.mark.parametrize(
    ("cidr", "stored", "size"),
    [("10.0.0.0/16", "10.0.0.0/16", 26), ("FD00:0:0::/48", "fd00::/48", 122)],
)
def test_pool(cidr: str, stored: str, size: int) -> None:
    """A pool gets its family's block size, `all()` selectors and a canonical CIDR."""
    spec = loaded(CALICO, "IPPool", spec={"cidr": cidr, "nodeSelector": "", "allowedUses": []}).spec

    assert (spec.cidr, spec.block_size, spec.node_selector) == (stored, size, "all()")
    assert spec.allowed_uses == ("Workload", "Tunnel")


def test_nets_are_masked() -> None:
    """K8S-9, NS-3: bits outside the mask of an ipBlock or a set's net are dropped; bare addresses stay."""
    nets = loaded(CALICO, "NetworkSet", spec={"nets": ["10.1.2.3/8", "10.1.2.3", "fd00::1/64"]}).spec.nets
    assert nets == ("10.0.0.0/8", "10.1.2.3", "fd00::/64")

    block = {"ipBlock": {"cidr": "10.1.2.3/8", "except": ["10.9.9.9/16"]}}
    policy = loaded("networking.k8s.io/v1", "NetworkPolicy", spec={"ingress": [{"from": [block]}]})
    peer = policy.spec.ingress[0].from_[0]
    assert (peer.ip_block.cidr, peer.ip_block.except_) == ("10.0.0.0/8", ("10.9.0.0/16",))


def test_ports_in_quotes() -> None:
    """A numeric port in quotes is the number, never a port name; ranges and names stay."""
    rule = {"action": "Allow", "protocol": "TCP", "destination": {"ports": ["80", "http", "1:2", 81]}}
    policy = loaded(CALICO, "NetworkPolicy", spec={"ingress": [ALLOW, rule]})

    assert policy.spec.ingress[1].destination.ports == (80, "http", "1:2", 81)


def test_policy_port_protocol() -> None:
    """K8S-10: an absent protocol is TCP."""
    policy = loaded("networking.k8s.io/v1", "NetworkPolicy", spec={"ingress": [{"ports": [{"port": 53}]}]})

    assert policy.spec.ingress[0].ports[0].protocol == "TCP"
