"""Calico rules to program rules (2b.1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from reference.endpoints import Family
from reference.packet import protocol_number
from reference.program.nets import net, widest
from reference.program.rewriting import entity_selectors
from reference.program.sets import SetSpec, address_set, port_set, service_set
from reference.program.types import Match, PortRange, ProgramRule, RuleAction
from reference.resources.calico import EntityRule, ICMPFields, Rule, ServiceMatch
from reference.selectors import ALL

SideName = Literal["source", "destination"]
_ACTIONS: dict[str, RuleAction] = {"Allow": "allow", "Deny": "deny", "Pass": "pass", "Log": "log"}
_FAMILY_OF_PROTOCOL: dict[int | None, Family] = {1: 4, 58: 6}
_FAMILIES: tuple[Family, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class NumberedRule:
    """A rule and the index of the user's rule it came from (K8S-10)."""

    index: int
    rule: Rule


def compile_rules(rules: Iterable[NumberedRule], namespace: str, sets: dict[str, SetSpec]) -> tuple[ProgramRule, ...]:
    """The program of a list of rules; the sets they refer to are added to `sets`, by base id.

    `namespace` is the policy's, empty for global policies and profiles. `http` is left out: it is not seen at this
    layer (RULE-15).
    """
    return tuple(
        ProgramRule(action=_ACTIONS[numbered.rule.action], index=numbered.index, match=_shared(match))
        for numbered in rules
        for match in _matches(numbered.rule, namespace, sets)
    )


@lru_cache(maxsize=4096)
def _shared(match: Match) -> Match:
    """One object for equal matches: dataplanes write many rules by what they match, once for each object."""
    return match


def _matches(rule: Rule, namespace: str, sets: dict[str, SetSpec]) -> Iterable[Match]:
    """No match at all, one for both families, or one for each family the rule can apply to."""
    protocol = None if rule.protocol is None else protocol_number(rule.protocol)
    fields: dict[str, Any] = {
        "protocol": protocol,
        "not_protocol": None if rule.not_protocol is None else protocol_number(rule.not_protocol),
        "icmp": _icmp(rule.icmp),
        "not_icmp": _icmp(rule.not_icmp),
    }
    for name, entity in (("source", rule.source), ("destination", rule.destination)):
        side = _Side(entity, namespace, protocol, sets)
        fields.update(side.selectors(name), **side.ports(name), **side.services(name))

    per_family = {family: nets for family in _families(rule, protocol) if (nets := _nets(rule, family)) is not None}
    if len(per_family) == len(_FAMILIES) and not any(per_family.values()):
        yield Match(**fields)
        return
    for family, nets in per_family.items():
        yield Match(family=family, **fields, **nets)


def _families(rule: Rule, protocol: int | None) -> tuple[Family, ...]:
    """The families a rule may speak of before its nets are looked at (RULE-4)."""
    allowed = {family for family in (rule.ip_version, _FAMILY_OF_PROTOCOL.get(protocol)) if family is not None}
    return tuple(family for family in _FAMILIES if allowed <= {family})


def _nets(rule: Rule, family: Family) -> dict[str, Any] | None:
    """The net lists cut down to a family, or None when that leaves the rule without it (RULE-13)."""
    lists = {
        "source_nets": rule.source.nets,
        "not_source_nets": rule.source.not_nets,
        "destination_nets": rule.destination.nets,
        "not_destination_nets": rule.destination.not_nets,
    }
    result = {name: widest(nets, family) for name, nets in lists.items() if nets}
    if not all(result.values()):
        return None
    excludes_all = any(name.startswith("not_") and net(nets[0]).prefix == 0 for name, nets in result.items())
    return None if excludes_all else result


def _icmp(fields: ICMPFields | None) -> tuple[int, int | None] | None:
    return None if fields is None or fields.type is None else (fields.type, fields.code)


class _Side:
    """One entity of one rule, on its way to fields of a Match."""

    def __init__(self, entity: EntityRule, namespace: str, protocol: int | None, sets: dict[str, SetSpec]) -> None:
        self._entity = entity
        self._namespace = namespace
        self._protocol = protocol
        self._sets = sets
        self._positive, self._negative = entity_selectors(entity, namespace)
        self._ranges, self._names = split_ports(entity.ports)

    def selectors(self, side: SideName | str) -> dict[str, Any]:
        """The address sets. With nothing but named ports, the port sets already say who (RULE-6)."""
        fields: dict[str, Any] = {}
        if self._positive is not None and not (self._names and not self._ranges):
            fields[f"{side}_sets"] = (self._refer(address_set(self._positive)),)
        if self._negative is not None:
            fields[f"not_{side}_sets"] = (self._refer(address_set(self._negative)),)
        return fields

    def ports(self, side: SideName | str) -> dict[str, Any]:
        """Numeric ports, and sets for named ones (RULE-5, RULE-6)."""
        not_ranges, not_names = split_ports(self._entity.not_ports)
        fields: dict[str, Any] = {
            f"{side}_ports": self._ranges,
            f"{side}_port_sets": self._named(self._names),
            f"not_{side}_ports": not_ranges,
            f"not_{side}_port_sets": self._named(not_names),
        }
        return {name: value for name, value in fields.items() if value}

    def services(self, side: SideName | str) -> dict[str, Any]:
        """The back ends of a service: with their ports as a destination, their addresses as a source (RULE-12)."""
        service: ServiceMatch | None = self._entity.services
        if service is None:
            return {}
        kind: Literal["nets", "ports"] = "ports" if side == "destination" else "nets"
        reference = self._refer(service_set(service.namespace or self._namespace, service.name, kind))
        return {f"{side}_port_sets" if kind == "ports" else f"{side}_sets": (reference,)}

    def _named(self, names: tuple[str, ...]) -> tuple[str, ...]:
        scope = ALL if self._positive is None else self._positive
        return tuple(self._refer(port_set(scope, name, self._protocol)) for name in names)

    def _refer(self, spec: SetSpec) -> str:
        self._sets[spec.id] = spec
        return spec.id


def split_ports(ports: tuple[int | str, ...]) -> tuple[tuple[PortRange, ...], tuple[str, ...]]:
    """The numeric ports as merged ranges in ascending order, and the names of the others (RULE-5)."""
    ranges: list[tuple[int, int]] = []
    names: list[str] = []
    for port in ports:
        low, _, high = str(port).partition(":")
        if low.isdecimal():
            ranges.append((int(low), int(high or low)))
        else:
            names.append(low)
    return _merged(ranges), tuple(dict.fromkeys(names))


def _merged(ranges: list[tuple[int, int]]) -> tuple[PortRange, ...]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(PortRange(low=low, high=high) for low, high in merged)
