"""The pods of one node: a network namespace each, joined to the node by a routed veth (WL-1 to WL-4).

Every method runs in a thread that lives in the node's network namespace. A batch of pods costs a few system calls per
pod: the settings a workload interface needs are the namespace's defaults, written once, and interface indices are
chosen here, so nothing is ever asked back from the kernel.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from emulator import sysctl
from emulator.namespaces import NetworkNamespace, home_afterwards, move_into_new
from emulator.netlink import Batch, RouteSocket
from emulator.netlink.messages import RT_TABLE_LOCAL
from reference.endpoints import WorkloadEndpoint
from reference.errors import EnvironmentLacksError

HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAY_4 = IPv4Address("169.254.1.1")
GATEWAY_6 = IPv6Address("fe80::ecee:eeff:feee:eeee")  # the link-local address that HOST_MAC gives the host side
MTU = 1500

_DEFAULT_4, _DEFAULT_6 = ip_network("0.0.0.0/0"), ip_network("::/0")
_LINK_TO_GATEWAY = ip_network("169.254.1.1/32")
_LO, _ETH0 = 1, 100  # 100: above the fallback tunnel devices that some kernels put into every namespace
_FIRST_INDEX = 1000
_NO_DEVICE = frozenset({errno.ENODEV})
_NO_CLSACT = frozenset({errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL})  # a kernel without it; eBPF will say so
_DOOMED = 0x6D75736C  # the link group that dying interfaces are put into


@dataclass(frozen=True, slots=True)
class Attachment:
    """A pod that is attached: its namespace and the index of its host side interface."""

    endpoint: WorkloadEndpoint
    namespace: NetworkNamespace
    index: int


class PodNetwork:
    """The pods attached to one node."""

    def __init__(self, node: str) -> None:
        """Nothing is done to the kernel before the first pod, or before `prepare`."""
        self.node = node
        self._attached: dict[str, Attachment] = {}
        self._kernel: RouteSocket | None = None
        self._next_index = _FIRST_INDEX

    @property
    def names(self) -> frozenset[str]:
        """The attached pods, as `namespace/pod`."""
        return frozenset(self._attached)

    def prepare(self) -> RouteSocket:
        """Settle the node's sysctls and open its netlink socket; once.

        Raises:
            EnvironmentLacksError: a setting is refused.
        """
        if self._kernel is None:
            sysctl.write(sysctl.NODE)
            self._kernel = RouteSocket()
            self._next_index = max(_FIRST_INDEX, *(index + 1 for index in self._kernel.links().values()))
        return self._kernel

    def create(self, endpoints: Sequence[WorkloadEndpoint]) -> None:
        """Attach pods, all in one batch. When it returns they can talk, as far as routes and policy allow.

        Raises:
            EnvironmentLacksError: the kernel refused; none of the batch stays.
        """
        kernel = self.prepare()
        fresh = [endpoint for endpoint in endpoints if endpoint.name not in self._attached]
        namespaces: list[NetworkNamespace] = []
        sockets: list[RouteSocket] = []
        first = self._next_index
        try:
            self._open(fresh, namespaces, sockets)
            host_side = Batch()
            attached = [
                self._plug(host_side, endpoint, namespace)
                for endpoint, namespace in zip(fresh, namespaces, strict=True)
            ]
            kernel.send(host_side)
            for endpoint, pod in zip(fresh, sockets, strict=True):
                pod.send(_pod_side(endpoint))
        except (OSError, EnvironmentLacksError) as error:
            self._unplug(range(first, self._next_index))
            for namespace in namespaces:
                namespace.close()
            if isinstance(error, EnvironmentLacksError):
                raise
            raise EnvironmentLacksError(f"{len(fresh)} pods could not be attached to {self.node}: {error}") from error
        finally:
            for pod in sockets:
                pod.close()
        self._attached.update((attachment.endpoint.name, attachment) for attachment in attached)

    def delete(self, names: Iterable[str]) -> None:
        """Detach pods (`namespace/pod`). Their interfaces are gone when it returns; unknown names are passed over.

        Raises:
            NetlinkError: the kernel refused.
        """
        doomed = [self._attached.pop(name) for name in names if name in self._attached]
        if not doomed:
            return
        self._unplug([attachment.index for attachment in doomed])
        for attachment in doomed:
            attachment.namespace.close()

    def namespace_of(self, endpoint: WorkloadEndpoint | str) -> NetworkNamespace:
        """The namespace of an attached pod, by endpoint or by `namespace/pod`.

        Raises:
            KeyError: it is not attached to this node.
        """
        return self._attached[endpoint if isinstance(endpoint, str) else endpoint.name].namespace

    def update(self, endpoints: Iterable[WorkloadEndpoint]) -> None:
        """Make the attached pods be these: new ones attached, missing ones detached, readdressed ones made anew."""
        wanted = {endpoint.name: endpoint for endpoint in endpoints}
        self.delete([name for name, held in self._attached.items() if _differs(held.endpoint, wanted.get(name))])
        self.create([endpoint for name, endpoint in wanted.items() if name not in self._attached])

    def close(self) -> None:
        """Detach every pod and close the node's socket."""
        self.delete(list(self._attached))
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    def _open(
        self, endpoints: Sequence[WorkloadEndpoint], namespaces: list[NetworkNamespace], sockets: list[RouteSocket]
    ) -> None:
        """A named namespace per pod, with its settings written and a netlink socket left inside."""
        with home_afterwards():
            for endpoint in endpoints:
                namespace = move_into_new()
                namespaces.append(namespace)
                # A pod that moved here may still be on its old node, whose agent works at the same time as ours.
                namespace.bind(namespace_name(endpoint), take_over=True)
                sysctl.write(sysctl.POD)
                sockets.append(RouteSocket())

    def _unplug(self, indices: Iterable[int]) -> None:
        """Delete host side interfaces, all in one go. One that is gone already is as good as deleted."""
        batch = Batch()
        for index in indices:
            batch.link_group(index, _DOOMED, tolerated=_NO_DEVICE)
        batch.group_delete(_DOOMED, tolerated=_NO_DEVICE)
        self.prepare().send(batch)

    def _plug(self, batch: Batch, endpoint: WorkloadEndpoint, namespace: NetworkNamespace) -> Attachment:
        """The host side of one pod: the veth pair, and the pod's addresses known without asking for them."""
        index = self._next_index
        self._next_index += 1
        mac = pod_mac(endpoint)
        batch.veth_add(endpoint.interface, index, HOST_MAC, "eth0", _ETH0, mac, namespace.fd, mtu=MTU)
        batch.clsact_add(index, tolerated=_NO_CLSACT)  # while it is down; a dataplane may want it when packets flow
        batch.link_up(index)
        batch.proxy_arp_at_once(index)
        for address in _addresses(endpoint):
            batch.neighbour_add(index, address, mac)
        return Attachment(endpoint, namespace, index)


