"""Host endpoints (HEP-1 to HEP-14, POL-9, POL-10, CT-1), one line a packet, read by oracle and programs alike."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from reference import commands
from reference.analysis import matrix
from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import allowed, evaluate
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.program.types import Encapsulation
from reference.resources import load
from reference.state import State

NODES = {"n1": ["172.30.1.11", "fd00:30:1::11"], "n2": ["172.30.1.12", "fd00:30:1::12"]}
OUTSIDE = {"internet": ["203.0.113.10", "2001:db8:113::10"], "office": ["198.51.100.10", "2001:db8:51::10"]}
PODS = {"a": "n1", "b": "n1", "c": "n2"}


def calico(kind: str, name: str, spec: dict[str, Any], **metadata: object) -> dict[str, Any]:
    """A manifest of a Calico kind."""
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def hep(
    name: str, node: str, interface: str = "eth0", labels: dict[str, str] | None = None, **spec: object
) -> dict[str, Any]:
    """A manifest."""
    return calico(
        "HostEndpoint",
        name,
        {"node": node, **({"interfaceName": interface} if interface else {}), **spec},
        labels=labels or {"host": node},
    )


def policy(name: str, selector: str, **spec: object) -> dict[str, Any]:
    """A manifest."""
    return calico("GlobalNetworkPolicy", name, {"selector": selector, **spec})


def felix(name: str = "default", **spec: object) -> dict[str, Any]:
    """A manifest."""
    return calico("FelixConfiguration", name, spec)


BASE: list[dict[str, Any]] = [
    *(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
        }
        for name, addresses in NODES.items()
    ),
    *(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
        }
        for name, node in PODS.items()
    ),
    *(
        hep(f"map-{name}", name, interface="none0", expectedIPs=addresses, labels={"map": name})
        for name, addresses in OUTSIDE.items()
    ),  # puts the host on the map, guards nothing
]
ALLOW, DENY = {"action": "Allow"}, {"action": "Deny"}
DEFAULT_ALLOW = ["projectcalico-default-allow"]
FORWARD = {"applyOnForward": True}
EARLY = {"doNotTrack": True, "applyOnForward": True}
PRE = {"preDNAT": True, "applyOnForward": True}


def tcp(*ports: int | str, **entity: object) -> dict[str, Any]:
    """A rule that allows TCP ports."""
    return {"action": "Allow", "protocol": "TCP", "destination": {"ports": list(ports)}, **entity}


N1 = hep("h", "n1")
ALL1 = hep("h", "n1", "*")
OPEN1 = hep("h", "n1", profiles=DEFAULT_ALLOW)
OPEN_ALL1 = hep("h", "n1", "*", profiles=DEFAULT_ALLOW)
INTERNET = hep("h", "internet")
IN80 = policy("p", "has(host)", types=["Ingress"], ingress=[tcp(80)])
OUT80 = policy("p", "has(host)", types=["Egress"], egress=[tcp(80)])
NO_FORWARD_IN = policy("p", "has(host)", types=["Ingress"], ingress=[DENY], **FORWARD)
NO_FORWARD_OUT = policy("p", "has(host)", types=["Egress"], egress=[DENY], **FORWARD)

CASES: list[tuple[str, list[dict[str, Any]], str, str, int, bool]] = [
    # what it shows, resources, source, destination, TCP port, allowed
    ("HEP-1 by interface", [INTERNET], "office", "internet", 80, False),
    ("HEP-1 another interface of the machine", [hep("h", "internet", "eth1")], "office", "internet", 80, True),
    ("HEP-1 another machine", [INTERNET], "internet", "office", 22, False),
    ("HEP-1 by an address the interface carries", [hep("h", "n1", "", expectedIPs=["172.30.1.11"])], "office", "n1", 80, False),
    ("HEP-1 by an address no interface carries", [hep("h", "n1", "", expectedIPs=["172.30.1.99"])], "office", "n1", 80, True),
    ("HEP-1 an interface's name outweighs addresses", [hep("h", "n1", "eth1", expectedIPs=["172.30.1.11"])], "office", "n1", 80, True),
    ("HEP-1 the first by name wins", [hep("a", "n1", profiles=DEFAULT_ALLOW), hep("b", "n1")], "office", "n1", 80, True),
    ("HEP-1 the first by name wins, the other way", [hep("b", "n1", profiles=DEFAULT_ALLOW), hep("a", "n1")], "office", "n1", 80, False),
    ("HEP-1 * where no endpoint of its own stands", [ALL1], "office", "n1", 80, False),
    ("HEP-1 its own before *", [hep("a", "n1", "*"), hep("b", "n1", profiles=DEFAULT_ALLOW)], "office", "n1", 80, True),
    ("HEP-1 * is the loopback interface's too", [ALL1], "n1", "n1", 80, False),
    ("HEP-1 eth0 is not the loopback interface", [N1], "n1", "n1", 80, True),
    ("HEP-2 selected by its labels", [INTERNET, IN80], "office", "internet", 80, True),
    ("HEP-2 denied by the policy that selects it", [INTERNET, IN80], "office", "internet", 81, False),
    ("HEP-2 a policy for others leaves it locked", [INTERNET, policy("p", "host == 'n1'", ingress=[ALLOW])], "office", "internet", 80, False),
    ("HEP-2 it is in no namespace", [INTERNET, policy("p", "all()", namespaceSelector="all()", ingress=[ALLOW])], "office", "internet", 80, False),
    ("HEP-2 profiles when no policy decides", [hep("h", "internet", profiles=DEFAULT_ALLOW)], "office", "internet", 80, True),
    ("HEP-2 no profile after a tier has denied", [hep("h", "internet", profiles=DEFAULT_ALLOW), IN80], "office", "internet", 81, False),
    ("POL-16 a missing profile denies, whatever follows", [hep("h", "internet", profiles=["gone", *DEFAULT_ALLOW])], "office", "internet", 80, False),
    ("RULE-6 named ports of a host", [hep("h", "internet", expectedIPs=OUTSIDE["internet"], ports=[{"name": "web", "protocol": "TCP", "port": 8443}]), policy("p", "has(host)", types=["Ingress"], ingress=[tcp("web")])], "office", "internet", 8443, True),
    ("RULE-8 without expectedIPs it is in no set", [hep("h", "internet", ports=[{"name": "web", "protocol": "TCP", "port": 8443}]), policy("p", "has(host)", types=["Ingress"], ingress=[tcp("web")])], "office", "internet", 8443, False),
    ("RULE-8 its expectedIPs make it a peer", [INTERNET, policy("p", "has(host)", types=["Ingress"], ingress=[{**ALLOW, "source": {"selector": "map == 'office'"}}])], "office", "internet", 80, True),
    ("RULE-9 global() means hosts and global sets", [INTERNET, policy("p", "has(host)", types=["Ingress"], ingress=[{**ALLOW, "source": {"namespaceSelector": "global()", "selector": "has(map)"}}])], "office", "internet", 80, True),
    ("RULE-9 all() means some namespace", [INTERNET, policy("p", "has(host)", types=["Ingress"], ingress=[{**ALLOW, "source": {"namespaceSelector": "all()"}}])], "office", "internet", 80, False),
    ("HEP-3 normal policy governs what leaves", [INTERNET, OUT80], "internet", "office", 80, True),
    ("HEP-3 and what it does not allow", [INTERNET, OUT80], "internet", "office", 81, False),
    ("HEP-3 normal policy does not see forwarded traffic", [N1, policy("p", "has(host)", types=["Ingress", "Egress"])], "office", "a", 80, True),
    ("HEP-3 nor what pods send", [N1, policy("p", "has(host)", types=["Ingress", "Egress"])], "a", "office", 80, True),
    ("HEP-3 applyOnForward sees what comes in for pods", [OPEN1, NO_FORWARD_IN], "office", "a", 80, False),
    ("HEP-3 and from other nodes' pods", [OPEN1, NO_FORWARD_IN], "c", "a", 80, False),
    ("HEP-3 and what pods send out", [OPEN1, NO_FORWARD_OUT], "a", "office", 80, False),
    ("HEP-3 one direction only", [OPEN1, NO_FORWARD_IN], "a", "office", 80, True),
    ("HEP-3 an eth0 endpoint is not between pods of the node", [OPEN1, NO_FORWARD_IN], "b", "a", 80, True),
    ("HEP-3 a tier's end denies forwarded traffic", [OPEN1, policy("p", "has(host)", types=["Ingress"], ingress=[tcp(80)], **FORWARD)], "office", "a", 81, False),
    ("HEP-3 no failsafe ports for forwarded traffic", [OPEN1, NO_FORWARD_IN], "office", "a", 22, False),
    ("HEP-3 no profiles for forwarded traffic: passed by all tiers, it goes on", [N1, policy("p", "has(host)", types=["Ingress"], ingress=[{"action": "Pass"}], **FORWARD)], "office", "a", 80, True),
    ("HEP-4 an untracked allow is not asked again", [INTERNET, policy("p", "has(host)", types=["Ingress"], ingress=[tcp(80)], **EARLY)], "office", "internet", 80, True),
    ("HEP-4 an untracked denial", [hep("h", "internet", profiles=DEFAULT_ALLOW), policy("p", "has(host)", types=["Ingress"], ingress=[DENY], **EARLY)], "office", "internet", 80, False),
    ("HEP-4 untracked policy that does not decide goes on", [hep("h", "internet", profiles=DEFAULT_ALLOW), policy("p", "has(host)", types=["Ingress"], ingress=[tcp(80)], **EARLY)], "office", "internet", 81, True),
    ("HEP-4 on the way out too", [INTERNET, policy("p", "has(host)", types=["Egress"], egress=[tcp(80)], **EARLY)], "internet", "office", 80, True),
    ("HEP-4 * knows no doNotTrack", [OPEN_ALL1, policy("p", "has(host)", types=["Ingress"], ingress=[DENY], **EARLY)], "office", "n1", 80, True),
    ("HEP-4 nor does its allow", [ALL1, policy("p", "has(host)", types=["Ingress"], ingress=[ALLOW], **EARLY)], "office", "n1", 80, False),
    ("HEP-3 failsafe ports before untracked policy", [hep("h", "internet", profiles=DEFAULT_ALLOW), policy("p", "has(host)", types=["Ingress"], ingress=[DENY], **EARLY)], "office", "internet", 22, True),
    ("HEP-5 an untracked allow skips the forward policy of the way in", [OPEN1, policy("e", "has(host)", types=["Ingress"], ingress=[ALLOW], **EARLY), NO_FORWARD_IN], "office", "a", 80, True),
    ("HEP-5 a preDNAT allow too", [OPEN1, policy("e", "has(host)", ingress=[ALLOW], **PRE), NO_FORWARD_IN], "office", "a", 80, True),
    ("HEP-5 but not the one of the way out", [OPEN_ALL1, policy("e", "has(host)", ingress=[ALLOW], **PRE), NO_FORWARD_OUT], "office", "a", 80, False),
    ("HEP-5 nor the pod's own policy", [OPEN1, policy("e", "has(host)", ingress=[ALLOW], **PRE), policy("w", "app == 'a'", types=["Ingress"])], "office", "a", 80, False),
    ("HEP-5 a preDNAT allow opens the host", [N1, policy("e", "has(host)", ingress=[ALLOW], **PRE)], "office", "n1", 80, True),
    ("HEP-5 preDNAT denies to the host", [OPEN1, policy("e", "has(host)", ingress=[DENY], **PRE)], "office", "n1", 80, False),
    ("HEP-5 preDNAT denies to pods", [OPEN1, policy("e", "has(host)", ingress=[DENY], **PRE)], "office", "a", 80, False),
    ("HEP-3 preDNAT knows failsafe ports", [OPEN1, policy("e", "has(host)", ingress=[DENY], **PRE)], "office", "a", 22, True),
    ("HEP-3 preDNAT that does not decide goes on", [OPEN1, policy("e", "has(host)", ingress=[tcp(80)], **PRE)], "office", "n1", 81, True),
    ("HEP-6 untracked comes before preDNAT", [N1, policy("e", "has(host)", types=["Ingress"], ingress=[ALLOW], **EARLY), policy("f", "has(host)", ingress=[DENY], **PRE)], "office", "n1", 80, True),
    ("POL-9 a tier never ends an early list in denial", [OPEN1, policy("e", "has(host)", types=["Ingress"], **EARLY)], "office", "n1", 80, True),
    ("POL-9 a preDNAT policy is not in the forward list", [OPEN1, policy("e", "has(host)", ingress=[tcp(80)], **PRE)], "office", "a", 81, True),
    ("POL-9 an untracked policy is not in the normal list", [INTERNET, policy("e", "has(host)", types=["Ingress"], ingress=[tcp(80)], **EARLY)], "office", "internet", 81, False),
    ("POL-10 untracked and preDNAT policies are inert for pods", [policy("e", "all()", types=["Ingress"], ingress=[DENY], **EARLY), policy("f", "all()", ingress=[DENY], **PRE)], "office", "a", 80, True),
    ("HEP-7 neither policy nor profile: locked", [N1], "office", "n1", 80, False),
    ("HEP-7 outwards too", [N1], "n1", "office", 80, False),
    ("HEP-7 forwarded traffic goes on", [N1], "office", "a", 80, True),
    ("HEP-9 failsafe ports inbound", [N1], "office", "n1", 6443, True),
    ("HEP-9 failsafe ports outbound", [N1], "n1", "office", 2379, True),
    ("HEP-9 SSH is inbound only", [N1], "n1", "office", 22, False),
    ("HEP-9 no policy closes them", [N1, policy("p", "has(host)", types=["Ingress"], ingress=[DENY])], "office", "n1", 22, True),
    ("HEP-9 none", [N1, felix(failsafeInboundHostPorts="none")], "office", "n1", 22, False),
    ("HEP-9 an empty list is none", [N1, felix(failsafeInboundHostPorts=[])], "office", "n1", 22, False),
    ("HEP-9 others instead", [N1, felix(failsafeInboundHostPorts=[{"protocol": "tcp", "port": 80}])], "office", "n1", 80, True),
    ("HEP-9 tcp unless it says otherwise", [N1, felix(failsafeInboundHostPorts=[{"port": 80}])], "office", "n1", 80, True),
    ("HEP-9 another protocol", [N1, felix(failsafeInboundHostPorts=[{"protocol": "udp", "port": 80}])], "office", "n1", 80, False),
    ("HEP-9 limited to a CIDR of sources", [N1, felix(failsafeInboundHostPorts=[{"port": 80, "net": "198.51.100.0/24"}])], "office", "n1", 80, True),
    ("HEP-9 not from elsewhere", [N1, felix(failsafeInboundHostPorts=[{"port": 80, "net": "198.51.100.0/24"}])], "internet", "n1", 80, False),
    ("HEP-9 the CIDR's family", [N1, felix(failsafeInboundHostPorts=[{"port": 80, "net": "::/0"}])], "office", "n1", 80, False),
    ("HEP-9 outbound limited to a CIDR of destinations", [N1, felix(failsafeOutboundHostPorts=[{"port": 80, "net": "198.51.100.0/24"}])], "n1", "office", 80, True),
    ("HEP-9 of one machine", [N1, felix("node.n1", failsafeInboundHostPorts="none")], "office", "n1", 22, False),
    ("HEP-9 of another machine", [N1, felix("node.n2", failsafeInboundHostPorts="none")], "office", "n1", 22, True),
    ("HEP-9 its own over everybody's", [N1, felix(failsafeInboundHostPorts="none"), felix("node.n1", failsafeInboundHostPorts=[{"port": 22}])], "office", "n1", 22, True),
    ("HEP-9 field by field", [N1, felix(failsafeInboundHostPorts="none"), felix("node.n1", failsafeOutboundHostPorts="none")], "office", "n1", 22, False),
    ("HEP-10 forward tiers, none for this direction: allowed", [OPEN1, NO_FORWARD_OUT], "office", "a", 80, True),
    ("HEP-11 * forward policy meets pods of one node, on the way in", [OPEN_ALL1, NO_FORWARD_IN], "b", "a", 80, False),
    ("HEP-11 and on the way out", [OPEN_ALL1, NO_FORWARD_OUT], "b", "a", 80, False),
    ("HEP-11 * preDNAT policy meets what pods send", [OPEN_ALL1, policy("e", "has(host)", ingress=[DENY], **PRE)], "a", "office", 80, False),
    ("HEP-11 * normal policy leaves out the node's own pods", [ALL1], "n1", "a", 80, True),
    ("CT-1 whatever policy stands there", [ALL1, policy("p", "all()", types=["Ingress", "Egress"])], "n1", "a", 80, True),
    ("HEP-12 dropped unless told otherwise", [], "a", "n1", 80, False),
    ("HEP-12 Accept", [felix(defaultEndpointToHostAction="Accept")], "a", "n1", 80, True),
    ("HEP-12 RETURN, in any case", [felix(defaultEndpointToHostAction="RETURN")], "a", "n1", 80, True),
    ("HEP-12 of one node", [felix("node.n2", defaultEndpointToHostAction="Accept")], "a", "n1", 80, False),
    ("HEP-12 the pod's egress policy comes first", [felix(defaultEndpointToHostAction="Accept"), policy("p", "app == 'a'", types=["Egress"])], "a", "n1", 80, False),
    ("HEP-12 the host's ingress policy is not asked", [felix(defaultEndpointToHostAction="Accept"), ALL1], "a", "n1", 80, True),
    ("HEP-12 another node's is", [felix(defaultEndpointToHostAction="Accept"), ALL1], "c", "n1", 80, False),
    ("RULE-17 a host sees a pod's node, where natOutgoing translates", [INTERNET, policy("p", "has(host)", types=["Ingress"], ingress=[{**ALLOW, "source": {"nets": ["172.30.1.11/32"]}}])], "a", "internet", 80, True),
    ("RULE-17 and not the pod", [INTERNET, policy("p", "has(host)", types=["Ingress"], ingress=[{**ALLOW, "source": {"selector": "app == 'a'"}}])], "a", "internet", 80, False),
    ("RULE-17 the host that forwards sees the pod", [OPEN1, policy("p", "has(host)", types=["Egress"], egress=[{**ALLOW, "source": {"selector": "app == 'a'"}}], **FORWARD)], "a", "internet", 80, True),
]  # fmt: skip


@lru_cache(maxsize=256)
def state_with(number: int) -> State:
    """The state of a case."""
    return load_state(*BASE, *CASES[number][1])


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case[0] for case in CASES])
def test_hosts(number: int) -> None:
    """The oracle, its silent answer and the compiled programs say what the line says."""
    _, _, source, destination, port, expected = CASES[number]
    state = state_with(number)
    packet = packet_between(state, source, destination, "TCP", port)
    verdict = evaluate(state, packet)
    decision = decide(Compiler().compile(state), state, packet)
    assert (expected, expected, expected) == (verdict.allowed, allowed(state, packet), decision.allowed), (
        verdict.explain()
    )


def test_answers_of_failsafe_ports_pass_untracked_policy() -> None:
    """HEP-3: without connection tracking, what comes from an outbound failsafe port is its answer."""
    deny = policy("p", "has(host)", types=["Ingress", "Egress"], ingress=[DENY], egress=[DENY], **EARLY)
    state = load_state(*BASE, hep("h", "internet", profiles=DEFAULT_ALLOW), deny)
    programs = Compiler().compile(state)
    found = {}
    for source, destination, source_port in (
        ("office", "internet", 2379),
        ("office", "internet", 22),
        ("internet", "office", 22),
        ("internet", "office", 2380),
    ):
        packet = packet_between(state, source, destination, "TCP", 40000, source_port=source_port)
        found[source, source_port] = (allowed(state, packet), decide(programs, state, packet).allowed)
    assert found == {
        ("office", 2379): (True, True),
        ("office", 22): (False, False),
        ("internet", 22): (True, True),
        ("internet", 2380): (True, True),
    }


VXLAN, IPIP = {"protocol": "UDP", "port": 4789}, {"protocol": 4}


@pytest.mark.parametrize(
    ("settings", "source", "destination", "asked", "expected"),
    [
        ([], "a", "b", VXLAN, False),
        ([], "a", "c", VXLAN, False),
        ([], "a", "office", VXLAN, False),
        ([], "a", "b", IPIP, False),
        ([], "a", "office", IPIP, False),
        ([], "a", "b", {"protocol": "UDP", "port": 4788}, True),
        ([], "a", "b", {"protocol": "TCP", "port": 4789}, True),
        ([], "a", "a", VXLAN, True),
        ([], "office", "a", VXLAN, True),
        ([], "office", "a", IPIP, True),
        ([], "n2", "a", VXLAN, True),
        ([felix(defaultEndpointToHostAction="Accept")], "a", "n1", VXLAN, False),
        ([felix(defaultEndpointToHostAction="Accept")], "a", "n1", IPIP, False),
        ([felix(allowVXLANPacketsFromWorkloads=True)], "a", "b", VXLAN, True),
        ([felix(allowVXLANPacketsFromWorkloads=True)], "a", "b", IPIP, False),
        ([felix(allowIPIPPacketsFromWorkloads=True)], "a", "b", IPIP, True),
        ([felix(allowIPIPPacketsFromWorkloads=True)], "a", "b", VXLAN, False),
        ([felix(vxlanPort=80)], "a", "b", VXLAN, True),
        ([felix(vxlanPort=80)], "a", "b", {"protocol": "UDP", "port": 80}, False),
        ([felix("node.n1", allowVXLANPacketsFromWorkloads=True)], "a", "b", VXLAN, True),
        ([felix("node.n2", allowVXLANPacketsFromWorkloads=True)], "a", "b", VXLAN, False),
        ([felix(allowVXLANPacketsFromWorkloads=True), felix("node.n1", allowVXLANPacketsFromWorkloads=False)], "a", "b", VXLAN, False),
    ],
)  # fmt: skip
def test_workloads_send_nothing_encapsulated(
    settings: list[dict[str, object]], source: str, destination: str, asked: dict[str, Any], expected: bool
) -> None:
    """CT-6: VXLAN and IPIP from workloads are dropped before policy, unless Felix is told to let them through."""
    state = load_state(*BASE, *settings)
    packet = packet_between(state, source, destination, **asked)
    verdict = evaluate(state, packet)
    decision = decide(Compiler().compile(state), state, packet)
    assert (verdict.allowed, allowed(state, packet), decision.allowed) == (expected, expected, expected)
    if not expected:
        assert "(CT-6)" in verdict.reason
        assert decision.where.startswith("encapsulated (egress of ")


def test_a_changed_setting_reaches_the_programs() -> None:
    """CT-6: a compiler that goes on from the state before gives what a new one gives."""
    compiler = Compiler()
    before = compiler.compile(load_state(*BASE))
    state = load_state(*BASE, felix("node.n1", allowIPIPPacketsFromWorkloads=True, vxlanPort=8472))
    after = compiler.compile(state)
    assert before["n1"].encapsulation == Encapsulation()
    assert after["n1"].encapsulation == Encapsulation(ipip=False, vxlan_port=8472)
    assert after["n2"].encapsulation == Encapsulation()


def test_the_matrix_knows_what_workloads_may_not_send() -> None:
    """CT-6: of all pairs only a pod and itself are left, and those whose source is no pod."""
    names = ["a", "b", "office"]
    state = load_state(*BASE)
    found = matrix(state, ["4789/UDP", "80/UDP"], sources=names, destinations=names[:2])
    assert [found.allowed(one, other, "4789/UDP") for one in names for other in names[:2]] == [
        True, False, False, True, True, True,
    ]  # fmt: skip
    assert all(found.allowed(one, other, "80/UDP") for one in names for other in names[:2])


@pytest.mark.parametrize(
    ("icmp_type", "expected"),
    [(128, False), (130, True), (133, True), (134, False), (135, True), (136, True), (137, False)],
)
def test_the_link_is_kept_up(icmp_type: int, expected: bool) -> None:
    """HEP-12: multicast listeners' and neighbours' messages pass before policy, to hosts and from pods to their node."""
    state = load_state(*BASE, N1)
    for source, destination in (("office", "n1"), ("n1", "office"), ("a", "n1")):
        packet = packet_between(state, source, destination, "ICMPv6", icmp_type=icmp_type)
        assert (allowed(state, packet), decide(Compiler().compile(state), state, packet).allowed) == (
            expected,
            expected,
        )


def test_wireguard_is_never_closed() -> None:
    """HEP-13: between encrypting nodes UDP 51820 and 51821 pass; to a host outside, and without encryption, they do not."""
    plain = load_state(*BASE, N1, hep("i", "internet"))
    keys = {name: ("A" if name == "n1" else "B") * 43 + "=" for name in NODES}
    encrypted = commands.enable_encryption(plain, "wireguard", keys, now=0.0).state
    for state, to_node in ((plain, False), (encrypted, True)):
        programs = Compiler().compile(state)
        for target, expected in (("n1", to_node), ("internet", False)):
            packet = packet_between(state, "n2", target, "UDP", 51820)
            assert (allowed(state, packet), decide(programs, state, packet).allowed) == (expected, expected)


def test_encrypted_pods_pass_the_tunnel_not_eth0() -> None:
    """WG-8: pods' traffic between encrypting nodes uses a device of its own, which an endpoint of eth0 does not guard."""
    plain = load_state(*BASE, OPEN1, NO_FORWARD_IN)
    encrypted = commands.enable_encryption(
        plain, "wireguard", {name: ("A" if name == "n1" else "B") * 43 + "=" for name in NODES}, now=0.0
    ).state
    for state, expected in ((plain, False), (encrypted, True)):
        packet = packet_between(state, "c", "a", "TCP", 80)
        assert (allowed(state, packet), decide(Compiler().compile(state), state, packet).allowed) == (
            expected,
            expected,
        )


