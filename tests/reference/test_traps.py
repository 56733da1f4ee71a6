"""Every trap of semantics section 5, by number: the test that shows Muslin does not fall into it.

`TRAPS` maps a trap to its statements and its tests, here or elsewhere; or says why there is none yet. Whoever adds what
a trap is about adds the test and its name here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from reference.analysis.lint import lint
from reference.loading import load_state
from reference.naming import packet_between, parse_port
from reference.policy import allowed
from reference.policy.view import view_of
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.resources import HostEndpoint, ManifestError, parse
from reference.state import State

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Trap:
    """One row of the table of section 5: statements, tests (functions here, or `path::function`), else why not."""

    about: str
    ids: tuple[str, ...]
    tests: tuple[str, ...] = ()
    not_yet: str = ""


_SERVICES = "tests/reference/test_services.py::test_services"
_IPAM = "tests/reference/test_ipam.py::"
_REFUSED = "tests/emulator/test_build.py::test_dataplanes_that_would_leave_rules_out_are_refused"
_CLUSTER = "tests/reference/test_cluster_policies.py::"

TRAPS: dict[int, Trap] = {
    1: Trap(
        "ANP and BANP are gone", ("K8S-12",),
        ("test_admin_and_baseline_tiers_are_there", f"{_CLUSTER}test_one_policy"),
    ),
    2: Trap("ties by name/namespace/kind", ("POL-3",), ("test_ties_are_broken_by_bare_names",)),
    3: Trap("a missing tier is enforced", ("POL-4",), ("test_missing_tier_is_the_last_and_denies",)),
    4: Trap("an all-staged tier is absent", ("POL-13",), ("test_all_staged_tier_is_absent",)),
    5: Trap("Pass in a profile", ("POL-14",), ("test_pass_in_a_profile_goes_on_to_the_next",)),
    6: Trap("notNets of one family", ("RULE-13",), ("test_not_nets_take_the_rule_out_of_the_other_family",)),
    7: Trap("a lone notSelector", ("RULE-7",), ("test_lone_not_selector_matches_the_internet",)),
    8: Trap("readiness is ignored", ("RULE-12",), (_SERVICES,)),
    9: Trap("an ipBlock that does not parse", ("K8S-9",), ("test_bad_ip_block_is_refused",)),
    10: Trap("`- {}` is all of TCP", ("K8S-10",), ("test_empty_port_entry_is_tcp",)),
    11: Trap("a HEP without policy", ("HEP-7", "HEP-3"), ("test_host_endpoint_without_policy_locks_its_host",)),
    12: Trap("automatic HEPs allow", ("HEP-8",), ("test_automatic_host_endpoints_allow",)),
    13: Trap("doNotTrack on *", ("HEP-4",), ("test_untracked_policy_is_ignored_on_all_interfaces",)),
    14: Trap("no failsafes for forwarded traffic", ("HEP-3",), ("test_failsafes_are_for_the_host_alone",)),
    15: Trap("forward policy of * touches pods", ("HEP-11",), ("test_forward_policy_of_all_interfaces_touches_pods",)),
    16: Trap("pod to its own host", ("HEP-12",), ("test_pod_to_its_own_node_is_dropped_after_egress",)),
    17: Trap("host to local pod", ("CT-1",), ("test_node_always_reaches_its_pods",)),
    18: Trap(
        "established flows outlive policy", ("CT-2",),
        ("tests/emulator/test_nftables_live.py::test_connections_outlive_policy",),
    ),
    19: Trap(
        "the block limit", ("IPAM-6",),
        (
            f"{_IPAM}test_block_limit_does_not_fall_through_to_borrowing",
            f"{_IPAM}test_block_limit_counts_only_the_candidate_pools",
        ),
    ),
    20: Trap("requested pools ignore selectors", ("IPAM-4",), (f"{_IPAM}test_named_pool_ignores_selectors_and_mode",)),
    21: Trap("disabled pools suppress SNAT", ("NAT-1",), ("test_disabled_pool_still_suppresses_snat",)),
    22: Trap(
        "Felix owns IPIP routes", ("2h.1",), ("tests/emulator/test_build.py::test_overlays_are_said_not_to_be_there",)
    ),
    23: Trap(
        "a peer without WireGuard", ("WG-5",),
        ("tests/encryption/test_peers.py::test_what_is_not_encrypted_is_thrown_back_to_the_main_table",),
    ),
    24: Trap("L7 prefixes", ("L7-4", "L7-5"), ("test_http_paths_are_checked_and_never_judged",)),
    25: Trap("http is ignored at L4", ("RULE-15", "L7-9"), ("test_http_is_ignored_at_l4",)),
    26: Trap(
        "end-of-tier of the two traces", ("FL-6",),
        (
            "tests/reference/test_policy_pending.py::test_traces",
            "tests/reference/test_preview.py::test_replacing_differs_from_the_pending_walk",
        ),
    ),
    27: Trap("Windows drops Deny rules", ("WIN-2",), (_REFUSED,)),
    28: Trap("VPP has no tiers", ("1.5", "3.5"), (_REFUSED,)),
    29: Trap(
        "eBPF: doNotTrack egress", ("BPF-8",),
        ("tests/emulator/test_ebpf_encode.py::test_lists_of_an_interface",),
    ),
    30: Trap("domains", ("2k",), ("test_domains_are_refused",)),
}  # fmt: skip


# -- the table is complete ---------------------------------------------------------------------------------------------


def test_table_is_complete() -> None:
    """Every trap from 1 to 30 has a test, or a reason why not; not both."""
    assert sorted(TRAPS) == list(range(1, 31))
    assert all(bool(trap.tests) != bool(trap.not_yet) for trap in TRAPS.values())


@pytest.mark.parametrize(
    ("number", "test"), [(number, test) for number, trap in TRAPS.items() for test in trap.tests if "::" not in test]
)
def test_named_here(number: int, test: str) -> None:
    """A test of this file that the table names exists, and names its trap and the statements."""
    text = globals()[test].__doc__
    assert f"Trap {number}" in text
    assert all(statement in text for statement in TRAPS[number].ids)


@pytest.mark.parametrize("test", sorted({test for trap in TRAPS.values() for test in trap.tests if "::" in test}))
def test_named_elsewhere(test: str) -> None:
    """A test of another file that the table names exists."""
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


# -- the traps ---------------------------------------------------------------------------------------------------------

PODS = """
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {nodeName: n1},
 status: {podIPs: [{ip: 10.244.0.1}, {ip: "fd00:10:244::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, spec: {nodeName: n1},
 status: {podIPs: [{ip: 10.244.0.2}, {ip: "fd00:10:244::2"}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 172.30.1.11}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 172.30.1.12}]}}
