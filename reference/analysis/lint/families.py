"""Address families, and fields that mean more or less than they seem to: MUS401 … MUS407."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network

from reference.analysis.lint.subject import WAYS, Finding, PolicyFacts, RuleFacts, Subject
from reference.endpoints import Family
from reference.packet import protocol_number
from reference.resources import GlobalNetworkPolicy, Key
from reference.resources.calico import EntityRule, Rule
from reference.resources.faults import FieldPath
from reference.resources.kubernetes import EgressRule, IngressRule, IPBlock

_ECHOES = {(58, 8): 128, (58, 0): 129, (1, 128): 8, (1, 129): 0}  # what was meant


def one_family(subject: Subject) -> Iterator[Finding]:
    """MUS401 to MUS403: rules whose nets make them speak of one family only (RULE-13)."""
    if not subject.is_dual_stack:
        return
    for policy in subject.policies:
        for rule in policy.all_rules:
            if isinstance(rule.rule, Rule) and rule.rule.ip_version is None:
                yield from _calico_rule(subject, rule, rule.rule)
            elif isinstance(rule.rule, IngressRule | EgressRule):
                yield from _kubernetes_rule(subject, rule, rule.rule)


def _calico_rule(subject: Subject, rule: RuleFacts, one: Rule) -> Iterator[Finding]:
    key = rule.policy.key
    family = _only_family(one)
    if family is None or _has_twin(rule, family):
        return
    other = _other(family)
    for side, entity in _entities(one):
        path = (*rule.path, side)
        whole = next(
            (place for place, net in enumerate(entity.nets) if ip_network(net, strict=False).prefixlen == 0), None
        )
        if whole is not None:
            yield _everything(subject, rule, (*path, "nets", whole), entity.nets[whole], family)
            return
        if entity.not_nets and not any(each.nets for _, each in _entities(one)):
            yield subject.finding(
                "MUS402", key, (*path, "notNets"),
                f"the rule does not apply to IPv{other} at all, where notNets has nothing to exclude; say ipVersion: "
                f"{family} if that is meant, else add a rule with ipVersion: {other}",
            )  # fmt: skip
            return
    if one.action == "Deny":
        where = next(side for side, entity in _entities(one) if entity.nets)
        yield subject.finding(
            "MUS401", key, (*rule.path, where, "nets"),
            f"IPv{other} is not denied by it; add a rule with IPv{other} nets, or say ipVersion: {family} if that is "
            "meant",
        )  # fmt: skip


def _only_family(one: Rule) -> Family | None:
    """The family of the rule's nets; validation sees to it that they have one only."""
    texts = [net for _, entity in _entities(one) for net in (*entity.nets, *entity.not_nets)]
    if not texts or (one.protocol is not None and protocol_number(one.protocol) in (1, 58)):
        return None  # ICMP is of one family anyway
    return 6 if ":" in texts[0] else 4


def _has_twin(rule: RuleFacts, family: Family) -> bool:
    """Report whether a rule of the same policy does the same for the other family."""
    assert isinstance(rule.rule, Rule)
    mine = rule.rule
    for other in rule.policy.rules(rule.way):
        theirs = other.rule
        if isinstance(theirs, Rule) and theirs.action == mine.action and theirs.protocol == mine.protocol:
            families = {theirs.ip_version or _only_family(theirs)}
            if families in ({None}, {_other(family)}) and theirs is not mine and _speaks_of(other, _other(family)):
                return True
    return False


def _speaks_of(rule: RuleFacts, family: Family) -> bool:
    return any(box.family == family for box in rule.boxes)


def _kubernetes_rule(subject: Subject, rule: RuleFacts, one: IngressRule | EgressRule) -> Iterator[Finding]:
    for path, block in _blocks(rule, one):
        network = ip_network(block.cidr, strict=False)
        family: Family = 4 if network.version == 4 else 6
        if network.prefixlen == 0 and not _allows_all_of(rule.policy, rule, _other(family)):
            yield _everything(subject, rule, (*path, "cidr"), block.cidr, family)


def _allows_all_of(policy: PolicyFacts, rule: RuleFacts, family: Family) -> bool:
    """Report whether some rule of the policy names everything of the family too."""
    for other in policy.rules(rule.way):
        if isinstance(other.rule, IngressRule | EgressRule):
            for _, block in _blocks(other, other.rule):
                network = ip_network(block.cidr, strict=False)
                if network.version == family and network.prefixlen == 0:
                    return True
    return False


