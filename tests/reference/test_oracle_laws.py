"""Laws of the oracle on random small clusters.

The fast roads agree with the plain ones, and changes that mean nothing change nothing.
"""

# ruff: noqa: E501 -- a manifest is a line

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reference.analysis import matrix
from reference.errors import InvalidInputError
from reference.loading import load_state
from reference.naming import packet_between, parse_port
from reference.policy import allowed, evaluate
from reference.policy.ordering import enforced_policies
from reference.policy.peers import Peers
from reference.policy.selection import Selection, selects
from reference.state import State

Manifest = dict[str, Any]
CALICO = "projectcalico.org/v3"
PORTS = ("80/TCP", "8080/TCP", "80/UDP", "ICMP")
NAMESPACES = ("red", "blue")
TIERS = ("early", "default", "kube-baseline", "missing")
SELECTORS = (
    "app == 'a'",
    "app in {'a', 'b'}",
    "!has(app)",
    "all()",
    "app != 'a' && has(app)",
    "kind == 'set'",
    "app not in {'a'}",
)
NAMESPACE_SELECTORS = ("all()", "team == 'red'", "!has(team)", "global()", "projectcalico.org/name == 'blue'")
NETS = ("10.244.0.0/30", "10.244.0.4/32", "192.0.2.0/24")
OTHER_NAMES = ("192.0.2.9", "198.51.100.1", "fd00::9", "node-1")
spaced = st.sampled_from(NAMESPACES)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Manifest]:
    """Any subset of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


def some(values: tuple[Any, ...], most: int = 2) -> st.SearchStrategy[list[Any]]:
    """One or two of the values."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


peers = optional(
    selector=st.sampled_from(SELECTORS),
    notSelector=st.sampled_from(SELECTORS),
    namespaceSelector=st.sampled_from(NAMESPACE_SELECTORS),
    serviceAccounts=optional(names=some(("robot", "x")), selector=st.sampled_from(("role == 'r'", "!has(role)"))),
    nets=some(NETS),
    notNets=some(NETS),
)
ports = optional(ports=some((80, "8080:8090", "http")), notPorts=some((80, "http")))


@st.composite
def rules(draw: st.DrawFn, direction: str) -> Manifest:
    """A valid Calico rule."""
    rule: Manifest = {"action": draw(st.sampled_from(("Allow", "Deny", "Pass", "Log")))}
    near, far = ("destination", "source") if direction == "ingress" else ("source", "destination")
    rule[far] = draw(st.one_of(st.just({}), peers))
    rule[near] = draw(st.one_of(st.just({}), st.just({}), peers))
    protocol = draw(st.sampled_from((None, "TCP", "UDP", "ICMP")))
    if protocol is not None:
        rule["protocol"] = protocol
    if protocol in {"TCP", "UDP"}:
        rule["destination"] = {**rule["destination"], **draw(ports)}
    return rule


@st.composite
def calico_policies(draw: st.DrawFn, name: str) -> Manifest:
    """A NetworkPolicy or GlobalNetworkPolicy."""
    spec: Manifest = {
        "tier": draw(st.sampled_from(TIERS)),
        "types": draw(some(("Ingress", "Egress"))),
        "ingress": draw(st.lists(rules("ingress"), max_size=2)),
        "egress": draw(st.lists(rules("egress"), max_size=2)),
        **draw(optional(order=st.integers(1, 3), selector=st.sampled_from(SELECTORS))),
    }
    for direction in ("ingress", "egress"):
        if direction.capitalize() not in spec["types"]:
            del spec[direction]
    metadata = {"name": name}
    if draw(st.booleans()):
        metadata["namespace"] = draw(spaced)
        return {"apiVersion": CALICO, "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    spec |= draw(optional(namespaceSelector=st.sampled_from(NAMESPACE_SELECTORS[:3])))
    return {"apiVersion": CALICO, "kind": "GlobalNetworkPolicy", "metadata": metadata, "spec": spec}


pod_selectors = st.sampled_from(
    ({}, {"matchLabels": {"app": "a"}}, {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]})
)
kubernetes_peers = st.one_of(
    st.fixed_dictionaries({"podSelector": pod_selectors}),
    st.fixed_dictionaries({"namespaceSelector": st.sampled_from(({}, {"matchLabels": {"team": "red"}}))}),
    st.just({"ipBlock": {"cidr": "10.244.0.0/29", "except": ["10.244.0.0/30"]}}),
)
kubernetes_ports = st.sampled_from(
    ({}, {"port": 80}, {"port": "http"}, {"protocol": "UDP"}, {"port": 1, "endPort": 90})
)


