"""The Calico kinds: policies, tiers, network sets, profiles and pools (2b.2, 1.3)."""

from __future__ import annotations

import math
from ipaddress import ip_network

from reference.resources.addresses import parse_cidr
from reference.resources.calico import (
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    GlobalNetworkSet,
    IPPool,
    IPPoolSpec,
    NetworkPolicy,
    NetworkSet,
    Profile,
    Rule,
    Tier,
)
from reference.resources.faults import FieldPath, fail, parsed, shown, suggestion
from reference.resources.names import dns_label
from reference.resources.protected import PROTECTED_TIERS
from reference.resources.validation_metadata import check_labels
from reference.resources.validation_rules import Way, check_rule, check_selector

_MAX_RULES = 1024
_HINTS = ("AssumeNeededOnEveryNode",)
_BLOCK_SIZES = {4: (20, 32), 6: (116, 128)}
_FORBIDDEN = {4: ip_network("169.254.0.0/16"), 6: ip_network("fe80::/10")}


def check_policy(policy: NetworkPolicy | GlobalNetworkPolicy) -> None:
    """A Calico policy: tier, selectors, types, hints and every rule."""
    spec = policy.spec
    problem = dns_label(spec.tier)
    if problem:
        fail(("spec", "tier"), problem)
    _check_order(spec.order)
    check_selector(spec.selector, ("spec", "selector"))
    check_selector(spec.service_account_selector, ("spec", "serviceAccountSelector"))
    for index, direction in enumerate(spec.types):
        if direction in spec.types[:index]:
            fail(("spec", "types", index), f"{direction} is there twice")
    for index, hint in enumerate(spec.performance_hints):
        if hint not in _HINTS:
            near = suggestion(hint, _HINTS) or f"; known: {', '.join(_HINTS)}"
            fail(("spec", "performanceHints", index), f"{shown(hint)} is not a hint{near}")
        if hint in spec.performance_hints[:index]:
            fail(("spec", "performanceHints", index), f"{hint} is there twice")
    if isinstance(spec, GlobalNetworkPolicySpec):
        _check_global_spec(spec)
    _check_rules(spec.ingress, "ingress", namespaced=bool(policy.namespace))
    _check_rules(spec.egress, "egress", namespaced=bool(policy.namespace))


def _check_global_spec(spec: GlobalNetworkPolicySpec) -> None:
    """What the host-endpoint variants of a policy (POL-9) exclude."""
    check_selector(spec.namespace_selector, ("spec", "namespaceSelector"))
    if spec.pre_dnat and spec.do_not_track:
        fail(("spec", "preDNAT"), "cannot be together with doNotTrack")
    if spec.pre_dnat and spec.egress:
        fail(("spec", "egress"), "a preDNAT policy has no egress rules")
    if spec.pre_dnat and "Egress" in spec.types:
        fail(("spec", "types", spec.types.index("Egress")), "a preDNAT policy cannot govern Egress")
    for name, value in (("preDNAT", spec.pre_dnat), ("doNotTrack", spec.do_not_track)):
        if value and not spec.apply_on_forward:
            fail(("spec", name), "needs applyOnForward: true")


def _check_rules(rules: tuple[Rule, ...], way: Way, *, namespaced: bool) -> None:
    if len(rules) > _MAX_RULES:
        fail(("spec", way), f"{len(rules)} rules; at most {_MAX_RULES}")
    for index, rule in enumerate(rules):
        check_rule(rule, way, ("spec", way, index), namespaced=namespaced)


def _check_order(order: float | None) -> None:
    if order is not None and not math.isfinite(order):
        fail(("spec", "order"), f"{order} is not a number to sort by; leave the field out to sort last")


def check_tier(tier: Tier) -> None:
    """A tier's order is a number, and a built-in tier stays as it is (POL-2); its name is checked with the metadata."""
    _check_order(tier.spec.order)
    pinned = PROTECTED_TIERS.get(tier.name)
    if pinned is not None and tier.spec != pinned:
        fail(
            ("spec",),
            f"tier {tier.name} is built in: its order stays {pinned.order:.0f} and its defaultAction "
            f"{pinned.default_action}; make a tier of your own instead",
        )


def check_network_set(network_set: NetworkSet | GlobalNetworkSet) -> None:
    """Every net is an address or a CIDR of either family (NS-3)."""
    for index, net in enumerate(network_set.spec.nets):
        parsed(lambda text: parse_cidr(text, host_bits=True, bare=True), net, ("spec", "nets", index))


def check_profile(profile: Profile) -> None:
    """Labels to apply, and rules like those of a global policy."""
    check_labels(profile.spec.labels_to_apply, ("spec", "labelsToApply"))
    _check_rules(profile.spec.ingress, "ingress", namespaced=False)
    _check_rules(profile.spec.egress, "egress", namespaced=False)


def check_pool(pool: IPPool) -> None:
    """All of 1.3 that one pool alone can break; `admission` knows about the others."""
    spec = pool.spec
    cidr_path: FieldPath = ("spec", "cidr")
    network = parsed(parse_cidr, spec.cidr, cidr_path)
    if network.overlaps(_FORBIDDEN[network.version]):
        fail(cidr_path, f"{spec.cidr} overlaps the link-local range {_FORBIDDEN[network.version]}")
    lowest, highest = _BLOCK_SIZES[network.version]
    size = spec.block_size
    if size is not None and not lowest <= size <= highest:
        fail(("spec", "blockSize"), f"{size}: an IPv{network.version} block is a /{lowest} to a /{highest}")
    if size is not None and size < network.prefixlen:
        fail(("spec", "blockSize"), f"a block of /{size} is larger than the pool {spec.cidr}")
    if spec.ipip_mode != "Never" and network.version == 6:
        fail(("spec", "ipipMode"), "IPIP carries IPv4 only; use vxlanMode, or Never")
    if spec.ipip_mode != "Never" and spec.vxlan_mode != "Never":
        fail(("spec", "vxlanMode"), f"{spec.vxlan_mode}, but ipipMode is {spec.ipip_mode}; one of them must be Never")
    check_selector(spec.node_selector, ("spec", "nodeSelector"))
    check_selector(spec.namespace_selector, ("spec", "namespaceSelector"))
    _check_uses(spec)


def _check_uses(spec: IPPoolSpec) -> None:
    path: FieldPath = ("spec", "allowedUses")
    for index, use in enumerate(spec.allowed_uses):
        if use in spec.allowed_uses[:index]:
            fail((*path, index), f"{use} is there twice")
    narrowed = spec.namespace_selector.strip() != "all()"
    if "Tunnel" in spec.allowed_uses and narrowed:
        fail(("spec", "namespaceSelector"), "tunnels belong to no namespace; set allowedUses: [Workload]")
    if "LoadBalancer" not in spec.allowed_uses:
        return
    if len(spec.allowed_uses) > 1:
        fail(path, "LoadBalancer cannot be combined with other uses")
    for name, mode in (("ipipMode", spec.ipip_mode), ("vxlanMode", spec.vxlan_mode)):
        if mode != "Never":
            fail(("spec", name), f"{mode}, but a LoadBalancer pool has no encapsulation")
    if spec.disable_bgp_export:
        fail(("spec", "disableBGPExport"), "a LoadBalancer pool is always exported")
    if spec.node_selector.strip() != "all()":
        fail(("spec", "nodeSelector"), "a LoadBalancer pool belongs to no node; use all()")