def test_the_trace_names_every_list_in_order() -> None:
    """HEP-6: the sides of a verdict are in the order in which the packet meets them."""
    every = [
        policy("u", "has(host)", types=["Ingress"], ingress=[{"action": "Pass"}], **EARLY),
        policy("d", "has(host)", ingress=[{"action": "Pass"}], **PRE),
        policy("f", "has(host)", types=["Ingress", "Egress"], ingress=[ALLOW], egress=[ALLOW], **FORWARD),
    ]
    state = load_state(*BASE, N1, hep("i", "n2"), *every)
    verdict = evaluate(state, packet_between(state, "c", "a"))
    assert [(side.endpoint, side.variant, side.direction, side.allowed) for side in verdict.trace] == [
        ("default/c", "", "egress", True),
        ("host/n2/eth0", "applyOnForward", "egress", True),
        ("host/n1/eth0", "doNotTrack", "ingress", True),
        ("host/n1/eth0", "preDNAT", "ingress", True),
        ("host/n1/eth0", "applyOnForward", "ingress", True),
        ("default/a", "", "ingress", True),
    ]
    assert (verdict.egress, verdict.ingress) == (verdict.trace[0], verdict.trace[-1])
    text = verdict.explain()
    assert "ingress at host/n1/eth0, doNotTrack policies" in text
    assert "not denied by any preDNAT policy: it goes on" in text


