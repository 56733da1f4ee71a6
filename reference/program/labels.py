"""What has labels: endpoints and network sets as items, with the labels they inherit from profiles (SEL-9, 2f)."""

from __future__ import annotations

from collections.abc import Iterable

from immutables import Map

from reference.endpoints import EndpointPort, Family, WorkloadEndpoint
from reference.packet import protocol_number
from reference.profiles import profile
from reference.program.matching import Item, ItemKey
from reference.program.nets import net
from reference.program.rewriting import NAMESPACE
from reference.resources import AnyResource, GlobalNetworkSet, HostEndpoint, Key, NetworkSet, Profile
from reference.state import State

AnySet = NetworkSet | GlobalNetworkSet
Source = WorkloadEndpoint | HostEndpoint | AnySet
_SOURCES = ("Namespace", "ServiceAccount", "Profile")
_NO_RESOURCES: Map[Key, AnyResource] = Map()


def resources(state: State, kind: str) -> Map[Key, AnyResource]:
    """All resources of an internal kind."""
    return state.resources.get(kind, _NO_RESOURCES)


class Profiles:
    """The profiles items name, derived once and again only when something they come from has changed."""

    def __init__(self) -> None:
        self._state = State()
        self._users: dict[str, set[ItemKey]] = {}
        self._profiles: dict[str, Profile | None] = {}

    def move_to(self, state: State) -> dict[str, set[ItemKey]]:
        """Take a new state. Returns who uses each profile that changed in it."""
        before, self._state = self._state, state
        if all(resources(before, kind) is resources(state, kind) for kind in _SOURCES):
            return {}
        changed = [name for name, known in self._profiles.items() if profile(state, name) != known]
        self._profiles.update((name, profile(state, name)) for name in changed)
        return {name: set(self._users[name]) for name in changed}

    def use(self, key: ItemKey, before: Iterable[str], after: Iterable[str]) -> tuple[list[str], list[str]]:
        """Note that an item names other profiles now. Returns those that are new, and those nobody names any more."""
        new = []
        for name in after:
            if name not in self._users:
                self._users[name] = set()
                self._profiles[name] = profile(self._state, name)
                new.append(name)
            self._users[name].add(key)
        gone = []
        for name in set(before).difference(after):
            self._users[name].discard(key)
            if not self._users[name]:
                del self._users[name], self._profiles[name]
                gone.append(name)
        return new, gone

    def get(self, name: str) -> Profile | None:
        """A profile somebody uses."""
        return self._profiles[name]

    def over(self, own: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
        """Own labels over those of the profiles, the first profile first (SEL-9)."""
        labels: dict[str, str] = {}
        for name in reversed(names):
            found = self._profiles[name]
            if found is not None:
                labels.update(found.spec.labels_to_apply)
        labels.update(own)
        return labels


def profile_names(source: Source) -> tuple[str, ...]:
    """The profiles something inherits from: an endpoint its own, a network set its namespace's (2f)."""
    if isinstance(source, WorkloadEndpoint):
        return source.profiles
    if isinstance(source, HostEndpoint):
        return source.spec.profiles
    return (f"kns.{source.namespace}",) if source.namespace else ()


def item(key: ItemKey, source: Source, profiles: Profiles) -> Item:
    """The item of an endpoint or a network set; of a host's, with its expected addresses only (RULE-8)."""
    names = profile_names(source)
    if isinstance(source, WorkloadEndpoint):
        nets = _nets(source.addresses)
        return Item(key, profiles.over(source.labels, names), nets, is_endpoint=True, ports=source.ports)
    own = source.metadata.labels
    if isinstance(source, HostEndpoint):
        ports = tuple(EndpointPort(p.name, protocol_number(p.protocol), p.port) for p in source.spec.ports)
        nets = _nets(source.spec.expected_ips)
        return Item(key, profiles.over(own, names), nets, is_endpoint=True, ports=ports)
    if source.namespace:
        own = {**own, NAMESPACE: source.namespace}
    return Item(key, profiles.over(own, names), _nets(source.spec.nets), is_endpoint=False)


def _nets(texts: Iterable[str]) -> tuple[tuple[Family, str], ...]:
    return tuple(dict.fromkeys((each.family, each.text) for each in map(net, texts)))
