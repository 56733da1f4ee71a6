"""The policies that are measured. The compiler makes the programs, as in a cluster.

Three pods take part: `client` and `server` on node-1, `distant` on node-2. Policy is on the server; what is between two
nodes goes from `distant` to `server`. The last rule lets the measured packets through, if their source is in the
clients' set, which has `members`; the rule before it does so for UDP. The shapes of packets allow everywhere:

- `ports`: all rules are the server's; each has a destination port of its own;
- `selectors`: the same; each has a selector of its own, and so a set of three nets;
- `crossed`: the same; by turns each asks for the clients' set and a port of its own, or for a set of its own and the
  measured ports: half of all rules match the packets by source, the other half by port;
- `spread`: a pod and its own policy for every ten rules, each with a destination port; the server is the last pod.

That of changes:

- `policies`: as many policies as `rules`, over a hundred pods, of two rules each: a port and one of a hundred selectors
  is allowed, a port is denied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal

import msgspec
from immutables import Map

from reference import commands
from reference.loading import offline_state
from reference.program.compile import Compiler
from reference.program.types import NodeProgram
from reference.resources.manifests import load
from reference.state import State

Shape = Literal["none", "ports", "selectors", "crossed", "spread", "policies"]
Manifest = dict[str, Any]

NAMESPACE = "bench"
CLIENTS = {"role": "client"}
OTHER = "other-"
NODES = ("node-1", "node-2")
PORT = 5001
FRESH_PORTS = range(20_000, 60_000)  # each connected to once, as far as they go
RULES_A_POD = 10
RULES_A_POLICY = 1_000  # the API takes 1,024
NETS_A_SET = 3
NET_SET_SIZE = 10_000  # nets a NetworkSet holds at most here
GROUPS = 100  # of pods, and of selectors, in shape `policies`
_FIRST_PORT = 10_000
_NOW = 0.0


class Policies(msgspec.Struct, frozen=True):
    """What guards the server: rules of a shape, and the size of the set in the one that matches.

    Shape `none` has no policy at all, and as many other pods as `rules` of shape `spread` would have.
    """

    shape: Shape = "none"
    rules: int = 0
    members: int = 10

    @property
    def others(self) -> int:
        """Pods on node-1 besides those that take part."""
        if self.shape == "policies":
            return GROUPS
        return max(0, self.rules // RULES_A_POD - 1) if self.shape in ("none", "spread") else 0

    @property
    def floor(self) -> Policies:
        """The same pods without policy."""
        return Policies("none", self.rules if self.others else 0)

    def __str__(self) -> str:
        if self.shape == "none":
            return f"no policy, {self.others:,} other pods" if self.others else "no policy"
        return f"{self.rules:,} rules ({self.shape}), set of {self.members:,}"


def state_of(policies: Policies) -> State:
    """The whole cluster."""
    return changed(offline_state(), *manifests(policies))


@lru_cache(maxsize=1)  # the dataplanes are given one shape after another
def compiled(policies: Policies) -> tuple[State, Map[str, NodeProgram]]:
    """The cluster and its nodes' programs."""
    state = state_of(policies)
    return state, Compiler().compile(state)


def manifests(policies: Policies) -> Iterator[Manifest]:
    """Nodes, pods, sets of nets and policies."""
    for number, node in enumerate(NODES, 1):
        yield _node(node, number)
    yield pod("client", NODES[0], CLIENTS)
    yield pod("distant", NODES[1], CLIENTS)
    yield pod("server", NODES[0], {"role": "server"})
    for number in range(policies.others):
        yield pod(f"{OTHER}{number}", NODES[0], {"other": f"o{number}"})
    if policies.shape != "none":
        yield from network_sets("clients", CLIENTS, nets(0, policies.members - 2))
        yield from _GUARDED[policies.shape](policies)


def _by_ports(policies: Policies) -> Iterator[Manifest]:
    yield from guards([*port_rules(policies.rules - 2), *last_rules()])


def _by_selectors(policies: Policies) -> Iterator[Manifest]:
    yield from _apps(policies.rules - 2)
    yield from guards([*selector_rules(policies.rules - 2), *last_rules()])


def _crossed(policies: Policies) -> Iterator[Manifest]:
    count = policies.rules - 2
    yield from _apps(count)
    ports, selectors = port_rules(count), selector_rules(count)
    for rule in ports:
        rule["source"] = {"selector": "role == 'client'"}
    for rule in selectors:
        rule["destination"] = {"ports": [PORT, _ports(FRESH_PORTS)]}
    yield from guards([(ports, selectors)[number % 2][number] for number in range(count)] + last_rules())