def _blocks(rule: RuleFacts, one: IngressRule | EgressRule) -> Iterator[tuple[FieldPath, IPBlock]]:
    field, peers = ("from", one.from_) if isinstance(one, IngressRule) else ("to", one.to)
    for index, peer in enumerate(peers or ()):
        if peer.ip_block is not None:
            yield (*rule.path, field, index, "ipBlock"), peer.ip_block


def _everything(subject: Subject, rule: RuleFacts, path: FieldPath, net: str, family: Family) -> Finding:
    return subject.finding(
        "MUS403", rule.policy.key, path,
        f"{net} is every IPv{family} address and no IPv{_other(family)} address; add one of the other family, or leave "
        "the nets out to match both",
    )  # fmt: skip


def wrong_icmp_types(subject: Subject) -> Iterator[Finding]:
    """MUS404: the echo types of the other ICMP (RULE-4)."""
    for policy in subject.policies:
        for rule in policy.all_rules:
            if not isinstance(rule.rule, Rule) or rule.rule.protocol is None:
                continue
            protocol = protocol_number(rule.rule.protocol)
            for field, fields in (("icmp", rule.rule.icmp), ("notICMP", rule.rule.not_icmp)):
                meant = None if fields is None or fields.type is None else _ECHOES.get((protocol, fields.type))
                if fields is not None and meant is not None:
                    yield subject.finding(
                        "MUS404", policy.key, (*rule.path, field, "type"),
                        f"type {fields.type} is an echo of the other family's ICMP; with {rule.rule.protocol} it is "
                        f"{meant}",
                    )  # fmt: skip


def lone_not_selectors(subject: Subject) -> Iterator[Finding]:
    """MUS405: a notSelector with nothing positive beside it, in a policy without a namespace (RULE-7)."""
    for policy in subject.policies:
        for rule in policy.all_rules if isinstance(policy.resource, GlobalNetworkPolicy) else ():
            for side, entity in _entities(rule.rule) if isinstance(rule.rule, Rule) and rule.decides else ():
                beside = (entity.selector, entity.namespace_selector, entity.service_accounts, entity.nets)
                if entity.not_selector and not any(beside):
                    yield subject.finding(
                        "MUS405", policy.key, (*rule.path, side, "notSelector"),
                        f"it also matches every address that belongs to no endpoint; put selector: all() beside it to "
                        f"mean the other endpoints, or nets to say which addresses this {rule.action} is for",
                    )  # fmt: skip


def http_matches(subject: Subject) -> Iterator[Finding]:
    """MUS406: http in a rule (RULE-15)."""
    for policy in subject.policies:
        for rule in policy.all_rules:
            if isinstance(rule.rule, Rule) and rule.rule.http is not None:
                yield subject.finding(
                    "MUS406", policy.key, (*rule.path, "http"),
                    "the kernel allows the whole connection, whatever is asked over it; rely on it only where an L7 "
                    "proxy enforces it",
                )  # fmt: skip


def host_bits(subject: Subject) -> Iterator[Finding]:
    """MUS407: CIDRs written with host bits set (K8S-9)."""
    for policy in subject.policies:
        for way in WAYS:
            for rule in policy.rules(way):
                for path, net in _written_nets(subject, rule):
                    if _has_host_bits(net):
                        yield _masked(subject, rule.policy.key, path, net)
    for resource in subject.set_resources:
        for index, kept in enumerate(resource.spec.nets):
            net = subject.text(resource.key, ("spec", "nets", index)) or kept
            if _has_host_bits(net):
                yield _masked(subject, resource.key, ("spec", "nets", index), net)


def _masked(subject: Subject, key: Key, path: FieldPath, net: str) -> Finding:
    network, address = ip_network(net, strict=False), ip_interface(net).ip
    return subject.finding(
        "MUS407", key, path,
        f"{net} means all of {network}; write that, or {address}/{network.max_prefixlen} for the one address",
    )  # fmt: skip


def _written_nets(subject: Subject, rule: RuleFacts) -> Iterator[tuple[FieldPath, str]]:
    """Nets of ipBlocks as the manifest has them, before they were masked; Calico's rules refuse host bits."""
    if isinstance(rule.rule, IngressRule | EgressRule):
        for path, block in _blocks(rule, rule.rule):
            paths = [((*path, "cidr"), block.cidr)]
            paths += [((*path, "except", index), net) for index, net in enumerate(block.except_)]
            yield from ((where, subject.text(rule.policy.key, where) or net) for where, net in paths)


def _has_host_bits(net: str) -> bool:
    return "/" in net and ip_interface(net).ip != ip_network(net, strict=False).network_address


def _entities(rule: Rule) -> Iterator[tuple[str, EntityRule]]:
    yield "source", rule.source
    yield "destination", rule.destination


def _other(family: Family) -> Family:
    return 6 if family == 4 else 4
