"""Why one side of a rule did not fit, in words."""

from __future__ import annotations

from reference.policy.peers import Party
from reference.resources.calico import EntityRule, ServiceMatch


def spelled(entries: tuple[int | str, ...]) -> str:
    """Port entries for people, ranges with a dash: "80, 8080-8090"."""
    return ", ".join(str(entry).replace(":", "-") for entry in entries)


def described(party: Party) -> str:
    """An address with what it is: "10.0.0.7 (shop/web)"."""
    names = [owner.name for owner in party.owners] or ([party.name] if party.host is not None else [])
    return f"{party.address} ({', '.join(names)})" if names else party.address


def entity_reason(side: str, field: str, rule: EntityRule, party: Party, port: int) -> str:
    """Why an address or port fails one field of an entity rule."""
    who = f"{side} {described(party)}"
    if field in {"ports", "notPorts"}:
        entries = spelled(rule.ports if field == "ports" else rule.not_ports)
        return f"{side} port {port} is {'not in' if field == 'ports' else 'excluded by notPorts'} {entries}"
    if field in {"nets", "notNets"}:
        return _net_reason(who, field, rule, party)
    if field == "services" and rule.services is not None:
        return _service_reason(who, side, rule.services, party, port)
    return _owner_reason(who, field, rule, party)


def _net_reason(who: str, field: str, rule: EntityRule, party: Party) -> str:
    nets = rule.nets if field == "nets" else rule.not_nets
    family = f"IPv{party.family}"
    if all((":" in net) != (party.family == 6) for net in nets):
        return f"{field} {', '.join(nets)} has no {family} net, so the rule says nothing of {family}"
    return f"{who} is {'not in' if field == 'nets' else 'excluded by notNets'} {', '.join(nets)}"


def _service_reason(who: str, side: str, service: ServiceMatch, party: Party, port: int) -> str:
    place = (service.namespace, service.name)
    if side == "destination" and place in party.services:
        return f"{who} stands behind service {'/'.join(place)}, but not with port {port}"
    return f"{who} is in no EndpointSlice of service {'/'.join(place)}"


def _owner_reason(who: str, field: str, rule: EntityRule, party: Party) -> str:
    if field != "notSelector" and not party.owners:
        return f"{who} is no endpoint and in no network set, so no selector matches it"
    match field:
        case "namespace":
            return f"{who} is not in the policy's namespace"
        case "namespaceSelector":
            return f"{who} is not in a namespace matching {rule.namespace_selector}"
        case "serviceAccounts":
            return f"{who} does not run as a service account the rule names"
        case "selector":
            return f"{who} does not match {rule.selector}"
        case _:
            return f"{who} is excluded by notSelector {rule.not_selector}"