def _spread(policies: Policies) -> Iterator[Manifest]:
    for number in range(policies.others):
        rules = [*port_rules(RULES_A_POD - 2, number), *last_rules()]
        yield policy(f"guard-{number}", f"other == 'o{number}'", rules)
    yield from guards([*port_rules(RULES_A_POD - 2), *last_rules()])


def _many(policies: Policies) -> Iterator[Manifest]:
    yield from _apps(GROUPS)
    for number in range(policies.rules - 1):
        yield one_of_many(number)
    yield from guards(last_rules())


_GUARDED = {"ports": _by_ports, "selectors": _by_selectors, "crossed": _crossed, "spread": _spread, "policies": _many}


def one_of_many(number: int, port: int = 0) -> Manifest:
    """A policy of shape `policies`; `port` instead of its own."""
    place = {"destination": {"ports": [port or _FIRST_PORT + number]}}
    rules = [
        _allow({"source": {"selector": f"app == 'a{number % GROUPS}'"}, **place}),
        {"action": "Deny", "protocol": "TCP", "destination": {"ports": [22]}},
    ]
    return policy(f"guard-{number}", f"other == 'o{number % GROUPS}'", rules)


def _apps(count: int) -> Iterator[Manifest]:
    """Nets for so many selectors."""
    for number in range(count):
        yield from network_sets(f"app-{number}", {"app": f"a{number}"}, nets(number, NETS_A_SET, 11))


def changed(state: State, *resources: Manifest) -> State:
    """The cluster after something was applied to it."""
    return commands.apply(state, load(list(resources)).resources, now=_NOW, offline=True).state


def guards(rules: list[Manifest]) -> Iterator[Manifest]:
    """The server's policies, one after another: one holds so many rules and no more."""
    for number, first in enumerate(range(0, len(rules), RULES_A_POLICY)):
        yield policy(f"guard-server-{number:03}", "role == 'server'", rules[first : first + RULES_A_POLICY])


def selector_rules(count: int) -> list[Manifest]:
    """Rules that the measured packets pass by: a set each."""
    return [_allow({"source": {"selector": f"app == 'a{number}'"}}) for number in range(count)]


def port_rules(count: int, first: int = 0) -> list[Manifest]:
    """Rules that the measured packets pass by: a port each."""
    return [_allow({"destination": {"ports": [_FIRST_PORT + first + number]}}) for number in range(count)]


def last_rules() -> list[Manifest]:
    """What lets the measured packets through: UDP, then TCP from the clients."""
    return [
        _allow({"destination": {"ports": [PORT]}}, "UDP"),
        _allow({"source": {"selector": "role == 'client'"}, "destination": {"ports": [PORT, _ports(FRESH_PORTS)]}}),
    ]


def _ports(several: range) -> str:
    return f"{several.start}:{several.stop - 1}"


def _allow(match: Manifest, protocol: str = "TCP") -> Manifest:
    return {"action": "Allow", "protocol": protocol, **match}


def policy(name: str, selector: str, rules: list[Manifest]) -> Manifest:
    """A policy on what pods receive."""
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": selector, "types": ["Ingress"], "ingress": rules},
    }


def pod(name: str, node: str, labels: dict[str, str]) -> Manifest:
    """A pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
    }


def _node(name: str, number: int) -> Manifest:
    addresses = (f"172.30.1.{10 + number}", f"fd00:172:30:1::{10 + number:x}")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]},
    }


def network_sets(name: str, labels: dict[str, str], members: list[str]) -> Iterator[Manifest]:
    """Nets that a selector finds."""
    for number, first in enumerate(range(0, len(members), NET_SET_SIZE)):
        yield {
            "apiVersion": "projectcalico.org/v3",
            "kind": "NetworkSet",
            "metadata": {"name": f"{name}-{number}", "namespace": NAMESPACE, "labels": labels},
            "spec": {"nets": members[first : first + NET_SET_SIZE]},
        }


def nets(number: int, count: int, octet: int = 20) -> list[str]:
    """Nets that overlap with none of another number: nine single addresses, then sixteen addresses at once."""
    start = int(IPv4Address(f"{octet}.0.0.0")) + (number * count << 4)
    blocks: Iterable[int] = range(count)
    return [
        str(IPv4Network((start + (block << 4), 28))) if block % 10 == 9 else f"{IPv4Address(start + (block << 4))}/32"
        for block in blocks
    ]
