"""WorkloadEndpoint: workloads that are no pods, under the same policy (1.1, K8S-6, K8S-9)."""

from __future__ import annotations

import copy

import pytest

from reference import commands
from reference.errors import RefusedError
from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import evaluate
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.resources import ManifestError, load

SHOP = "scenarios/manifests/shop.yaml"
VM = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "WorkloadEndpoint",
    "metadata": {"name": "node--1-libvirt-legacy-eth0", "namespace": "shop", "labels": {"app": "legacy"}},
    "spec": {
        "orchestrator": "libvirt",
        "workload": "legacy",
        "node": "node-1",
        "ipNetworks": ["10.244.200.7/32", "fd00:10:244:c8::7/128"],
        "profiles": ["kns.shop"],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    },
}


def vm(**spec):
    """The machine with some of its spec changed; None takes a field out."""
    changed = copy.deepcopy(VM)
    changed["spec"] |= spec
    changed["spec"] = {name: value for name, value in changed["spec"].items() if value is not None}
    return changed


def calico(**spec):
    """A Calico policy of the shop."""
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": spec,
    }


def kubernetes(**spec):
    """A Kubernetes policy of the shop."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "k", "namespace": "shop"},
        "spec": {"podSelector": {}, **spec},
    }


def both(state, source, destination, port):
    """What oracle and program say; they agree."""
    packet = packet_between(state, source, destination, "TCP", port)
    allowed = evaluate(state, packet).allowed
    assert decide(Compiler().compile(state), state, packet).allowed is allowed
    return allowed


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"orchestrator": None}, "spec.orchestrator: required, but missing"),
        ({"workload": None}, "spec.workload: required, but missing"),
        ({"node": None}, "spec.node: required, but missing"),
        ({"orchestrator": "k8s"}, "spec.orchestrator: endpoints of pods are made from the pods; apply the Pod instead"),
        ({"pod": "web"}, "spec.orchestrator: endpoints of pods are made from the pods; apply the Pod instead"),
        ({"ipNetworks": []}, "spec.ipNetworks: required, but missing; give its address, such as 10.244.0.7/32"),
        ({"ipNetworks": ["10.0.0.0/24"]}, "is more than one address; write /32, or /128 for IPv6"),
        ({"ipNetworks": ["10.0.0.1", "10.0.0.2"]}, "is a second IPv4 address; a workload has one of each family"),
        ({"interfaceName": "tap0"}, "a workload's interface begins with cali and has at most 15 characters"),
        ({"ports": [{"name": "http"}]}, "spec.ports[0].protocol: required, but missing"),
        ({"ipNATs": [{"internalIP": "10.0.0.1"}]}, "floating addresses are not supported; leave the field out"),
        ({"allowSpoofedSourcePrefixes": ["10.0.0.0/8"]}, "needs workloadSourceSpoofing: Any, which is not supported"),
        ({"hostname": "x"}, "spec.hostname: unknown field"),
    ],
)
def test_wrong_ones_are_refused(spec, message):
    """Each fault names its field and says what to do."""
    with pytest.raises(ManifestError) as caught:
        load(vm(**spec))
    assert message in str(caught.value)


def test_calico_policy_selects_it_like_a_pod():
    """A Calico policy governs it by its labels, and its port may be named (RULE-6)."""
    state = load_state(
        SHOP,
        VM,
        calico(
            selector="app == 'legacy'",
            ingress=[
                {
                    "action": "Allow",
                    "protocol": "TCP",
                    "source": {"selector": "app == 'web'"},
                    "destination": {"ports": ["http"]},
                }
            ],
        ),
    )
    assert both(state, "shop/web", "shop/legacy", 8080)
    assert not both(state, "shop/web", "shop/legacy", 80)
    assert not both(state, "shop/api", "shop/legacy", 8080)


def test_kubernetes_policy_never_sees_it():
    """A Kubernetes policy neither selects it (K8S-6) nor takes it for a peer (K8S-9), unless by address."""
    state = load_state(SHOP, VM, kubernetes(ingress=[{"from": [{"podSelector": {}}]}]))
    assert both(state, "shop/web", "shop/legacy", 80)
    assert not both(state, "shop/legacy", "shop/web", 80)
    block = {"ipBlock": {"cidr": "10.244.200.0/24"}}
    assert both(load_state(SHOP, VM, kubernetes(ingress=[{"from": [block]}])), "shop/legacy", "shop/web", 80)


def test_named_port_without_a_peer_is_any_endpoints():
    """A named port of a rule without a peer is that of any endpoint that declares it (RULE-6, K8S-10)."""
    policy = kubernetes(policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}]}])
    state = load_state(SHOP, VM, policy)
    assert both(state, "shop/db", "shop/legacy", 8080)
    assert not both(state, "shop/db", "shop/legacy", 80)


def test_without_profile_nothing_reaches_it():
    """With no policy and no profile it drops everything (POL-15), and it has none of its namespace's labels (SEL-9)."""
    state = load_state(SHOP, vm(profiles=[]))
    assert not both(state, "shop/web", "shop/legacy", 80)
    by_namespace = calico(
        selector="app == 'web'",
        ingress=[{"action": "Allow", "source": {"namespaceSelector": "team == 'shop'"}}],
    )
    assert not both(load_state(SHOP, vm(profiles=["kns.other"]), by_namespace), "shop/legacy", "shop/web", 80)
    assert both(load_state(SHOP, VM, by_namespace), "shop/legacy", "shop/web", 80)