def test_a_failsafe_port_is_the_reason() -> None:
    """HEP-9: an explanation names the failsafe port that let a packet through."""
    state = load_state(*BASE, N1)
    verdict = evaluate(state, packet_between(state, "office", "n1", "TCP", 22))
    assert verdict.reason == "ingress of host/n1/eth0 (normal) allowed: inbound failsafe port tcp/22"


def test_a_lock_is_the_reason() -> None:
    """HEP-7: an explanation says that nothing allowed the packet at the host."""
    state = load_state(*BASE, N1)
    verdict = evaluate(state, packet_between(state, "office", "n1", "TCP", 80))
    assert verdict.reason == "ingress of host/n1/eth0 (normal) denied: no profile matched"


def test_only_guarded_machines_have_host_programs() -> None:
    """A machine without host endpoints has a program without any of it; one that is not there has none."""
    state = load_state(*BASE, N1, hep("x", "nowhere"))
    programs = Compiler().compile(state)
    assert sorted(programs) == ["internet", "n1", "n2", "office"]
    assert {name: sorted(program.host_endpoints) for name, program in programs.items()} == {
        "internet": ["none0"], "n1": ["eth0"], "n2": [], "office": ["none0"],
    }  # fmt: skip
    assert not programs["n2"].failsafes.inbound
    assert programs["n1"].failsafes.inbound


