"""Profiles: the user's own, and those synthesised from namespaces and service accounts (K8S-1, K8S-2).

Deriving a profile is resource-level work, shared by the oracle and the compiler just as the resource types are.
"""

from __future__ import annotations

from reference.resources import Metadata, Namespace, Profile, ServiceAccount
from reference.resources.calico import ProfileSpec, Rule
from reference.resources.hosts import DEFAULT_ALLOW_PROFILE
from reference.state import State

NAMESPACE_LABEL_PREFIX = "pcns."
ACCOUNT_LABEL_PREFIX = "pcsa."
NAME_LABEL = "projectcalico.org/name"
_ALLOW_ALL = (Rule(action="Allow"),)
_DEFAULT_ALLOW = Profile(  # what automatic host endpoints have (HEP-8)
    metadata=Metadata(name=DEFAULT_ALLOW_PROFILE), spec=ProfileSpec(ingress=_ALLOW_ALL, egress=_ALLOW_ALL)
)


def profile(state: State, name: str) -> Profile | None:
    """The profile of a name, or None when nothing stands behind it (then it denies everything, POL-16).

    `kns.<namespace>` and `ksa.<namespace>.<account>` always come from the namespace and the service account.
    """
    if name.startswith("kns."):
        namespace = state.get(Namespace, name.removeprefix("kns."))
        return None if namespace is None else _of_namespace(namespace)
    if name.startswith("ksa."):
        place, _, account_name = name.removeprefix("ksa.").partition(".")  # a namespace has no dots, an account may
        account = state.get(ServiceAccount, account_name, place)
        return None if account is None else _of_account(account)
    if name == DEFAULT_ALLOW_PROFILE:
        return _DEFAULT_ALLOW
    return state.get(Profile, name)


def namespace_labels(namespace: Namespace) -> dict[str, str]:
    """What a namespaceSelector sees of a namespace: its labels and its name."""
    return {**namespace.metadata.labels, NAME_LABEL: namespace.name}


def account_labels(account: ServiceAccount) -> dict[str, str]:
    """What a serviceAccountSelector sees of a service account: its labels and its name."""
    return {**account.metadata.labels, NAME_LABEL: account.name}


def _of_namespace(namespace: Namespace) -> Profile:
    labels = {NAMESPACE_LABEL_PREFIX + key: value for key, value in namespace_labels(namespace).items()}
    spec = ProfileSpec(labels_to_apply=labels, ingress=_ALLOW_ALL, egress=_ALLOW_ALL)
    return Profile(metadata=Metadata(name=f"kns.{namespace.name}"), spec=spec)


def _of_account(account: ServiceAccount) -> Profile:
    labels = {ACCOUNT_LABEL_PREFIX + key: value for key, value in account_labels(account).items()}
    name = f"ksa.{account.namespace}.{account.name}"
    return Profile(metadata=Metadata(name=name), spec=ProfileSpec(labels_to_apply=labels))