"""
WEB, DB, N1, INTERNET, INTERNET_6 = "shop/web", "shop/db", "172.30.1.11", "203.0.113.9", "2001:db8::9"


def cluster(*manifests: str) -> State:
    """Two pods of one namespace on one of two nodes, and the manifests."""
    return load_state(*parse("\n---\n".join((PODS, *manifests))).resources)


def calico(kind: str, name: str, spec: str) -> str:
    """A Calico manifest; namespaced kinds in shop."""
    place = ", namespace: shop" if kind.endswith("NetworkPolicy") and "Global" not in kind else ""
    return f"{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}{place}}}, spec: {{{spec}}}}}"


def kubernetes(name: str, spec: str) -> str:
    """A Kubernetes NetworkPolicy in shop."""
    meta = f"metadata: {{name: {name}, namespace: shop}}"
    return f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, {meta}, spec: {{{spec}}}}}"


def passes(state: State, source: str, destination: str, port: str = "80/TCP") -> bool:
    """Whether the packet passes, as both roads say."""
    number, protocol = parse_port(port)
    packet = packet_between(state, source, destination, protocol, number, family=6 if ":" in source else None)
    said = allowed(state, packet)
    assert decide(Compiler().compile(state), state, packet).allowed == said
    return said


def test_admin_and_baseline_tiers_are_there() -> None:
    """Trap 1 (K8S-12): tiers kube-admin and kube-baseline are in every cluster, first and last, and end in Pass."""
    tiers = [(tier.name, tier.default_action) for tier in view_of(cluster()).tiers]
    assert tiers == [("kube-admin", "Pass"), ("default", "Deny"), ("kube-baseline", "Pass")]


def test_ties_are_broken_by_bare_names() -> None:
    """Trap 2 (POL-3): at equal order the bare name decides, not one with a `knp.default.` prefix; then namespace, kind.

    With the prefix of older releases, `knp.default.a` would stand after the Calico policy `b` that denies.
    """
    state = cluster(
        kubernetes("a", "podSelector: {}, ingress: [{}]"),
        calico("NetworkPolicy", "b", "order: 1000, types: [Ingress], ingress: [{action: Deny}]"),
    )
    assert passes(state, WEB, DB)
    both = (
        calico("NetworkPolicy", "a", "order: 1, types: [Ingress], ingress: [{action: Deny}]"),
        calico("GlobalNetworkPolicy", "a", "order: 1, types: [Ingress], ingress: [{action: Allow}]"),
    )
    assert passes(cluster(*both), WEB, DB)  # `a//GlobalNetworkPolicy` sorts before `a/shop/NetworkPolicy`


def test_missing_tier_is_the_last_and_denies() -> None:
    """Trap 3 (POL-4): a policy of a tier that does not exist is enforced, after all others, and its tier denies."""
    elsewhere = calico("NetworkPolicy", "p", "tier: nowhere, types: [Ingress], ingress: [{action: Pass}]")
    nothing = calico("NetworkPolicy", "p", "tier: nowhere, selector: app == 'db', types: [Ingress]")
    baseline = calico("GlobalNetworkPolicy", "q", "tier: kube-baseline, types: [Ingress], ingress: [{action: Allow}]")

    assert passes(cluster(elsewhere), WEB, DB)  # enforced: Pass leads on to the profiles
    assert not passes(cluster(nothing), WEB, DB)  # and its end denies
    assert passes(cluster(nothing, baseline), WEB, DB)  # after kube-baseline even
    assert [finding.id for finding in lint(cluster(elsewhere))] == ["MUS301"]


def test_all_staged_tier_is_absent() -> None:
    """Trap 4 (POL-13): a tier whose policies are all staged decides nothing, not even at its end."""
    staged = "selector: app == 'db', types: [Ingress], ingress: [{action: Deny}]"
    enforced = "selector: app == 'db', types: [Ingress], ingress: [{action: Log}]"

    assert passes(cluster(calico("StagedNetworkPolicy", "p", staged)), WEB, DB)
    both = (calico("StagedNetworkPolicy", "p", staged), calico("NetworkPolicy", "q", enforced))
    assert not passes(cluster(*both), WEB, DB)  # one enforced policy, and the tier's end denies


def test_pass_in_a_profile_goes_on_to_the_next() -> None:
    """Trap 5 (POL-14): the baseline is what iptables and nftables do, the next profile decides; and lint says so."""
    state = cluster(calico("Profile", "first", "ingress: [{action: Pass}], egress: [{action: Pass}]"))
    own = msgspec.structs.replace(state.endpoints["shop", "db"], profiles=("first", "kns.shop"))
    ahead = replace(state, endpoints=state.endpoints.set(("shop", "db"), own))
    alone = msgspec.structs.replace(own, profiles=("first",))
    only = replace(state, endpoints=state.endpoints.set(("shop", "db"), alone))

    assert passes(ahead, WEB, DB)
    assert not passes(only, WEB, DB)
    assert {finding.id for finding in lint(state)} == {"MUS701"}


def test_not_nets_take_the_rule_out_of_the_other_family() -> None:
    """Trap 6 (RULE-13): notNets of IPv4 keep a rule from ever matching IPv6; a /0 among them is refused."""
    rule = "action: Allow, source: {notNets: [10.0.0.0/8]}"
    state = cluster(calico("NetworkPolicy", "p", f"selector: app == 'db', ingress: [{{{rule}}}]"))

    assert passes(state, INTERNET, "10.244.0.2")
    assert not passes(state, INTERNET_6, "fd00:10:244::2")
    assert [finding.id for finding in lint(state)] == ["MUS402"]
    with pytest.raises(ManifestError, match="excludes every address"):
        cluster(calico("NetworkPolicy", "p", "ingress: [{action: Allow, source: {notNets: [0.0.0.0/0]}}]"))


def test_lone_not_selector_matches_the_internet() -> None:
    """Trap 7 (RULE-7): a lone notSelector of a global policy matches addresses of nobody; of a namespaced one none."""
    spec = "selector: app == 'db', types: [Ingress], ingress: [{action: Allow, source: {notSelector: app == 'x'}}]"
    everywhere, here = cluster(calico("GlobalNetworkPolicy", "p", spec)), cluster(calico("NetworkPolicy", "p", spec))

    assert passes(everywhere, INTERNET, DB)
    assert not passes(here, INTERNET, DB)
    assert passes(everywhere, WEB, DB)
    assert passes(here, WEB, DB)
    assert "MUS405" in {finding.id for finding in lint(everywhere)}
    assert "MUS405" not in {finding.id for finding in lint(here)}


@pytest.mark.parametrize("cidr", ["10.0.0.0/33", "10.0.0", "everything", "fd00::/129"])
def test_bad_ip_block_is_refused(cidr: str) -> None:
    """Trap 9 (K8S-9): an ipBlock whose CIDR does not parse is refused, with its line; it never fails open."""
    with pytest.raises(ManifestError, match=r"cidr") as refused:
        cluster(kubernetes("p", f'podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: "{cidr}"}}}}]}}]'))
    assert refused.value.line


def test_empty_port_entry_is_tcp() -> None:
    """Trap 10 (K8S-10): `- {}` in ports is every TCP port and no other protocol; lint says so."""
    loaded = parse("\n---\n".join((PODS, kubernetes("p", "podSelector: {}, ingress: [{ports: [{}]}]"))))
    state = load_state(*loaded.resources)

    assert passes(state, WEB, DB, "9999/TCP")
    assert not passes(state, WEB, DB, "53/UDP")
    assert not passes(state, WEB, DB, "ICMP")
    assert [finding.id for finding in lint(state, loaded.sources)] == ["MUS501"]


_HOST = "{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: h, labels: {a: b}}, spec: {%s}}"


def test_host_endpoint_without_policy_locks_its_host() -> None:
    """Trap 11 (HEP-7, HEP-3): a host endpoint alone closes its host but for failsafes, and forwards; lint warns."""
    bare = _HOST % "node: n1, interfaceName: eth0"
    open_ = _HOST % "node: n1, interfaceName: eth0, profiles: [projectcalico-default-allow]"
    both = "selector: has(a), ingress: [{action: Allow}], egress: [{action: Allow}]"
    state = cluster(bare)

    assert not passes(state, INTERNET, N1)
    assert not passes(state, N1, INTERNET)
    assert passes(state, INTERNET, N1, "22/TCP")
    assert passes(state, INTERNET, "10.244.0.1")
    assert passes(cluster(open_), INTERNET, N1)
    assert [finding.id for finding in lint(state)] == ["MUS601"]
    assert lint(cluster(open_)) == ()
    assert lint(cluster(bare, calico("GlobalNetworkPolicy", "p", both))) == ()


def test_automatic_host_endpoints_allow() -> None:
    """Trap 12 (HEP-8): automatic host endpoints carry the profile that allows, hand-made ones do not."""
    controllers = "controllers: {node: {hostEndpoint: {autoCreate: Enabled}}}"
    state = cluster(calico("KubeControllersConfiguration", "default", controllers))

    assert [len(list(one.all(HostEndpoint))) for one in (cluster(), state)] == [0, 2]
    assert passes(state, INTERNET, N1)
    assert passes(state, N1, INTERNET)
    assert lint(state) == ()


def test_untracked_policy_is_ignored_on_all_interfaces() -> None:
    """Trap 13 (HEP-4): an untracked policy denies on a named interface and does nothing on `*`; lint says so."""
    spec = "selector: has(a), doNotTrack: true, applyOnForward: true, types: [Ingress], ingress: [{action: Deny}]"
    policy = calico("GlobalNetworkPolicy", "p", spec)
    named, wide = (
        cluster(_HOST % f"node: n1, interfaceName: {name}, profiles: [projectcalico-default-allow]", policy)
        for name in ("eth0", "'*'")
    )

    assert not passes(named, INTERNET, N1)
    assert passes(wide, INTERNET, N1)
    assert lint(named) == ()
    assert [finding.id for finding in lint(wide)] == ["MUS602"]


_FORWARD = "selector: has(a), applyOnForward: true, ingress: [{action: Deny}], egress: [{action: Deny}]"


def test_failsafes_are_for_the_host_alone() -> None:
    """Trap 14 (HEP-3): a failsafe port is open at the host itself, and closed for what the host forwards."""
    state = cluster(_HOST % "node: n1, interfaceName: eth0", calico("GlobalNetworkPolicy", "p", _FORWARD))

    assert passes(state, INTERNET, N1, "22/TCP")
    assert not passes(state, INTERNET, "10.244.0.1", "22/TCP")


def test_forward_policy_of_all_interfaces_touches_pods() -> None:
    """Trap 15 (HEP-11): forward policy of a `*` host endpoint stands between pods of one node; of a named one not."""
    policy = calico("GlobalNetworkPolicy", "p", _FORWARD)
    wide, named = (cluster(_HOST % f"node: n1, interfaceName: {name}", policy) for name in ("'*'", "eth0"))

    assert not passes(wide, WEB, DB)
    assert passes(named, WEB, DB)


def test_pod_to_its_own_node_is_dropped_after_egress() -> None:
    """Trap 16 (HEP-12): a pod does not reach its own node by default; with Accept it does, whatever its policy."""
    accepting = calico("FelixConfiguration", "default", "defaultEndpointToHostAction: Accept")
    locked = _HOST % "node: n1, interfaceName: '*'"

    assert not passes(cluster(), WEB, N1)
    assert passes(cluster(), WEB, "172.30.1.12")
    assert passes(cluster(accepting, locked), WEB, N1)
    assert not passes(cluster(accepting, calico("NetworkPolicy", "p", "types: [Egress]")), WEB, N1)


def test_node_always_reaches_its_pods() -> None:
    """Trap 17 (CT-1): no policy stands between a node and its own pods; another node meets their ingress policy."""
    state = cluster(calico("NetworkPolicy", "p", "types: [Ingress]"))
    assert passes(state, N1, "10.244.0.2")
    assert not passes(state, "172.30.1.12", "10.244.0.2")


def test_disabled_pool_still_suppresses_snat() -> None:
    """Trap 21 (NAT-1): traffic towards a disabled pool keeps its source: the pool stays among the destinations."""
    pools = (
        calico("IPPool", "used", "cidr: 10.244.0.0/16, natOutgoing: true"),
        calico("IPPool", "unused", "cidr: 10.9.0.0/16, disabled: true"),
    )
    program = Compiler().compile(cluster(*pools))["n1"]
    assert program.pools == {"10.244.0.0/16", "10.9.0.0/16"}
    assert program.nat_sources == {"10.244.0.0/16"}


def test_http_is_ignored_at_l4() -> None:
    """Trap 25 (RULE-15, L7-9): a rule with http admits the connection whatever is asked over it."""
    rule = "action: Allow, protocol: TCP, http: {methods: [GET]}"
    state = cluster(calico("NetworkPolicy", "p", f"selector: app == 'db', ingress: [{{{rule}}}]"))

    assert passes(state, WEB, DB)
    assert not passes(state, WEB, DB, "53/UDP")
    assert [finding.id for finding in lint(state)] == ["MUS406"]


def test_http_paths_are_checked_and_never_judged() -> None:
    """Trap 24 (L7-4, L7-5): a path that could not be normalised is refused; where a prefix ends decides nothing."""
    rule = "action: Allow, protocol: TCP, http: {{paths: [{{prefix: '{}'}}]}}"
    for path in ("api", "/api?x=1", "/api#x", "/a b"):
        with pytest.raises(ManifestError, match="path"):
            cluster(calico("NetworkPolicy", "p", f"selector: app == 'db', ingress: [{{{rule.format(path)}}}]"))
    for path in ("/api", "/apix", "/"):
        state = cluster(calico("NetworkPolicy", "p", f"selector: app == 'db', ingress: [{{{rule.format(path)}}}]"))
        assert passes(state, WEB, DB)


def test_domains_are_refused() -> None:
    """Trap 30 (2k): domains are not in open source; a rule with them is refused, not read without them."""
    with pytest.raises(ManifestError, match="domains"):
        cluster(calico("NetworkPolicy", "p", "egress: [{action: Allow, destination: {domains: [example.com]}}]"))
    with pytest.raises(ManifestError, match="allowedEgressDomains"):
        cluster(
            calico("NetworkSet", "s", "allowedEgressDomains: [example.com]").replace(
                "name: s", "name: s, namespace: shop"
            )
        )
