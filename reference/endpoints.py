"""Workload endpoints and hosts: the things packets come from and go to.

A workload endpoint is a value of its own (an event creates it), derived once from a Pod, its node and its addresses.
Both roads to a verdict start from these.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Family = Literal[4, 6]


class EndpointPort(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A named port an endpoint declares (RULE-6). `protocol` is an IP protocol number."""

    name: str
    protocol: int
    port: int


class WorkloadEndpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A pod's attachment to the network (K8S-3, K8S-5)."""

    namespace: str
    pod: str
    node: str
    interface: str  # host side: cali + 11 hex digits
    addresses: tuple[str, ...]  # bare addresses, IPv4 first
    labels: dict[str, str]  # own labels, with projectcalico.org/namespace and friends (2f)
    profiles: tuple[str, ...]  # kns.<namespace>, ksa.<namespace>.<account>
    service_account: str = ""
    ports: tuple[EndpointPort, ...] = ()

    @property
    def name(self) -> str:
        """`namespace/pod`, as users write it."""
        return f"{self.namespace}/{self.pod}"


class Host(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine on the fabric: a cluster node, or a host outside the cluster (no policy is enforced on that one)."""

    name: str
    addresses: tuple[str, ...]  # bare addresses on the fabric, IPv4 first
    subnet: str  # name of the fabric subnet it is attached to
    is_node: bool