@st.composite
def kubernetes_policies(draw: st.DrawFn, name: str) -> Manifest:
    """A Kubernetes NetworkPolicy."""
    lists = {"ports": st.lists(kubernetes_ports, max_size=2)}
    spec = {
        "podSelector": draw(pod_selectors),
        "policyTypes": draw(some(("Ingress", "Egress"))),
        "ingress": draw(st.lists(optional(**{"from": st.lists(kubernetes_peers, max_size=2), **lists}), max_size=2)),
        "egress": draw(st.lists(optional(to=st.lists(kubernetes_peers, max_size=2), **lists), max_size=2)),
    }
    metadata = {"name": name, "namespace": draw(spaced)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


@st.composite
def pods(draw: st.DrawFn, number: int) -> Manifest:
    """A pod of either or both families; some share their labels."""
    families = draw(st.sampled_from(((4,), (4, 6), (4, 6), (6,))))
    addresses = {4: f"10.244.0.{number}", 6: f"fd00:10:244::{number}"}
    port = {"name": "http", "containerPort": draw(st.sampled_from((80, 8080)))}
    container = {"name": "c", "image": "i", **draw(optional(ports=st.just([port])))}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"p{number}",
            "namespace": draw(spaced),
            "labels": draw(optional(app=st.sampled_from(("a", "b")))),
        },
        "spec": {"containers": [container], **draw(optional(serviceAccountName=st.just("robot")))},
        "status": {"podIPs": [{"ip": addresses[family]} for family in families]},
    }


@st.composite
def clusters(draw: st.DrawFn) -> list[Manifest]:
    """Two namespaces, some pods, sets, tiers and policies of all kinds."""
    fixed: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "red", "labels": {"team": "red"}}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blue"}},
        {"apiVersion": "v1", "kind": "ServiceAccount",
         "metadata": {"name": "robot", "namespace": "red", "labels": {"role": "r"}}},
        {"apiVersion": CALICO, "kind": "Tier", "metadata": {"name": "early"}, "spec": {"order": 5, "defaultAction": "Pass"}},
        {"apiVersion": CALICO, "kind": "GlobalNetworkSet", "metadata": {"name": "s", "labels": {"kind": "set"}},
         "spec": {"nets": ["192.0.2.0/25", "10.244.0.2/31"]}},
        {"apiVersion": CALICO, "kind": "NetworkSet", "metadata": {"name": "s", "namespace": "red", "labels": {"kind": "set"}},
         "spec": {"nets": ["10.244.0.5", "fd00::/64"]}},
    ]  # fmt: skip
    some_pods = [draw(pods(number)) for number in range(1, draw(st.integers(2, 6)) + 1)]
    kinds = (calico_policies, kubernetes_policies)
    policies = [draw(draw(st.sampled_from(kinds))(f"x{number}")) for number in range(draw(st.integers(0, 4)))]
    return [*fixed, *some_pods, *policies]


def names_in(state: State) -> list[str]:
    """Every pod."""
    return ["/".join(key) for key in sorted(state.endpoints)]


