"""Manifests out, and back in."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.events import ResourceApplied
from reference.resources import AnyResource, load, manifest, parse, to_json, to_yaml

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
TRICKY = ("yes", "no", "on", "y", "N", "true", "null", "1", "1e3", "0x1F", "1.5", "017", "20", "a", "a.b_c", "")
LABELS = st.dictionaries(st.sampled_from(("app", "example.com/tier", "y", "1")), st.sampled_from(TRICKY), max_size=3)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20) | st.sampled_from(
    ("20:25", "2001-01-01", "<<", "=", "- a", "a: b", "# c", "'", '"', "~", " x ", "a\nb\n", "\t", "@a", "&a *b")
)
METADATA = st.fixed_dictionaries(
    {"name": NAMES}, optional={"labels": LABELS, "annotations": st.dictionaries(NAMES, TEXT, max_size=2)}
)
SELECTORS = st.sampled_from(("", "all()", "app == 'web'", 'has(a) && b in {"x", "y"}', "!(c starts with 'd')"))
PORTS = st.integers(1, 65535) | st.sampled_from(("http", "8080:8090", "80"))
ENTITY = st.fixed_dictionaries(
    {},
    optional={
        "selector": SELECTORS,
        "nets": st.lists(st.sampled_from(("10.0.0.0/8", "192.168.1.0/24")), max_size=2),
        "ports": st.lists(PORTS, max_size=3),
        "namespaceSelector": st.sampled_from(("global()", "all()", "a == 'b'")),
        "serviceAccounts": st.fixed_dictionaries({}, optional={"names": st.lists(NAMES, max_size=2)}),
    },
)
RULE = st.fixed_dictionaries(
    {"action": st.sampled_from(("Allow", "Deny", "Log", "Pass")), "protocol": st.sampled_from(("TCP", "udp", 132))},
    optional={"source": ENTITY, "destination": ENTITY, "ipVersion": st.just(4)},
)
RULES = st.lists(RULE, max_size=3)
LABEL_SELECTOR = st.fixed_dictionaries({}, optional={"matchLabels": LABELS})
PEER = st.one_of(
    st.fixed_dictionaries({"podSelector": LABEL_SELECTOR}, optional={"namespaceSelector": LABEL_SELECTOR}),
    st.fixed_dictionaries({"ipBlock": st.just({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]})}),
)
K8S_PORT = st.sampled_from(({}, {"port": 80}, {"port": "http"}, {"port": 80, "endPort": 90}, {"protocol": "UDP"}))
INGRESS = st.fixed_dictionaries(
    {}, optional={"from": st.lists(PEER, max_size=2), "ports": st.lists(K8S_PORT, max_size=2)}
)


def of(api_version: str, kind: str, spec: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[dict[str, object]]:
    """Manifests of one kind."""
    return st.fixed_dictionaries(
        {"apiVersion": st.just(api_version), "kind": st.just(kind), "metadata": METADATA}, optional={"spec": spec}
    )


CALICO_SPEC: dict[str, st.SearchStrategy[object]] = {
    "tier": st.sampled_from(("default", "security")),
    "order": st.integers(-5, 2000) | st.floats(allow_nan=False, allow_infinity=False),
    "selector": SELECTORS,
    "ingress": RULES,
    "egress": RULES,
}
CONTAINER = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "ports": st.just([{"containerPort": 80, "name": "http", "hostIP": "10.0.0.1"}]),
        "env": st.lists(st.fixed_dictionaries({"name": NAMES, "value": TEXT}), max_size=2),
    },
)
KEPT: dict[str, st.SearchStrategy[object]] = {"stagedAction": st.sampled_from(("Set", "Learn", "Ignore"))}
K8S_SPEC: dict[str, st.SearchStrategy[object]] = {
    "podSelector": LABEL_SELECTOR,
    "ingress": st.lists(INGRESS, max_size=2),
}
POD_SPEC: dict[str, st.SearchStrategy[object]] = {"containers": st.lists(CONTAINER, max_size=1), "nodeName": NAMES}
NODE_SPEC: dict[str, st.SearchStrategy[object]] = {
    "podCIDR": st.just("10.0.0.0/24"),
    "podCIDRs": st.just(["10.0.0.0/24"]),
}
SET_SPEC: dict[str, st.SearchStrategy[object]] = {"nets": st.lists(st.sampled_from(("10.0.0.1", "fd00::/64")))}
MANIFESTS = st.one_of(
    of("projectcalico.org/v3", "NetworkPolicy", st.fixed_dictionaries({}, optional=CALICO_SPEC)),
    of("crd.projectcalico.org/v1", "GlobalNetworkPolicy", st.fixed_dictionaries({}, optional=CALICO_SPEC)),
    of("networking.k8s.io/v1", "NetworkPolicy", st.fixed_dictionaries({}, optional=K8S_SPEC)),
    of("projectcalico.org/v3", "StagedNetworkPolicy", st.fixed_dictionaries({}, optional=CALICO_SPEC | KEPT)),
    of("projectcalico.org/v3", "StagedGlobalNetworkPolicy", st.fixed_dictionaries({}, optional=CALICO_SPEC | KEPT)),
    of("projectcalico.org/v3", "StagedKubernetesNetworkPolicy", st.fixed_dictionaries({}, optional=K8S_SPEC | KEPT)),
    of("projectcalico.org/v3", "StagedKubernetesNetworkPolicy", st.just({"stagedAction": "Delete"})),
    of("projectcalico.org/v3", "StagedNetworkPolicy", st.just({"stagedAction": "Delete", "tier": "security"})),
    of("v1", "Pod", st.fixed_dictionaries({}, optional=POD_SPEC)),
    of("v1", "Node", st.fixed_dictionaries({}, optional=NODE_SPEC)),
    of("projectcalico.org/v3", "NetworkSet", st.fixed_dictionaries({}, optional=SET_SPEC)),
)


@settings(deadline=None)
@given(st.lists(MANIFESTS, min_size=1, max_size=3))
def test_round_trip(manifests: list[dict[str, object]]) -> None:
    """What is printed as a manifest, as YAML or as JSON loads to equal resources, and so does what the log stores."""
    resources = load(manifests).resources

    assert load([manifest(resource) for resource in resources]).resources == resources
    assert parse(to_yaml(resources)).resources == resources
    assert parse(to_json(resources)).resources == resources
    for resource in resources:
        event = msgspec.json.encode(ResourceApplied(resource))
        assert msgspec.json.decode(event, type=ResourceApplied).resource == resource


def example() -> AnyResource:
    """A policy with a little of everything."""
    return parse("""
        apiVersion: crd.projectcalico.org/v1
        kind: NetworkPolicy
        metadata: {annotations: {note: "yes"}, labels: {app: "1e3"}, namespace: shop, name: web}
        spec: {order: 10, selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
    """).resources[0]


def test_yaml() -> None:
    """YAML comes in kubectl's order, with the preferred apiVersion, and quotes what would not stay a string."""
    assert (
        to_yaml([example()])
        == """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
  labels:
    app: '1e3'
    projectcalico.org/tier: default
  annotations:
    note: 'yes'
spec:
  order: 10
  selector: app == 'web'
  types:
  - Ingress
  ingress:
  - action: Allow
    protocol: TCP
    destination:
      ports:
      - 80
"""
    )


def test_many() -> None:
    """Several resources are several YAML documents, or a JSON List."""
    assert to_yaml([example(), example()]).count("\n---\n") == 1
    assert json.loads(to_json([example(), example()]))["kind"] == "List"
    assert json.loads(to_json([example()]))["kind"] == "NetworkPolicy"


@pytest.mark.parametrize("text", ["20:25", "2001-01-01", "0o17", "y", "off", "1_000", ".5", "<<", "~"])
def test_quoting(text: str) -> None:
    """A string that either reading of YAML takes for something else is quoted."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"note": text}}}

    assert f"note: '{text}'\n" in to_yaml(load(pod).resources)
