"""The table of kinds."""

from __future__ import annotations

import typing

import pytest

from reference.errors import InvalidInputError
from reference.resources import KINDS, AnyResource, Pod, find_kind, kind_of
from reference.resources.kinds import manifest_kind


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pods", "Pod"),
        ("po", "Pod"),
        ("Pod", "Pod"),
        ("ns", "Namespace"),
        ("sa", "ServiceAccount"),
        ("no", "Node"),
        ("netpol", "KubernetesNetworkPolicy"),
        ("networkpolicy", "KubernetesNetworkPolicy"),
        ("NetworkPolicies", "KubernetesNetworkPolicy"),
        ("networkpolicies.networking.k8s.io", "KubernetesNetworkPolicy"),
        ("networkpolicies.projectcalico.org", "NetworkPolicy"),
        ("networkpolicies.crd.projectcalico.org", "NetworkPolicy"),
        ("caliconetworkpolicy", "NetworkPolicy"),
        ("caliconetworkpolicies", "NetworkPolicy"),
        ("cnp", "NetworkPolicy"),
        ("gnp", "GlobalNetworkPolicy"),
        ("snp", "StagedNetworkPolicy"),
        ("stagednetworkpolicies.projectcalico.org", "StagedNetworkPolicy"),
        ("sgnp", "StagedGlobalNetworkPolicy"),
        ("stagedkubernetesnetworkpolicy", "StagedKubernetesNetworkPolicy"),
        ("sknp", "StagedKubernetesNetworkPolicy"),
        ("tier", "Tier"),
        ("netsets", "NetworkSet"),
        ("globalnetworksets", "GlobalNetworkSet"),
        ("ippool", "IPPool"),
        ("profiles", "Profile"),
    ],
)
def test_find(text: str, name: str) -> None:
    """Plural, singular, short and qualified names find a kind in any case; a bare networkpolicy is Kubernetes'."""
    assert find_kind(text).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("podz", 'unknown kind "podz"; did you mean "pod"?'),
        ("globalnetworkpolicys", 'unknown kind "globalnetworkpolicys"; did you mean "globalnetworkpolicy"?'),
        (
            "zzz",
            'unknown kind "zzz"; known: ' + ", ".join(kind.plural for kind in KINDS),
        ),
    ],
)
def test_not_found(text: str, message: str) -> None:
    """An unknown kind is answered with the nearest, or with all."""
    with pytest.raises(InvalidInputError) as caught:
        find_kind(text)

    assert str(caught.value) == message


def test_every_type_has_its_kind() -> None:
    """The table holds each type of AnyResource once, and finds it by type, name and manifest."""
    assert {kind.type for kind in KINDS} == set(typing.get_args(AnyResource))
    for kind in KINDS:
        assert kind_of(kind.type) is kind_of(kind.name) is kind
        assert all(manifest_kind(version, kind.kind) is kind for version in kind.api_versions)


def test_words_are_unambiguous() -> None:
    """But for the two NetworkPolicies, no two kinds answer to the same word."""
    words = [word for kind in KINDS for word in set(kind.words)]

    assert {word for word in words if words.count(word) > 1} == {"networkpolicy"}


def test_scope() -> None:
    """Cluster-scoped kinds are known as such."""
    assert kind_of(Pod).namespaced
    clustered = {kind.name for kind in KINDS if not kind.namespaced}
    assert clustered >= {
        "Namespace",
        "Node",
        "GlobalNetworkPolicy",
        "Tier",
        "GlobalNetworkSet",
        "Profile",
        "IPPool",
        "StagedGlobalNetworkPolicy",
    }
    assert not clustered & {"Pod", "NetworkPolicy", "StagedNetworkPolicy", "StagedKubernetesNetworkPolicy"}