def test_programs_follow_host_endpoints() -> None:
    """What an incremental compiler makes of a changed host endpoint is what a new one makes."""
    steps: list[list[dict[str, Any]]] = [
        [N1],
        [IN80],
        [OPEN_ALL1],
        [NO_FORWARD_IN],
        [felix(failsafeInboundHostPorts="none")],
        [hep("h", "internet")],
    ]
    compiler = Compiler()
    state = load_state(*BASE)
    compiler.compile(state)
    for step in steps:
        state = commands.apply(state, load(*step).resources, now=0.0, offline=True).state
        assert compiler.compile(state) == Compiler().compile(state)
    gone = commands.delete(state, list(state.resources["HostEndpoint"]), now=0.0).state
    assert compiler.compile(gone) == Compiler().compile(gone)
    assert not any(
        program.host_endpoints or (program.walks and not program.endpoints)
        for program in compiler.compile(gone).values()
    )


@pytest.mark.parametrize(
    ("spec", "source", "destination", "implied"),
    [
        ({"types": ["Ingress"], "ingress": [ALLOW]}, "office", "internet", False),
        ({"types": ["Egress"], "egress": [DENY]}, "office", "internet", False),
        ({"types": ["Egress"], "egress": [DENY]}, "a", "internet", False),
        ({"types": ["Ingress"], "ingress": [ALLOW]}, "office", "n1", True),
    ],
)
def test_answers_are_not_implied_without_tracking(
    spec: dict[str, Any], source: str, destination: str, implied: bool
) -> None:
    """HEP-4: where untracked policy stands on the way, in whatever direction, a verdict says that answers need a rule."""
    state = load_state(*BASE, hep("h", "internet", profiles=DEFAULT_ALLOW), policy("p", "has(host)", **spec, **EARLY))
    verdict = evaluate(state, packet_between(state, source, destination))
    assert verdict.allowed
    assert verdict.answer_implied is implied
    assert ("the answer is not implied" in verdict.explain()) is not implied


