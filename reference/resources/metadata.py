"""What every resource shares: its base type, its metadata, and the key it is stored under."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Document(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel", gc=False
):
    """Base of all that is decoded from a manifest: camelCase outside, unknown fields refused, immutable.

    Dictionaries inside are values too: nobody changes one after decoding. So no cycle can come about, and the garbage
    collector need not look at any of them: a large state would cost it half a second each time.
    """


class Metadata(Document, frozen=True):
    """`metadata` of a resource. Fields that do not decide about packets are kept as they came."""

    name: str
    namespace: str = ""  # empty for cluster-scoped kinds
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str | None = None
    generate_name: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: Any = None
    deletion_timestamp: Any = None
    deletion_grace_period_seconds: int | None = None
    self_link: str | None = None
    owner_references: Any = None
    finalizers: Any = None
    managed_fields: Any = None


class Key(NamedTuple):
    """Where a resource lives: internal kind, namespace (empty for cluster scope), name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"


class Resource(Document, frozen=True, tag_field="resource"):
    """Base of every kind. The class name is the internal kind and the tag in the event log.

    Kubernetes and Calico both call theirs `NetworkPolicy`; here the Kubernetes one is `KubernetesNetworkPolicy`,
    as Calico's own model names it (K8S-6).
    """

    metadata: Metadata

    @property
    def key(self) -> Key:
        """The key this resource is stored under."""
        return Key(type(self).__name__, self.metadata.namespace, self.metadata.name)

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Its namespace, empty for cluster-scoped kinds."""
        return self.metadata.namespace
