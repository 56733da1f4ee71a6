"""What the rest of the cluster forbids."""

from __future__ import annotations

from collections import defaultdict

import pytest

from reference.errors import RefusedError
from reference.resources import Key, admit, admit_delete, load, protected_tiers, validate
from reference.resources.admission import ByKind

CALICO = "projectcalico.org/v3"


def resource(kind: str, name: str, spec: dict[str, object], namespace: str = "") -> dict[str, object]:
    """A Calico manifest."""
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": CALICO, "kind": kind, "metadata": metadata, "spec": spec}


def cluster(*manifests: dict[str, object]) -> ByKind:
    """What is already there, by kind and key."""
    found: dict[str, dict[Key, object]] = defaultdict(dict)
    for item in load(list(manifests)):
        found[item.key.kind][item.key] = item.resource
    return found  # type: ignore[return-value]


BLUE = resource("IPPool", "blue", {"cidr": "10.0.0.0/16"})


def pool(name: str, cidr: str, **rest: object) -> dict[str, object]:
    """A pool's manifest."""
    return resource("IPPool", name, {"cidr": cidr, **rest})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (pool("green", "10.0.0.0/24"), "IPPool green: 10.0.0.0/24 overlaps 10.0.0.0/16 of IPPool blue; choose another"),
        (pool("green", "10.0.0.0/8"), "IPPool green: 10.0.0.0/8 overlaps 10.0.0.0/16 of IPPool blue; choose another"),
        (pool("blue", "10.0.0.0/8"), "IPPool blue: spec.cidr cannot change from 10.0.0.0/16 to 10.0.0.0/8; make"),
        (pool("blue", "10.0.0.0/16", blockSize=28), "IPPool blue: spec.blockSize cannot change from 26 to 28; make"),
    ],
)
def test_refused(wanted: dict[str, object], message: str) -> None:
    """Overlapping pools and changed pools are refused (1.3)."""
    with pytest.raises(RefusedError) as caught:
        admit(cluster(BLUE), load(wanted).resources[0])

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "wanted",
    [
        pool("green", "10.1.0.0/16"),
        pool("green", "fd00::/64"),
        pool("blue", "10.0.0.0/16", natOutgoing=True),
        resource("Tier", "kube-baseline", {"order": 10_000_000, "defaultAction": "Pass"}),
        resource("Tier", "security", {"order": 5}),
        resource("NetworkPolicy", "web", {"tier": "no-such-tier"}, "shop"),
    ],
)
def test_admitted(wanted: dict[str, object]) -> None:
    """Anything else is admitted, a policy of a tier that does not exist too (POL-4)."""
    admit(cluster(BLUE), load(wanted).resources[0])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (Key("Tier", "", "default"), "Tier default is built in and cannot be deleted"),
        (Key("Tier", "", "kube-admin"), "Tier kube-admin is built in and cannot be deleted"),
        (Key("Namespace", "", "kube-system"), "Namespace kube-system is built in and cannot be deleted"),
        (
            Key("Tier", "", "security"),
            "Tier security still owns GlobalNetworkPolicy g, NetworkPolicy shop/a, NetworkPolicy shop/b and 1 more; "
            "delete or move the policies first",
        ),
    ],
)
def test_deletion_refused(key: Key, message: str) -> None:
    """Built-in tiers and namespaces stay, and so does a tier that owns policies (POL-2)."""
    spec: dict[str, object] = {"tier": "security"}
    policies = [resource("NetworkPolicy", name, spec, "shop") for name in ("a", "b", "c")]

    with pytest.raises(RefusedError) as caught:
        admit_delete(cluster(*policies, resource("GlobalNetworkPolicy", "g", spec)), key)

    assert str(caught.value) == message


def test_deletion_admitted() -> None:
    """A tier without policies, an ordinary namespace and a pool may go."""
    there = cluster(BLUE, resource("NetworkPolicy", "web", {}, "shop"))
    for key in (Key("Tier", "", "security"), Key("Namespace", "", "shop"), Key("IPPool", "", "blue")):
        admit_delete(there, key)


def test_built_in_tiers() -> None:
    """The built-in tiers are valid, and admitted as they are."""
    for tier in protected_tiers():
        validate(tier)
        admit({}, tier)

    assert [tier.name for tier in protected_tiers()] == ["kube-admin", "default", "kube-baseline"]
