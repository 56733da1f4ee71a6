"""Clusters to measure on: as many pods and policies as asked, of mixed kinds, always the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NAMESPACES = 10


@dataclass(frozen=True)
class Shape:
    """Over how many apps, namespaces and nodes the rest is spread. 0 nodes: none is named."""

    apps: int = 20
    namespaces: int = NAMESPACES
    nodes: int = 0


SMALL = Shape()
LARGE = Shape(apps=200, namespaces=500, nodes=100)


def namespace(number: int) -> dict[str, Any]:
    """A namespace with a team label."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": f"ns-{number}", "labels": {"team": f"team-{number % 3}"}},
    }


def node(number: int) -> dict[str, Any]:
    """A node."""
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"}}


def pod(number: int, node: str = "", shape: Shape = SMALL) -> dict[str, Any]:
    """A pod of one of the apps, in one of the namespaces."""
    spec: dict[str, Any] = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}
    if node:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "namespace": f"ns-{number % shape.namespaces}",
            "labels": {"app": f"app-{number % shape.apps}", "number": str(number)},
        },
        "spec": spec,
    }


def policy(number: int, ports: tuple[int, ...] = (80,), shape: Shape = SMALL) -> dict[str, Any]:
    """A policy: in turns Calico's, Kubernetes' and a global one; each for one app of one namespace, or one team."""
    app = f"app-{number % shape.apps}"
    space = f"ns-{number % shape.namespaces}"
    peer = f"app-{(number + 1) % shape.apps}"
    if number % 3 == 0:
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"policy-{number}", "namespace": space},
            "spec": {
                "podSelector": {"matchLabels": {"app": app}},
                "ingress": [
                    {
                        "from": [{"podSelector": {"matchLabels": {"app": peer}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
                        "ports": [{"port": port} for port in ports],
                    }
                ],
            },
        }
    rules = [
        {
            "action": "Deny",
            "protocol": "TCP",
            "source": {"selector": f"app == '{peer}'"},
            "destination": {"ports": [22]},
        },
        {
            "action": "Allow",
            "protocol": "TCP",
            "source": {"selector": f"app in {{'{peer}', '{app}'}}"},
            "destination": {"ports": list(ports)},
        },
    ]
    if number % 3 == 1:
        return {
            "apiVersion": "projectcalico.org/v3",
            "kind": "NetworkPolicy",
            "metadata": {"name": f"policy-{number}", "namespace": space},
            "spec": {"order": number, "selector": f"app == '{app}'", "types": ["Ingress"], "ingress": rules},
        }
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": f"policy-{number}"},
        "spec": {
            "order": number,
            "selector": f"app == '{app}'",
            "namespaceSelector": f"team == 'team-{number % 3}'",
            "types": ["Egress"],
            "egress": [*rules[:1], {"action": "Allow"}],
        },
    }


def manifests(pods: int, policies: int, shape: Shape = SMALL) -> list[dict[str, Any]]:
    """Namespaces, perhaps nodes, pods and policies."""
    return [
        *(namespace(number) for number in range(shape.namespaces)),
        *(node(number) for number in range(1, shape.nodes + 1)),
        *(pod(number, shape=shape) for number in range(pods)),
        *(policy(number, shape=shape) for number in range(policies)),
    ]