def test_the_matrix_asks_hosts_too() -> None:
    """HEP-11: a matrix of pods is what the oracle says of each pair, also where a host endpoint stands between them."""
    state = load_state(*BASE, OPEN_ALL1, NO_FORWARD_OUT)
    found = matrix(state)
    for source in found.sources:
        for destination in found.destinations:
            expected = allowed(state, packet_between(state, source, destination))
            assert found.allowed(source, destination, "80/TCP") is expected, (source, destination)
    assert not found.allowed("default/b", "default/a", "80/TCP")


def test_a_host_side_names_policies_and_near_misses() -> None:
    """An explanation at a host endpoint names the policies in the list, staged ones too, and what nearly matched."""
    staged = calico("StagedGlobalNetworkPolicy", "later", {"selector": "has(host)", "ingress": [ALLOW]})
    near = policy("p", "has(host)", types=["Ingress"], ingress=[{**tcp(80), "source": {"nets": ["203.0.113.0/24"]}}])
    verdict = evaluate(state := load_state(*BASE, N1, near, staged), packet_between(state, "office", "n1"))
    (side,) = verdict.trace
    assert [(one.policy, one.staged) for one in side.selecting] == [("sgnp:later", True), ("gnp:p", False)]
    assert [(miss.policy, miss.rule, miss.field) for miss in side.near_misses] == [("gnp:p", 0, "source.nets")]
    assert "gnp:p rule 0 (Allow) would have allowed it" in verdict.explain()
