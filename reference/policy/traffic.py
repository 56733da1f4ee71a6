"""Which ends of a packet consult policy at all (POL-18, CT-1, HEP-12)."""

from __future__ import annotations

from dataclasses import dataclass

from reference.endpoints import WorkloadEndpoint
from reference.policy.question import Question


@dataclass(frozen=True, slots=True)
class Consulted:
    """The endpoints whose policies decide: egress at the source, ingress at the destination.

    `to_own_host` says that after egress the packet meets defaultEndpointToHostAction, which drops it.
    `why` says why no policy is consulted, when none is.
    """

    egress: WorkloadEndpoint | None = None
    ingress: WorkloadEndpoint | None = None
    to_own_host: bool = False
    why: str = ""


def consulted(question: Question) -> Consulted:
    """Where policy is consulted for a packet."""
    source, destination = question.source.endpoint, question.destination.endpoint
    if source is not None and source is destination:
        return Consulted(why="a pod always reaches itself; no policy is consulted")
    if source is None and destination is None:
        return Consulted(why="neither end is a pod; no policy is consulted")
    if source is not None:
        host = question.destination.host
        own_host = destination is None and host is not None and host.is_node and host.name == source.node
        return Consulted(egress=source, ingress=destination, to_own_host=own_host)
    host = question.source.host
    if destination is not None and host is not None and host.is_node and host.name == destination.node:
        return Consulted(why=f"node {host.name} always reaches the pods on it; no policy is consulted (CT-1)")
    return Consulted(ingress=destination)