def namespace_name(endpoint: WorkloadEndpoint) -> str:
    """What `ip netns` calls a pod: namespace and pod joined by a character neither may hold."""
    return f"{endpoint.namespace}_{endpoint.pod}"


def pod_mac(endpoint: WorkloadEndpoint) -> str:
    """A pod's own MAC: always the same for the same name; locally administered."""
    digest = hashlib.sha256(endpoint.name.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def _differs(held: WorkloadEndpoint, wanted: WorkloadEndpoint | None) -> bool:
    return wanted is None or (held.interface, held.addresses) != (wanted.interface, wanted.addresses)


def _addresses(endpoint: WorkloadEndpoint) -> list[IPv4Address | IPv6Address]:
    parsed = [ip_address(address) for address in endpoint.addresses]
    return [address for address in parsed if address.version == 4 or sysctl.has_ipv6()]


def _pod_side(endpoint: WorkloadEndpoint) -> Batch:
    """What happens inside a pod: lo, addresses, and all roads leading to the host side (WL-1)."""
    batch = Batch()
    batch.link_up(_LO)
    batch.link_up(_ETH0)
    addresses = _addresses(endpoint)
    for address in addresses:
        batch.address_add(_ETH0, address, address.max_prefixlen)
        if address.version == 6:
            # The kernel's own local route for an IPv6 address comes a little later, from a worker of its. Until then
            # packets for the pod get lost in it, and a connection to itself takes the way out, and keeps to it.
            batch.route_add(ip_network(address), kind="local", index=_ETH0, table=RT_TABLE_LOCAL)
    families = {address.version for address in addresses}
    if 4 in families:
        batch.neighbour_add(_ETH0, GATEWAY_4, HOST_MAC)
        batch.route_add(_LINK_TO_GATEWAY, kind="link", index=_ETH0)
        batch.route_add(_DEFAULT_4, via=GATEWAY_4, index=_ETH0)
    if 6 in families:
        batch.neighbour_add(_ETH0, GATEWAY_6, HOST_MAC)
        batch.route_add(_DEFAULT_6, via=GATEWAY_6, index=_ETH0)
    return batch
