"""One side of a Calico rule: does an address fit it, and which field says no (RULE-1, RULE-5 … RULE-10, RULE-13)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from typing import Literal

from reference.endpoints import Family
from reference.policy.peers import Owner, Party
from reference.resources.calico import EntityRule
from reference.selectors import All, And, Global, Node, Not, NotEquals, NotIn, Or, Selector, parse

Keep = Callable[[Owner], bool]
Asks = Literal["nothing", "address", "address and port"]
_MOST_ENTITIES = 16384


class Nets:
    """A list of CIDRs, cut down to one family when a packet asks (RULE-13)."""

    __slots__ = ("_ranges", "texts")

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        self._ranges: dict[Family, list[tuple[int, int]]] = {4: [], 6: []}
        for text in texts:
            net = ip_network(text, strict=False)
            bounds = (int(net.network_address), int(net.broadcast_address))
            self._ranges[4 if net.version == 4 else 6].append(bounds)

    def speak_of(self, family: Family) -> bool:
        """Report whether any of the list is of the family."""
        return bool(self._ranges[family])

    def contain(self, party: Party) -> bool:
        """Report whether the address is in one of the nets."""
        number = party.number
        return any(low <= number <= high for low, high in self._ranges[party.family])


class Ports:
    """A `ports` or `notPorts` list: numbers, ranges and names (RULE-5)."""

    __slots__ = ("names", "ranges", "texts")

    def __init__(self, entries: tuple[int | str, ...]) -> None:
        self.texts = tuple(map(str, entries))
        bounds = [_port_range(entry) for entry in self.texts]
        self.ranges = tuple(pair for pair in bounds if pair is not None)
        self.names = frozenset(text for text, pair in zip(self.texts, bounds, strict=True) if pair is None)

    def have(self, port: int) -> bool:
        """Report whether the port is one of the numbers and ranges."""
        return any(low <= port <= high for low, high in self.ranges)

    def contain(self, port: int, protocol: int, holders: list[Owner]) -> bool:
        """Report whether the port is in the list; names are those the holders declare (RULE-6)."""
        return self.have(port) or any(
            declared.port == port and declared.protocol == protocol and declared.name in self.names
            for holder in holders
            for declared in holder.ports
        )


@dataclass(frozen=True, slots=True)
class Filter:
    """A field that narrows down which owners of the address count."""

    field: str
    keep: Keep


class Entity:
    """One side of a rule, prepared. Fields are tried in a fixed order; the first that fails is the reason.

    `miss_by_port` needs the number alone and comes first; `miss` needs to know whose the address is.
    """

    __slots__ = (
        "_blind",
        "_filters",
        "_lone_not",
        "_nets",
        "_not_nets",
        "_not_ports",
        "_ports",
        "_service",
        "_service_ports",
        "rule",
    )

    def __init__(self, rule: EntityRule, namespace: str, *, is_destination: bool) -> None:
        self.rule = rule
        self._nets = Nets(rule.nets) if rule.nets else None
        self._not_nets = Nets(rule.not_nets) if rule.not_nets else None
        self._ports = Ports(rule.ports) if rule.ports else None
        self._not_ports = Ports(rule.not_ports) if rule.not_ports else None
        service = rule.services
        self._service = None if service is None else (service.namespace, service.name)
        self._service_ports = is_destination  # as a source a service is its addresses alone (RULE-12)
        filters = _filters(rule, namespace)
        self._lone_not = parse(rule.not_selector) if rule.not_selector and not filters else None
        if rule.not_selector and filters:  # combined: an owner that is in the one and not in the other (RULE-7)
            filters.append(Filter("notSelector", _unless(parse(rule.not_selector))))
        self._filters = tuple(filters)
        named = any(ports is not None and ports.names for ports in (self._ports, self._not_ports))
        asked = (self._nets, self._not_nets, self._lone_not)
        self._blind = not (filters or named or self._service or any(part is not None for part in asked))

    @property
    def asks(self) -> Asks:
        """What beyond the port's number decides here; a named port asks whose address it is."""
        lists = [ports for ports in (self._ports, self._not_ports) if ports is not None]
        if any(ports.names for ports in lists) or (self._service and self._service_ports):
            return "address and port"
        return "nothing" if self._blind else "address"

    def miss_by_port(self, port: int) -> str | None:
        """The port list without names that the number does not fit, or None."""
        if self._ports is not None and not self._ports.names and not self._ports.have(port):
            return "ports"
        if self._not_ports is not None and not self._not_ports.names and self._not_ports.have(port):
            return "notPorts"
        return None

    def miss(self, party: Party, port: int, protocol: int) -> str | None:
        """The first field the address, or the port by name, does not fit; None when all fit."""
        if self._blind:
            return None
        return self._miss_by_nets(party) or self._miss_by_owners(party, port, protocol)

    def _miss_by_nets(self, party: Party) -> str | None:
        nets, not_nets = self._nets, self._not_nets
        if nets is not None and not nets.contain(party):
            return "nets"
        # A list that says nothing of this family takes the whole rule out of it, negated ones too (RULE-13).
        if not_nets is not None and (not not_nets.speak_of(party.family) or not_nets.contain(party)):
            return "notNets"
        return None

    def _serves(self, party: Party, port: int, protocol: int) -> bool:
        """Report whether the address stands behind the service; as a destination, with this port (RULE-12)."""
        ports = party.services.get(self._service) if self._service else None
        return ports is not None and (not self._service_ports or (port, protocol) in ports)

    def _miss_by_owners(self, party: Party, port: int, protocol: int) -> str | None:
        owners = list(party.owners)
        for narrow in self._filters:
            owners = [owner for owner in owners if narrow.keep(owner)]
            if not owners:
                return narrow.field
        if self._lone_not is not None and any(self._lone_not.matches(owner.labels) for owner in owners):
            return "notSelector"  # addresses of nobody pass (RULE-7)
        if self._service is not None and not self._serves(party, port, protocol):
            return "services"
        ports, not_ports = self._ports, self._not_ports
        if ports is not None and ports.names and not ports.contain(port, protocol, owners):
            return "ports"
        if not_ports is not None and not_ports.names and not_ports.contain(port, protocol, owners):
            return "notPorts"
        return None


