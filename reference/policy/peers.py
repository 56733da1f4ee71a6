"""Who owns an address: endpoints and network sets, with every label policy may see (RULE-8, NS-1, NS-2).

Matching by selector is matching by address: a selector matches an address when any endpoint or network set that
contains the address satisfies it, wherever in the cluster it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import msgspec

from reference.endpoints import EndpointPort, Family, Host, WorkloadEndpoint
from reference.packet import protocol_number
from reference.policy.services import NO_SERVICES, Services, services_by_address
from reference.profiles import account_labels, namespace_labels, profile
from reference.resources import GlobalNetworkSet, HostEndpoint, Namespace, NetworkSet, ServiceAccount
from reference.state import State

NAMESPACE_LABEL = "projectcalico.org/namespace"
_NO_LABELS: Mapping[str, str] = {}
_MOST_PARTIES = 100_000  # addresses remembered per state; more are looked up again


class Owner(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An endpoint or a network set, as selectors see it. `namespace` is empty where there is none."""

    name: str
    namespace: str
    service_account: str
    labels: Mapping[str, str]  # effective: own over inherited (SEL-9)
    namespace_labels: Mapping[str, str]
    account_labels: Mapping[str, str]
    endpoint: WorkloadEndpoint | None  # None for a network set and a host endpoint
    ports: tuple[EndpointPort, ...] = ()  # named ones it declares (RULE-6)


