"""`Cluster`: a real emulated cluster, owned by whoever made it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from emulator.explanation import Explanation
from emulator.probe.types import Outcome, Probe
from emulator.session import Session
from emulator.spec import DEFAULT_DATAPLANE, DEFAULT_NODES, DEFAULT_TOPOLOGY
from reference.resources import Resource, manifests

Source = str | os.PathLike[str] | dict[str, Any] | list[dict[str, Any]]
Flow = Probe | tuple[str, str, str, int]  # (source, destination, protocol, port)


class Cluster(Session):
    """A running cluster: real namespaces, real packets.

        with muslin.Cluster(nodes=2) as cluster:
            cluster.apply("manifests/")
            assert cluster.probe("shop/web", "shop/api", "TCP", 8080).allowed

    It owns its supervisor: when this process ends, however it ends, the cluster goes with it.
    """

    def __init__(
        self,
        *,
        topology: str = DEFAULT_TOPOLOGY,
        nodes: int = DEFAULT_NODES,
        dataplane: str = DEFAULT_DATAPLANE,
        node_dataplanes: Mapping[str, str] | None = None,
        encryption: str | None = None,
        name: str = "",
        log: str | os.PathLike[str] | None = None,
    ) -> None:
        """Say what it shall be; `with` or `start()` brings it up.

        `node_dataplanes`: the dataplanes of nodes that have another one than the rest, {"node-2": "iptables"}.
        `encryption`: "wireguard", or None. `log`: where to keep the event log; by default it lives and dies with the
        cluster.

        Raises:
            InvalidInputError: a value is out of range or unknown.
        """
        super().__init__(
            topology=topology,
            nodes=nodes,
            dataplane=dataplane,
            node_dataplanes=node_dataplanes,
            encryption=encryption or "",
            name=name,
            log=Path(log) if log else None,
        )

    def apply(self, *sources: Source) -> list[str]:
        """Apply manifests: files, folders, or dicts. All or nothing. Returns kubectl's lines ("pod/web created").

        Raises:
            InvalidInputError: a manifest is wrong; says file, line and field. Nothing was applied.
        """
        return self.apply_resources(_resources(sources))

    def delete(self, *sources: Source) -> list[str]:
        """Delete what manifests name, all or nothing.

        Raises:
            InvalidInputError: a manifest is wrong, or names what does not exist. Nothing was deleted.
        """
        return self.delete_keys([resource.key for resource in _resources(sources)])

    def probe(self, source: str, destination: str, protocol: str = "TCP", port: int = 80) -> Outcome:
        """Send one real packet and see what becomes of it, once the last change is enforced."""
        return self.probe_many([(source, destination, protocol, port)])[0]

    def probe_many(self, probes: Iterable[Flow]) -> list[Outcome]:
        """Many probes at once, in their order; thousands a second."""
        return super().probe_many(_probe(flow) for flow in probes)

    def explain(self, source: str, destination: str, protocol: str = "TCP", port: int = 80) -> Explanation:
        """Model and kernel side by side for one flow."""
        return self.explain_probe(_probe((source, destination, protocol, port)))


def _resources(sources: Iterable[Source]) -> list[Resource]:
    return [sourced.resource for sourced in manifests.load(*sources)]


def _probe(flow: Flow) -> Probe:
    if isinstance(flow, Probe):
        return flow
    source, destination, protocol, port = flow
    return Probe(source=source, destination=destination, protocol=protocol, port=port)