def plain(state: State, source: str, destination: str, port: str) -> str:
    """The cell of a matrix, the slow way."""
    number, protocol = parse_port(port)
    try:
        packet = packet_between(state, source, destination, protocol, number or 1)
    except InvalidInputError:
        return "-"
    verdict = evaluate(state, packet)
    assert verdict.allowed == allowed(state, packet)
    if verdict.trace:
        assert (
            verdict.allowed == all(side.hits[-1].action == "allow" for side in verdict.trace)
            or "HEP-12" in verdict.reason
        )
    return "." if verdict.allowed else "X"


@settings(deadline=None, max_examples=60)
@given(clusters())
def test_matrix_is_every_pair(manifests: list[Manifest]) -> None:
    """The matrix says of every pair and port what `allowed` and `evaluate` say of its packet."""
    state = load_state(*manifests)
    names = [*names_in(state), *OTHER_NAMES]
    table = matrix(state, PORTS, names, names)

    for source in names:
        for destination in names:
            for port in PORTS:
                assert plain(state, source, destination, port) == table.glyph(source, destination, port), (
                    source,
                    destination,
                    port,
                )


@settings(deadline=None, max_examples=60)
@given(clusters())
def test_selection_finds_all(manifests: list[Manifest]) -> None:
    """The index finds exactly the policies that select an endpoint."""
    state = load_state(*manifests)
    policies, lookup = enforced_policies(state), Peers(state)
    selection = Selection(policies)

    for endpoint in state.endpoints.values():
        owner = lookup.owner(endpoint)
        expected = sorted(policy.id for policy in policies if selects(policy, owner))
        assert expected == sorted(policy.id for policy in selection.selecting(owner))


def verdicts(manifests: list[Manifest]) -> dict[str, object]:
    """Who reaches whom."""
    return matrix(load_state(*manifests), PORTS).to_json()


def calico(name: str, kind: str, **spec: Any) -> Manifest:
    """A cluster-scoped Calico object."""
    return {"apiVersion": CALICO, "kind": kind, "metadata": {"name": name}, "spec": spec}


@settings(deadline=None, max_examples=25)
@given(clusters(), st.randoms(use_true_random=False))
def test_order_of_objects_does_not_matter(manifests: list[Manifest], shuffled: Any) -> None:
    """A verdict depends on the objects, not on the order in which they came."""
    other = list(manifests)
    shuffled.shuffle(other)

    assert verdicts(manifests) == verdicts(other)


@settings(deadline=None, max_examples=25)
@given(clusters())
def test_log_changes_nothing(manifests: list[Manifest]) -> None:
    """A Log rule before every rule of every Calico policy changes no verdict (POL-12)."""
    logged = []
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["apiVersion"] == CALICO and "types" in spec:
            both = {key: [{"action": "Log"}, *spec[key]] for key in ("ingress", "egress") if key in spec}
            manifest = {**manifest, "spec": {**spec, **both}}
        logged.append(manifest)

    assert verdicts(manifests) == verdicts(logged)


@settings(deadline=None, max_examples=25)
@given(clusters(), st.sampled_from((1, 7, 2_000_000)))
def test_tier_that_only_passes_changes_nothing(manifests: list[Manifest], order: int) -> None:
    """A tier whose one policy passes everything changes no verdict, wherever it is (POL-12)."""
    rules = [{"action": "Pass"}]
    both = {"types": ["Ingress", "Egress"], "ingress": rules, "egress": rules}
    extra = [calico("through", "Tier", order=order), calico("pass", "GlobalNetworkPolicy", tier="through", **both)]

    assert verdicts(manifests) == verdicts([*manifests, *extra])


@settings(deadline=None, max_examples=25)
@given(clusters())
def test_empty_policy_never_opens(manifests: list[Manifest]) -> None:
    """A policy without rules turns no denial into an allowance (POL-7, POL-13)."""
    empty = calico("empty", "GlobalNetworkPolicy", selector="app == 'a'", types=["Ingress", "Egress"])
    before, after = (matrix(load_state(*objects), PORTS) for objects in (manifests, [*manifests, empty]))

    opened = [change for change in before.changes(after) if change.after == "."]
    assert opened == []