class Party(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One end of a packet: an address and all that stands behind it."""

    address: str
    family: Family
    number: int
    owners: tuple[Owner, ...]
    endpoint: WorkloadEndpoint | None  # the workload whose policies apply at this end
    host: Host | None
    services: Services = NO_SERVICES  # those it stands behind (RULE-12)

    @property
    def name(self) -> str:
        """What the address is: "shop/web", "node/node-1", "host/internet", or the address itself."""
        if self.endpoint is not None:
            return self.endpoint.name
        if self.host is not None:
            return f"{'node' if self.host.is_node else 'host'}/{self.host.name}"
        return self.address


@dataclass(slots=True)
class _NetIndex:
    """Network sets by the nets they contain: one look-up per prefix length in use finds every set of an address."""

    width: int
    by_length: dict[int, dict[int, list[Owner]]] = field(default_factory=dict)

    def add(self, number: int, length: int, owner: Owner) -> None:
        holders = self.by_length.setdefault(length, {}).setdefault(number >> (self.width - length), [])
        if owner not in holders:
            holders.append(owner)

    def containing(self, number: int) -> Iterator[Owner]:
        for length, nets in self.by_length.items():
            yield from nets.get(number >> (self.width - length), ())


class Peers:
    """The owners of every address of one state, found when asked for and remembered."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._parties: dict[str, Party] = {}
        self._owners: dict[tuple[str, str], Owner] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._inherited: dict[tuple[str, ...], dict[str, str]] = {}  # labels, by profiles
        self._hosts = {address: host for _, host in sorted(state.hosts.items()) for address in host.addresses}
        self._services = services_by_address(state)
        self._host_endpoints: dict[str, list[Owner]] = {}  # by expected address
        self._nets: dict[Family, _NetIndex] = {4: _NetIndex(32), 6: _NetIndex(128)}
        self._index(state.all(NetworkSet))
        self._index(state.all(GlobalNetworkSet))
        for endpoint in state.all(HostEndpoint):
            owner = host_owner(state, endpoint)
            for address in endpoint.spec.expected_ips:  # all it contributes (RULE-8)
                self._host_endpoints.setdefault(address, []).append(owner)

    def at(self, address: str) -> Party:
        """All that stands behind an address."""
        party = self._parties.get(address)
        if party is None:
            if len(self._parties) >= _MOST_PARTIES:
                self._parties.clear()
            party = self._parties[address] = self._look_up(address)
        return party

    def owner(self, endpoint: WorkloadEndpoint) -> Owner:
        """An endpoint as selectors see it."""
        key = (endpoint.namespace, endpoint.pod)
        owner = self._owners.get(key)
        if owner is None:
            owner = self._owners[key] = self._endpoint_owner(endpoint)
        return owner

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """The labels a namespaceSelector sees of a namespace; none for one that does not exist."""
        labels = self._namespaces.get(name)
        if labels is None:
            namespace = self._state.get(Namespace, name) if name else None
            labels = self._namespaces[name] = _NO_LABELS if namespace is None else namespace_labels(namespace)
        return labels

    def _look_up(self, address: str) -> Party:
        parsed = ip_address(address)
        number = int(parsed)
        family: Family = 4 if parsed.version == 4 else 6
        keys = self._state.addresses.get(str(parsed), ())
        endpoints = [self._state.endpoints[key] for key in keys]
        hosts = self._host_endpoints.get(str(parsed), ())
        owners = dict.fromkeys((*map(self.owner, endpoints), *hosts, *self._nets[family].containing(number)))
        return Party(
            address=address,
            family=family,
            number=number,
            owners=tuple(owners),
            endpoint=endpoints[0] if endpoints else None,
            host=self._hosts.get(str(parsed)),
            services=self._services.get(str(parsed), NO_SERVICES),
        )

    def _endpoint_owner(self, endpoint: WorkloadEndpoint) -> Owner:
        inherited = self._inherited.get(endpoint.profiles)
        if inherited is None:
            inherited = self._inherited[endpoint.profiles] = _inherited(self._state, endpoint.profiles)
        namespace, name = endpoint.namespace, endpoint.service_account
        account = None
        if name and f"ksa.{namespace}.{name}" in endpoint.profiles:
            account = self._state.get(ServiceAccount, name, namespace)
        # A workload that does not list its namespace's profile has none of the namespace's labels (SEL-9, 2f).
        listed = f"kns.{namespace}" in endpoint.profiles
        return Owner(
            name=endpoint.name,
            namespace=endpoint.namespace,
            service_account=endpoint.service_account,
            labels=inherited | endpoint.labels | {NAMESPACE_LABEL: endpoint.namespace},
            namespace_labels=self.namespace_labels(namespace) if listed else _NO_LABELS,
            account_labels=_NO_LABELS if account is None else account_labels(account),
            endpoint=endpoint,
            ports=endpoint.ports,
        )

    def _index(self, sets: Iterable[NetworkSet | GlobalNetworkSet]) -> None:
        for network_set in sets:
            owner = self.set_owner(network_set)
            for text in network_set.spec.nets:
                net = ip_network(text, strict=False)
                family: Family = 4 if net.version == 4 else 6
                self._nets[family].add(int(net.network_address), net.prefixlen, owner)

    def set_owner(self, network_set: NetworkSet | GlobalNetworkSet) -> Owner:
        """A network set as selectors see it."""
        namespace = network_set.namespace
        labels: dict[str, str] = dict(network_set.metadata.labels)
        if namespace:  # reachable from namespaced selectors, and inherits its namespace's labels (2f)
            found = profile(self._state, f"kns.{namespace}")
            labels = {**(found.spec.labels_to_apply if found else _NO_LABELS), **labels, NAMESPACE_LABEL: namespace}
        return Owner(
            name=f"network set {namespace}/{network_set.name}" if namespace else f"network set {network_set.name}",
            namespace=namespace,
            service_account="",
            labels=labels,
            namespace_labels=self.namespace_labels(namespace),
            account_labels=_NO_LABELS,
            endpoint=None,
        )


def host_owner(state: State, endpoint: HostEndpoint) -> Owner:
    """A host endpoint as selectors see it: in no namespace, its labels over those of its profiles (HEP-2, 2f)."""
    return Owner(
        name=f"host endpoint {endpoint.name}",
        namespace="",
        service_account="",
        labels=_inherited(state, endpoint.spec.profiles) | endpoint.metadata.labels,
        namespace_labels=_NO_LABELS,
        account_labels=_NO_LABELS,
        endpoint=None,
        ports=tuple(EndpointPort(port.name, protocol_number(port.protocol), port.port) for port in endpoint.spec.ports),
    )


def _inherited(state: State, profiles: tuple[str, ...]) -> dict[str, str]:
    """The labels that profiles give; the first one listed wins (SEL-9)."""
    labels: dict[str, str] = {}
    for name in reversed(profiles):
        found = profile(state, name)
        labels.update(found.spec.labels_to_apply if found is not None else _NO_LABELS)
    return labels