@lru_cache(maxsize=_MOST_ENTITIES)
def entity(rule: EntityRule, namespace: str, *, is_destination: bool) -> Entity:
    """One side of a rule, prepared. Equal ones are the same object, whatever policy or state they come from."""
    return Entity(rule, namespace, is_destination=is_destination)


def _filters(rule: EntityRule, namespace: str) -> list[Filter]:
    """The positive restrictions on who owns the address, in the order they are tried (RULE-9, RULE-10)."""
    accounts = rule.service_accounts
    filters: list[Filter] = []
    if rule.namespace_selector:
        filters.append(Filter("namespaceSelector", in_namespaces(parse(rule.namespace_selector))))
    elif namespace and (rule.selector or rule.not_selector or (accounts and (accounts.names or accounts.selector))):
        filters.append(Filter("namespace", lambda owner: owner.namespace == namespace))
    if accounts and accounts.selector:
        filters.append(Filter("serviceAccounts", _account_labels(parse(accounts.selector))))
    if accounts and accounts.names:
        names = frozenset(accounts.names)
        filters.append(Filter("serviceAccounts", lambda owner: owner.service_account in names))
    if rule.selector:
        selector = parse(rule.selector)
        filters.append(Filter("selector", lambda owner: selector.matches(owner.labels)))
    return filters


def in_namespaces(selector: Selector) -> Keep:
    """Is the owner in a namespace the selector picks?

    `all()` means "in any namespace" and `global()` "in none" (RULE-9). A negative selector holds for both.
    """
    if isinstance(selector.node, Global):
        return lambda owner: not owner.namespace
    without = holds_of_nothing(selector.node)
    return lambda owner: selector.matches(owner.namespace_labels) if owner.namespace else without


def of_accounts(selector: Selector) -> Keep:
    """Is the owner run as a service account the selector picks? `all()` means "as any service account" (RULE-11)."""
    without = holds_of_nothing(selector.node)
    return lambda owner: selector.matches(owner.account_labels) if owner.service_account else without


def holds_of_nothing(node: Node) -> bool:
    """Report whether a selector holds where there is nothing to select: no labels, and `all()` is not met."""
    match node:
        case Not(operand):
            return not holds_of_nothing(operand)
        case And(operands):
            return all(map(holds_of_nothing, operands))
        case Or(operands):
            return any(map(holds_of_nothing, operands))
        case All():
            return False
        case _:
            return isinstance(node, NotEquals | NotIn | Global)


def _account_labels(selector: Selector) -> Keep:
    # In a rule, unlike in a policy's own selector, `all()` keeps meaning everything (RULE-10).
    return lambda owner: selector.matches(owner.account_labels)


def _unless(selector: Selector) -> Keep:
    return lambda owner: not selector.matches(owner.labels)


def _port_range(text: str) -> tuple[int, int] | None:
    low, _, high = text.partition(":")
    if not low.isdigit() or (high and not high.isdigit()):
        return None
    return int(low), int(high or low)
