"""Names, namespaces, labels and annotations of every kind."""

from __future__ import annotations

import json
from collections.abc import Mapping

from reference.resources.addresses import parse_address, parse_cidr
from reference.resources.calico import GlobalNetworkPolicy, GlobalNetworkSet, NetworkPolicy, NetworkSet, Profile, Tier
from reference.resources.faults import FieldPath, fail, parsed, shown
from reference.resources.kinds import AnyResource, kind_of
from reference.resources.kubernetes import Namespace
from reference.resources.names import dns_label, dns_subdomain, label_value, qualified_name
from reference.resources.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy

_LIMIT = 256 * 1024  # bytes of annotations, keys included
_IP_ADDRESSES = "cni.projectcalico.org/ipAddrs"
_POOLS = {"cni.projectcalico.org/ipv4pools": 4, "cni.projectcalico.org/ipv6pools": 6}
_NAMESPACE_LABEL = "projectcalico.org/namespace"


_Tiered = NetworkPolicy | GlobalNetworkPolicy | StagedNetworkPolicy | StagedGlobalNetworkPolicy
_TIERED = (NetworkPolicy, GlobalNetworkPolicy, StagedNetworkPolicy, StagedGlobalNetworkPolicy)


def check_metadata(resource: AnyResource) -> None:
    """Names and namespaces per kind (2b.2), label and annotation syntax, Calico's address annotations (1.3)."""
    metadata = resource.metadata
    _check_name(resource)
    _check_namespace(resource)
    check_labels(metadata.labels, ("metadata", "labels"))
    check_annotations(metadata.annotations, ("metadata", "annotations"))
    if isinstance(resource, (NetworkSet, GlobalNetworkSet)) and _NAMESPACE_LABEL in metadata.labels:
        fail(("metadata", "labels", _NAMESPACE_LABEL), "this label is set by Calico, not by users")
    _check_address_annotations(metadata.annotations)


def _check_name(resource: AnyResource) -> None:
    name = resource.name
    path = ("metadata", "name")
    if not name:
        fail(path, "required, but empty")
    if isinstance(resource, _TIERED):
        problem = _policy_name(resource)
    elif isinstance(resource, (Tier, Namespace)):
        problem = dns_label(name)
    else:
        problem = dns_subdomain(name)
    if problem:
        fail(path, problem)
    if isinstance(resource, Profile) and name.startswith(("kns.", "ksa.")):
        fail(path, f"{shown(name)}: profiles kns.* and ksa.* are made from namespaces and service accounts")


def _policy_name(resource: _Tiered) -> str | None:
    """A label, or the historical `<tier>.<label>`; names under two reserved prefixes for NetworkPolicies."""
    name = resource.name
    if isinstance(resource, (NetworkPolicy, StagedNetworkPolicy)):
        for prefix in ("knp.default.", "ossg.default."):
            if name.startswith(prefix):
                return dns_subdomain(name)
    tier, dot, rest = name.rpartition(".")
    if dot and tier != resource.spec.tier:
        own = f"{resource.spec.tier}.{rest}"
        return f"{shown(name)} is neither a DNS label nor the old form with its own tier, {shown(own)}"
    return dns_subdomain(name)  # of one part, or two: a policy's label may be longer than a DNS label


def _check_namespace(resource: AnyResource) -> None:
    kind = kind_of(resource)
    namespace = resource.namespace
    path = ("metadata", "namespace")
    if not kind.namespaced:
        if namespace:
            fail(path, f"a {kind.kind} belongs to no namespace; remove the field")
        return
    problem = dns_label(namespace) if namespace else "required, but empty"
    if problem:
        fail(path, problem)


def check_labels(labels: Mapping[str, str], path: FieldPath) -> None:
    """Keys are qualified names, values label values."""
    for key, value in labels.items():
        problem = qualified_name(key) or label_value(value)
        if problem:
            fail((*path, key), problem)


def check_annotations(annotations: Mapping[str, str], path: FieldPath) -> None:
    """Keys are qualified names; all together at most 256 KiB."""
    size = 0
    for key, value in annotations.items():
        problem = qualified_name(key.lower())
        if problem:
            fail((*path, key), problem)
        size += len(key.encode()) + len(value.encode())
    if size > _LIMIT:
        fail(path, f"{size} bytes of annotations; at most {_LIMIT}")


def _check_address_annotations(annotations: Mapping[str, str]) -> None:
    for key, value in annotations.items():
        path = ("metadata", "annotations", key)
        if key == _IP_ADDRESSES:
            _check_addresses(_json_list(value, path, '["10.244.0.5"]'), path)
        elif key in _POOLS:
            for pool in _json_list(value, path, '["default-ipv4-ippool"]'):
                _check_pool(pool, _POOLS[key], path)


def _check_addresses(texts: list[str], path: FieldPath) -> None:
    """At least one address, at most one of each family."""
    seen: dict[int, str] = {}
    for text in texts:
        address = parsed(parse_address, text, path)
        if address.version in seen:
            fail(path, f"two IPv{address.version} addresses, {seen[address.version]} and {text}; one of each family")
        seen[address.version] = text
    if not seen:
        fail(path, "an empty list; name an address or remove the annotation")


def _check_pool(text: str, family: int, path: FieldPath) -> None:
    """A pool's name, or its CIDR."""
    if "/" not in text:
        problem = dns_subdomain(text)
        if problem:
            fail(path, problem)
        return
    network = parsed(parse_cidr, text, path)
    if network.version != family:
        fail(path, f"{text} is IPv{network.version}; this annotation names IPv{family} pools")


def _json_list(value: str, path: FieldPath, example: str) -> list[str]:
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        fail(path, f"expected a JSON list of strings such as '{example}', found {shown(value)}")
    return items