@pytest.mark.parametrize(
    ("profiles", "arrives"),
    [
        (["gone"], False),
        (["gone", "kns.shop"], False),
        (["kns.shop", "gone"], True),
        (["kns.gone", "kns.shop"], False),
        (["ksa.shop.gone", "kns.shop"], False),
        (["idle", "kns.shop"], True),
        (["idle", "gone", "kns.shop"], False),
    ],
)
def test_a_profile_that_does_not_exist_denies_all(profiles, arrives):
    """POL-16: as soon as its turn comes, whatever profiles follow; one that exists and is silent does not."""
    idle = {"apiVersion": "projectcalico.org/v3", "kind": "Profile", "metadata": {"name": "idle"}}
    state = load_state(SHOP, idle, vm(profiles=profiles))
    assert both(state, "shop/web", "shop/legacy", 80) is arrives
    assert both(state, "shop/legacy", "shop/web", 80) is arrives


def test_a_profile_comes_to_exist():
    """POL-16: the denial ends when the profile is applied, and policy that decides before is not asked about it."""
    late = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "Profile",
        "metadata": {"name": "late"},
        "spec": {"ingress": [{"action": "Allow"}]},
    }
    machine = vm(profiles=["late"])
    assert not both(load_state(SHOP, machine), "shop/web", "shop/legacy", 80)
    assert both(load_state(SHOP, machine, late), "shop/web", "shop/legacy", 80)
    policy = calico(selector="projectcalico.org/orchestrator == 'libvirt'", ingress=[{"action": "Allow"}])
    assert both(load_state(SHOP, machine, policy), "shop/web", "shop/legacy", 80)


def test_its_addresses_are_its_own():
    """An address in a pool is taken in IPAM, so that no pod gets it, and given back with it (IPAM-12, IPAM-13)."""
    state = load_state(SHOP, VM)
    held = [a.handle for block in state.blocks.values() for a in block.allocations.values() if "libvirt" in a.handle]
    assert held == ["libvirt.shop.legacy"] * 2
    after = commands.delete(state, [load(VM).resources[0].key], now=0.0).state
    assert ("shop", "legacy") not in after.endpoints
    assert "libvirt.shop.legacy" not in after.handles


def test_an_address_in_no_pool_sees_the_node():
    """Pods of a natOutgoing pool come to it from another node masqueraded, and their labels are lost (NAT-1)."""
    rules = [{"action": "Deny", "source": {"selector": "app == 'web'"}}, {"action": "Allow"}]
    by_label = calico(selector="app == 'legacy'", ingress=rules)
    assert not both(load_state(SHOP, vm(node="node-2"), by_label), "shop/web", "shop/legacy", 80)
    outside = load_state(SHOP, vm(node="node-2", ipNetworks=["10.65.0.7/32"]), by_label)
    assert both(outside, "shop/web", "shop/legacy", 80)
    assert not any("libvirt" in handle for handle in outside.handles)


def test_names_are_not_shared():
    """A machine may not have a pod's name, nor a pod a machine's, in one namespace."""
    with pytest.raises(RefusedError, match="is the name of another workload"):
        load_state(SHOP, vm(workload="web"))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "legacy", "namespace": "shop"}, "spec": {}}
    state = load_state(SHOP, VM)
    with pytest.raises(RefusedError, match="a WorkloadEndpoint has the name shop/legacy"):
        commands.apply(state, load(pod).resources, now=0.0)
