"""Manifests out: resources as `kubectl get -o yaml` would print them. What is printed loads to an equal resource."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from reference.resources.documents import STR, scalar_tag
from reference.resources.kinds import AnyResource, kind_of

_FIRST = ("name", "namespace", "labels", "annotations")  # of the metadata


def manifest(resource: AnyResource) -> dict[str, Any]:
    """The manifest of a resource: apiVersion, kind, metadata, then the rest. Fields at their default are left out."""
    kind = kind_of(resource)
    body = msgspec.to_builtins(resource)
    metadata = body.pop("metadata")
    ordered = {name: metadata[name] for name in (*_FIRST, *metadata) if name in metadata}
    result = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": ordered}
    result.update((name, value) for name, value in body.items() if name != "resource")
    spec = result.get("spec")
    if isinstance(spec, dict):
        order = spec.get("order")
        if isinstance(order, float) and order.is_integer() and abs(order) < 2**53:
            spec["order"] = int(order)  # as users write it
    return result


class _Dumper(yaml.CSafeDumper):
    """Quotes every string that our loader, or an ordinary YAML 1.1 one, would read as something else."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            tag = scalar_tag(value)
            if tag != STR:
                return tag
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call, no-any-return]

    def ignore_aliases(self, data: object) -> bool:
        return True


def to_yaml(resources: Iterable[AnyResource]) -> str:
    """The resources as documents of one YAML text."""
    return yaml.dump_all(
        [manifest(resource) for resource in resources],
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=120,
    )


def to_json(resources: Iterable[AnyResource]) -> str:
    """The resources as one JSON text: the object alone when there is one, otherwise a List."""
    manifests = [manifest(resource) for resource in resources]
    if len(manifests) == 1:
        return json.dumps(manifests[0], indent=2, ensure_ascii=False) + "\n"
    everything = {"apiVersion": "v1", "kind": "List", "items": manifests}
    return json.dumps(everything, indent=2, ensure_ascii=False) + "\n"
