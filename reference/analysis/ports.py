"""The ports that the policies of a state name: where a question about a whole state is worth asking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reference.naming import parse_port
from reference.packet import PORTED, protocol_name, protocol_number
from reference.policy.cluster_policies import CLUSTER_POLICIES, cluster_rules
from reference.resources import AnyResource, EndpointSlice, KubernetesNetworkPolicy
from reference.resources.calico import NetworkPolicySpec, Rule
from reference.resources.kubernetes import PolicyPort
from reference.resources.staged import STAGED_KINDS, StagedPolicy, as_enforced
from reference.state import State

USUAL = "80/TCP"  # stands for all that no policy names
ICMP = "ICMP"  # each family's own
_ICMP = {1, 58}

Named = tuple[str | None, int, int, str]  # protocol (None: any), first and last number, or a name and no number


def named_ports(state: State) -> tuple[str, ...]:
    """80/TCP, and every port that a policy names, staged ones too, in the terms of a matrix: "53/UDP", "ICMP".

    Of a range its first and last; of a port's name what pods declare under it; of a rule that names a protocol without
    ports, ICMP or port 80 of it; of services the ports behind them.
    """
    found = {text for named in _all_named(state) for text in _labels(state, named)}
    return (USUAL, *sorted(found - {USUAL}, key=_by_number))


def spelled(port: str) -> str:
    """A port of the user's in the one way it is spelled here: "80/tcp" is "80/TCP", "icmpv6" is "ICMP".

    Raises:
        InvalidInputError: it is not understood.
    """
    number, protocol = parse_port(port)
    name = protocol_number(protocol)
    return f"{number}/{protocol}" if name in PORTED else spelled_label(ICMP if name in _ICMP else protocol)


def spelled_label(label: str) -> str:
    """A matrix's name of a port in that way, which reads back: "0/47" for the protocol of that number."""
    return label if "/" in label or label == ICMP else f"0/{label}"


def _by_number(label: str) -> tuple[str, int]:
    number, slash, protocol = label.partition("/")
    return (protocol, int(number)) if slash else (label, 0)


def _all_named(state: State) -> Iterator[Named]:
    for policy in _policies(state):
        if isinstance(policy, CLUSTER_POLICIES):
            cluster_wide = (*cluster_rules(policy, "ingress"), *cluster_rules(policy, "egress"))
            yield from (named for one in cluster_wide for named in one.ports)
        elif isinstance(policy, KubernetesNetworkPolicy):
            yield from _of_kubernetes(policy)
        else:
            spec: NetworkPolicySpec = policy.spec  # type: ignore[union-attr, assignment]  # Profiles have rules alike
            yield from (named for rule in (*spec.ingress, *spec.egress) for named in _of_rule(state, rule))


def _policies(state: State) -> Iterator[AnyResource]:
    kinds = ("NetworkPolicy", "GlobalNetworkPolicy", "KubernetesNetworkPolicy", "Profile")
    for kind in (*kinds, *(kind.__name__ for kind in CLUSTER_POLICIES)):
        yield from state.resources.get(kind, {}).values()
    for staged_kind in STAGED_KINDS:
        staged: Iterable[StagedPolicy] = state.all(staged_kind)
        yield from map(as_enforced, staged)


def _of_kubernetes(policy: KubernetesNetworkPolicy) -> Iterator[Named]:
    for ingress in policy.spec.ingress or ():
        yield from map(_of_policy_port, ingress.ports or ())
    for egress in policy.spec.egress or ():
        yield from map(_of_policy_port, egress.ports or ())


def _of_policy_port(port: PolicyPort) -> Named:
    if isinstance(port.port, str):
        return port.protocol, 0, 0, port.port
    first = port.port or 0
    return port.protocol, first, port.end_port or first, ""


def _of_rule(state: State, rule: Rule) -> Iterator[Named]:
    """Of `notProtocol` too: that protocol is where the rule makes a difference."""
    protocols = [str(name) for name in (rule.protocol, rule.not_protocol) if name is not None]
    entries = [*rule.destination.ports, *rule.destination.not_ports]
    wanted: list[str | None] = [*protocols] or [None]
    for protocol in wanted:
        yield from (_of_entry(protocol, str(entry)) for entry in entries)
        if protocol is not None and not entries:
            yield protocol, 0, 0, ""
    if rule.destination.services is not None or rule.source.services is not None:
        for backing in state.all(EndpointSlice):
            yield from ((port.protocol, port.port, port.port, "") for port in backing.ports if port.port is not None)


def _of_entry(protocol: str | None, text: str) -> Named:
    first, colon, last = text.partition(":")
    if not first.isdecimal():
        return protocol, 0, 0, text
    return protocol, int(first), int(last if colon else first), ""


def _labels(state: State, named: Named) -> Iterator[str]:
    protocol, first, last, name = named
    number = None if protocol is None else protocol_number(protocol)
    if name:
        for endpoint in state.endpoints.values():
            for port in endpoint.ports:
                if port.name == name and number in (None, port.protocol) and port.protocol in PORTED:
                    yield f"{port.port}/{protocol_name(port.protocol)}"
    elif number in _ICMP:
        yield ICMP
    elif number is not None and number not in PORTED:
        yield f"0/{protocol_name(number)}"
    else:
        text = "TCP" if number is None else protocol_name(number)
        yield from (f"{port}/{text}" for port in ({first, last} if first else {80}))
