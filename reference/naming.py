"""Names people write for the ends of a packet, and addresses back to names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import ip_address

from reference.endpoints import Family, Host
from reference.errors import InvalidInputError
from reference.packet import PORTED, Packet, protocol_name, protocol_number
from reference.resources import EndpointSlice, Service
from reference.state import State

ICMP, ICMPV6 = 1, 58
_ECHO_REQUEST = {ICMP: 8, ICMPV6: 128}
_LISTED = 8  # names an error message shows at most


def addresses_of(state: State, name: str) -> tuple[str, ...]:
    """The addresses of what a name stands for, IPv4 first.

    A name is `namespace/pod`, a pod of namespace default, a node or host (also `node/<name>`, `host/<name>`), or an
    IP address.

    Raises:
        InvalidInputError: nothing, or more than one thing, has that name.
    """
    address = _as_address(name)
    if address is not None:
        return (address,)
    namespace, slash, rest = name.partition("/")
    if slash:
        found = [_pod_addresses(state, namespace, rest)]
        if found == [()] and namespace in {"node", "host"}:
            found = [_host_addresses(state, rest)]
    else:
        found = [_pod_addresses(state, "default", name), _host_addresses(state, name)]
    matches = [addresses for addresses in found if addresses]
    if len(matches) > 1:
        raise InvalidInputError(f"{name!r} is both a pod and a host; write default/{name}, or node/{name}")
    if not matches:
        raise InvalidInputError(_unknown(state, name))
    return matches[0]


def name_of(state: State, address: str) -> str:
    """What an address is: "shop/web", "node/node-1", "host/internet", or the address itself."""
    canonical = _as_address(address) or address
    keys = state.addresses.get(canonical, ())
    if keys:
        return "/".join(keys[0])
    for _, host in sorted(state.hosts.items()):
        if canonical in host.addresses:
            return _host_name(host)
    return address


def parse_port(text: str) -> tuple[int, str]:
    """A port and a protocol's name from "80", "80/tcp", "53/UDP" or "icmp"; the port of ICMP is 0.

    Raises:
        InvalidInputError: it is none of these.
    """
    head, slash, tail = str(text).strip().partition("/")
    if not slash and not head.isdigit():
        head, tail = "0", head
    number = protocol_number(tail if slash or tail else "TCP")
    port = int(head) if head.isdigit() else -1
    if port == -1 or (number in PORTED) != (0 < port <= 65535) or (port and number not in PORTED):
        raise InvalidInputError(f"port {text!r} is not understood; write 80, 80/TCP, 53/UDP, 132/SCTP or ICMP")
    return port, protocol_name(number)


def packet_between(
    state: State,
    source: str,
    destination: str,
    protocol: str | int = "TCP",
    port: int = 80,
    family: Family | None = None,
    *,
    source_port: int = 40000,
    icmp_type: int | None = None,
    icmp_code: int | None = None,
) -> Packet:
    """The first packet of a flow between two names: IPv4 if both ends have it, else IPv6.

    ICMP means the family's own kind, an echo request unless a type is given.

    Raises:
        InvalidInputError: a name is unknown, the ends have no address family in common, or the port is impossible.
    """
    number = protocol_number(protocol)
    wanted: tuple[Family, ...] = (family,) if family is not None else (6,) if number == ICMPV6 else (4, 6)
    version, ends = _common(state, source, destination, wanted)
    if number in _ECHO_REQUEST:
        number = ICMP if version == 4 else ICMPV6
        return Packet(
            source=ends[0],
            destination=ends[1],
            protocol=number,
            source_port=0,
            icmp_type=_ECHO_REQUEST[number] if icmp_type is None else icmp_type,
            icmp_code=icmp_code or 0,
        )
    if number not in PORTED:
        return Packet(source=ends[0], destination=ends[1], protocol=number, source_port=0)
    if not 1 <= port <= 65535:
        raise InvalidInputError(f"port {port} does not exist; write one of 1-65535")
    return Packet(source=ends[0], destination=ends[1], protocol=number, source_port=source_port, destination_port=port)


def _common(state: State, source: str, destination: str, wanted: Iterable[Family]) -> tuple[Family, tuple[str, str]]:
    sources, destinations = addresses_of(state, source), addresses_of(state, destination)
    for family in wanted:
        left, right = _first_of(sources, family), _first_of(destinations, family)
        if left and right:
            return family, (left, right)
    families = " or ".join(f"IPv{family}" for family in wanted)
    raise InvalidInputError(
        f"no {families} between {source} ({', '.join(sources)}) and {destination} ({', '.join(destinations)}); "
        "both ends need an address of the same family"
    )


def _first_of(addresses: tuple[str, ...], family: Family) -> str | None:
    return next((address for address in addresses if (":" in address) == (family == 6)), None)


def _as_address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _pod_addresses(state: State, namespace: str, pod: str) -> tuple[str, ...]:
    endpoint = state.endpoints.get((namespace, pod))
    return () if endpoint is None else endpoint.addresses


def _host_addresses(state: State, name: str) -> tuple[str, ...]:
    host = state.hosts.get(name)
    return () if host is None else host.addresses


def _host_name(host: Host) -> str:
    return f"{'node' if host.is_node else 'host'}/{host.name}"


def _service(state: State, name: str) -> str:
    """What to do about a name that is a Service's and nobody else's; "" when it is none."""
    namespace, slash, bare = name.partition("/")
    found = [one for one in state.all(Service) if one.name == (bare if slash else name)]
    if slash:
        found = [one for one in found if one.namespace == namespace]
    return _about_service(state, found[0], f"{name!r} is a Service") if found else ""


def service_address(state: State, address: str) -> str:
    """What to know about an address that is a Service's: where it is translated, policy never meets it (CT-9).

    "" for any other.
    """
    for one in state.all(Service):
        if address in map(_as_address, (one.spec.cluster_ip, *one.spec.cluster_ips)):
            return _about_service(state, one, f"{address} is the address of Service {one.namespace}/{one.name}")
    return ""


def _about_service(state: State, service: Service, said: str) -> str:
    own = (service.namespace, service.name)
    slices = [one for one in state.all(EndpointSlice) if (one.namespace, one.service) == own]
    backends = sorted({text for one in slices for backend in one.endpoints for text in backend.addresses})
    listed = f"name one of its backends: {', '.join(backends[:_LISTED])}" if backends else "and it has no backends"
    return f"{said}; there is no service address translation yet, policy is about backends; {listed}"


def _unknown(state: State, name: str) -> str:
    service = _service(state, name)
    if service:
        return service
    known = sorted("/".join(key) for key in state.endpoints) + sorted(state.hosts)
    near = [text for text in known if text.rpartition("/")[2] == name.rpartition("/")[2]]
    near = near or get_close_matches(name, known, n=3)
    if near:
        return f"no pod, node, host or address {name!r}; did you mean {' or '.join(near)}?"
    if not known:
        return f"no pod, node, host or address {name!r}: the state has none"
    listed = ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    return f"no pod, node, host or address {name!r}; there is {listed}"
