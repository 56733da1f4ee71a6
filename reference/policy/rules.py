"""Calico rules: does a rule match a packet, and if not, the one field that made it miss (2b).

Fields are tried in a fixed order: the packet's own (ipVersion, protocol, ICMP, ports by number), then what asks whose
the source is, then the destination.
A miss is named by a plain string, so that a verdict without text costs nothing; `why` makes the text when asked.
"""

from __future__ import annotations

from typing import Protocol

from reference.packet import protocol_name, protocol_number
from reference.policy.entities import Asks, entity
from reference.policy.peers import Party
from reference.policy.question import End, Question
from reference.policy.services import with_own_namespace
from reference.policy.wording import entity_reason
from reference.resources.calico import Action, ICMPFields, Rule

_IMPLIED_FAMILY = {1: 4, 58: 6}  # RULE-4: ICMP is IPv4's, ICMPv6 IPv6's


class PolicyRule(Protocol):
    """What the walk needs of a rule, whatever kind of policy it comes from."""

    index: int  # of the user's rule, from 0
    action: Action

    def miss(self, question: Question) -> str | None:
        """The name of the first field that does not match, or None when the rule matches."""

    def why(self, field: str, question: Question) -> str:
        """The reason of a miss for people: "destination port 443 is not in 80, 8080-8090"."""

    # A miss is one of these, which is what lets many addresses be answered as one.

    def miss_by_packet(self, question: Question) -> str | None:
        """The first field that misses whoever the two ends are."""

    def miss_by_end(self, end: End, party: Party, question: Question) -> str | None:
        """The first field that misses because of who is at that end; who is at the other plays no part."""

    def asks(self, end: End) -> Asks:
        """What of that end decides."""


class CalicoRule:
    """A rule of a Calico policy or profile, prepared. `http` is not seen at this layer (RULE-15)."""

    __slots__ = ("_destination", "_family", "_not_protocol", "_protocol", "_source", "action", "index", "rule")

    def __init__(self, rule: Rule, index: int, namespace: str) -> None:
        self.index = index
        self.action = rule.action
        self.rule = rule = with_own_namespace(rule, namespace)
        self._protocol = None if rule.protocol is None else protocol_number(rule.protocol)
        self._not_protocol = None if rule.not_protocol is None else protocol_number(rule.not_protocol)
        self._family = rule.ip_version
        self._source = entity(rule.source, namespace, is_destination=False)
        self._destination = entity(rule.destination, namespace, is_destination=True)

    def miss(self, question: Question) -> str | None:
        """The name of the first field that does not match, or None (RULE-1)."""
        return (
            self.miss_by_packet(question)
            or self.miss_by_end("source", question.source, question)
            or self.miss_by_end("destination", question.destination, question)
        )

    def miss_by_end(self, end: End, party: Party, question: Question) -> str | None:
        """The first field that misses because of who is at that end."""
        if end == "source":
            field = self._source.miss(party, question.source_port, question.protocol)
        else:
            field = self._destination.miss(party, question.destination_port, question.protocol)
        return None if field is None else f"{end}.{field}"

    def asks(self, end: End) -> Asks:
        """What of that end decides."""
        return self._source.asks if end == "source" else self._destination.asks

    def miss_by_packet(self, question: Question) -> str | None:
        """The first field that misses whoever the two ends are."""
        return self._miss_by_protocol(question) or self._miss_by_port(question)

    def _miss_by_port(self, question: Question) -> str | None:
        field = self._source.miss_by_port(question.source_port)
        if field is not None:
            return f"source.{field}"
        field = self._destination.miss_by_port(question.destination_port)
        return None if field is None else f"destination.{field}"

    def _miss_by_protocol(self, question: Question) -> str | None:
        protocol, family = self._protocol, self._family
        if family is not None and family != question.family:
            return "ipVersion"
        if protocol is not None:
            if protocol != question.protocol:
                return "protocol"
            if _IMPLIED_FAMILY.get(protocol, question.family) != question.family:
                return "protocol family"
        if self._not_protocol == question.protocol:
            return "notProtocol"
        if self.rule.icmp is not None and not _icmp_matches(self.rule.icmp, question):
            return "icmp"
        if self.rule.not_icmp is not None and _icmp_matches(self.rule.not_icmp, question):
            return "notICMP"
        return None

    def why(self, field: str, question: Question) -> str:
        """The reason of a miss for people."""
        side, _, name = field.partition(".")
        if side == "source":
            return entity_reason("source", name, self.rule.source, question.source, question.source_port)
        if side == "destination":
            return entity_reason(
                "destination", name, self.rule.destination, question.destination, question.destination_port
            )
        return self._why_of_packet(field, question)

    def _why_of_packet(self, field: str, question: Question) -> str:
        rule, protocol = self.rule, protocol_name(question.protocol)
        match field:
            case "ipVersion":
                return f"the packet is IPv{question.family}, the rule is for IPv{rule.ip_version}"
            case "protocol":
                return f"protocol {protocol} is not {rule.protocol}"
            case "protocol family":
                return f"protocol {rule.protocol} implies another address family than IPv{question.family}"
            case "notProtocol":
                return f"protocol {protocol} is excluded by notProtocol"
        fields = rule.icmp if field == "icmp" else rule.not_icmp
        seen = f"{protocol} type {question.icmp_type} code {question.icmp_code}"
        return f"{seen} is {'not ' if field == 'icmp' else ''}{_icmp_text(fields)}"


def _icmp_matches(fields: ICMPFields, question: Question) -> bool:
    """Type alone, or type and code (RULE-3)."""
    if question.protocol not in _IMPLIED_FAMILY:
        return False
    if fields.type is not None and fields.type != question.icmp_type:
        return False
    return fields.code is None or fields.code == question.icmp_code


def _icmp_text(fields: ICMPFields | None) -> str:
    if fields is None or fields.type is None:
        return "any ICMP"
    return f"type {fields.type}" + (f" code {fields.code}" if fields.code is not None else "")
