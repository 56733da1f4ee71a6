"""Staged policies: never enforced, and traced as FL-6 says; one line per cluster."""

# ruff: noqa: E501 -- a case is a line

from __future__ import annotations

from typing import Any

import pytest
import yaml

from reference.loading import load_state
from reference.naming import packet_between
from reference.policy import Side, allowed, evaluate
from reference.program.compile import Compiler
from reference.program.types import encode
from reference.resources import parse
from reference.state import State

PODS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: ops}, spec: {order: 10}}
---
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: passing}, spec: {order: 20, defaultAction: Pass}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}},
 spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.2}}
"""
ALLOW, DENY, PASS, LOG = ({"action": action} for action in ("Allow", "Deny", "Pass", "Log"))
KINDS = {
    "np": "NetworkPolicy",
    "gnp": "GlobalNetworkPolicy",
    "snp": "StagedNetworkPolicy",
    "sgnp": "StagedGlobalNetworkPolicy",
}


def policy(what: str, *ingress: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A Calico policy for the ingress of shop/db: "snp:web" is a staged NetworkPolicy of that name."""
    kind, _, name = what.partition(":")
    metadata = {"name": name} | ({"namespace": "shop"} if kind in {"np", "snp"} else {})
    body = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": list(ingress), **spec}
    return {"apiVersion": "projectcalico.org/v3", "kind": KINDS[kind], "metadata": metadata, "spec": body}


def delete(what: str, **spec: Any) -> dict[str, Any]:
    """A staged policy that deletes."""
    return policy(what) | {"spec": {"stagedAction": "Delete", **spec}}


def knp(name: str, *, staged: bool = False, ports: tuple[int, ...] = (80,)) -> dict[str, Any]:
    """A Kubernetes policy, staged or not, that lets ports of shop/db be reached."""
    spec = {"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": [{"port": port} for port in ports]}]}
    api, kind = (
        ("projectcalico.org/v3", "StagedKubernetesNetworkPolicy")
        if staged
        else ("networking.k8s.io/v1", "NetworkPolicy")
    )
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def state_of(*policies: dict[str, Any]) -> State:
    """Two pods and the policies."""
    return load_state(*yaml.safe_load_all(PODS), *policies)


def ingress_of(*policies: dict[str, Any]) -> Side:
    """What shop/db says of web -> db:80/TCP."""
    state = state_of(*policies)
    packet = packet_between(state, "shop/web", "shop/db")
    verdict = evaluate(state, packet)
    assert verdict.allowed == allowed(state, packet)
    assert verdict.ingress is not None
    return verdict.ingress


OPEN = "0|__PROFILE__|pro:kns.shop|allow|0"
CASES: list[tuple[str, list[dict[str, Any]], list[str], list[str]]] = [
    # id, policies, enforced trace, pending trace
    ("POL-13 a staged deny denies nothing", [policy("snp:a", DENY)],
     [OPEN], ["0|default|snp:shop/a|deny|0"]),
    ("POL-13 a staged allow allows nothing", [policy("np:z", DENY, order=5), policy("snp:a", ALLOW, order=1)],
     ["0|default|np:shop/z|deny|0"], ["0|default|snp:shop/a|allow|0"]),
    ("POL-13 trap 4: an all-staged tier is absent", [policy("sgnp:a", tier="ops"), policy("np:z", ALLOW)],
     ["0|default|np:shop/z|allow|0"], ["0|ops|sgnp:a|deny|-1"]),
    ("FL-6 a staged hit keeps its kind and its place", [policy("sgnp:a", PASS, tier="ops"), policy("np:z", ALLOW)],
     ["0|default|np:shop/z|allow|0"], ["0|ops|sgnp:a|pass|0", "1|default|np:shop/z|allow|0"]),
    ("FL-6 enforced hits are numbered without the staged ones", [policy("gnp:g", PASS, tier="ops"), policy("sgnp:s", PASS, tier="passing"), policy("np:z", ALLOW)],
     ["0|ops|gnp:g|pass|0", "1|default|np:shop/z|allow|0"], ["0|ops|gnp:g|pass|0", "1|passing|sgnp:s|pass|0", "2|default|np:shop/z|allow|0"]),
    ("FL-6 trap 26: the end of a tier, last and first", [policy("np:a", order=1), policy("np:b", order=2), policy("np:c", order=3)],
     ["0|default|np:shop/c|deny|-1"], ["0|default|np:shop/a|deny|-1"]),
    ("FL-6 trap 26: the first may be a staged one", [policy("snp:a", order=1), policy("np:b", order=2)],
     ["0|default|np:shop/b|deny|-1"], ["0|default|snp:shop/a|deny|-1"]),
    ("FL-6 trap 26: the last enforced one, though a staged one is behind it", [policy("np:a", order=1), policy("snp:b", order=2)],
     ["0|default|np:shop/a|deny|-1"], ["0|default|np:shop/a|deny|-1"]),
    ("FL-6 a tier that passes at its end", [policy("gnp:a", tier="passing", order=1), policy("gnp:b", tier="passing", order=2)],
     ["0|passing|gnp:b|pass|-1", "1|__PROFILE__|pro:kns.shop|allow|0"], ["0|passing|gnp:a|pass|-1", "1|__PROFILE__|pro:kns.shop|allow|0"]),
    ("FL-6 trap 26: a staged Delete is inert", [policy("np:a", ALLOW), delete("snp:a")],
     ["0|default|np:shop/a|allow|0"], ["0|default|np:shop/a|allow|0"]),
    ("FL-6 a staged Delete does not make its tier count", [delete("sgnp:a", tier="ops")], [OPEN], [OPEN]),
    ("FL-6 Learn is carried", [policy("snp:a", DENY, stagedAction="Learn")], [OPEN], ["0|default|snp:shop/a|deny|0"]),
    ("FL-6 Ignore is carried", [policy("snp:a", DENY, stagedAction="Ignore")], [OPEN], ["0|default|snp:shop/a|deny|0"]),
    ("FL-6 trap 26: of one name both are walked, enforced first", [policy("snp:a", DENY, order=1), policy("np:a", ALLOW, order=1)],
     ["0|default|np:shop/a|allow|0"], ["0|default|np:shop/a|allow|0"]),
    ("FL-6 of one name, by order", [policy("snp:a", DENY, order=1), policy("np:a", ALLOW, order=2)],
     ["0|default|np:shop/a|allow|0"], ["0|default|snp:shop/a|deny|0"]),
    ("POL-3 global kinds of one name: enforced first", [policy("sgnp:a", DENY), policy("gnp:a", ALLOW)],
     ["0|default|gnp:a|allow|0"], ["0|default|gnp:a|allow|0"]),
    ("POL-3 Kubernetes kinds of one name: enforced first", [knp("a", staged=True, ports=(81,)), knp("a")],
     ["0|default|knp:shop/a|allow|0"], ["0|default|knp:shop/a|allow|0"]),
    ("1.1 a staged Kubernetes policy is in tier default", [knp("a", staged=True)],
     [OPEN], ["0|default|sknp:shop/a|allow|0"]),
    ("K8S-6 and has order 1000", [knp("b", staged=True), policy("snp:a", DENY, order=1001), policy("snp:c", DENY, order=1000)],
     [OPEN], ["0|default|sknp:shop/b|allow|0"]),
    ("POL-4 a staged policy of a missing tier comes last", [policy("sgnp:a", DENY, tier="lost"), policy("np:z", PASS)],
     ["0|default|np:shop/z|pass|0", "1|__PROFILE__|pro:kns.shop|allow|0"], ["0|default|np:shop/z|pass|0", "1|lost|sgnp:a|deny|0"]),
    ("POL-10 an untracked staged policy is inert", [policy("sgnp:a", DENY, doNotTrack=True, applyOnForward=True)], [OPEN], [OPEN]),
    ("POL-10 a preDNAT staged policy is inert", [policy("sgnp:a", DENY, preDNAT=True, applyOnForward=True)], [OPEN], [OPEN]),
    ("POL-11 a staged policy that selects others", [policy("snp:a", DENY, selector="app == 'web'")], [OPEN], [OPEN]),
    ("POL-11 a staged policy of the other direction", [policy("snp:a", types=["Egress"])], [OPEN], [OPEN]),
    ("POL-12 Log goes on in the pending walk too", [policy("snp:a", LOG, DENY)], [OPEN], ["0|default|snp:shop/a|deny|1"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("policies", "enforced", "pending"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_traces(policies: list[dict[str, Any]], enforced: list[str], pending: list[str]) -> None:
    """The enforced trace knows no staged policy; the pending one treats them as enforced (FL-6)."""
    side = ingress_of(*policies)

    assert list(side.hit_strings()) == enforced
    assert list(side.pending_hit_strings()) == pending
    assert side.allowed == (side.hits[-1].action == "allow")
    assert side.pending_allowed == (side.pending_hits[-1].action == "allow")


def pending_of_profiles(profiles: tuple[str, ...], *manifests: dict[str, Any]) -> Side:
    """The pending trace of shop/db, were its profiles these."""
    from dataclasses import replace as with_fields

    from msgspec.structs import replace

    state = state_of(*manifests)
    key = ("shop", "db")
    state = with_fields(state, endpoints=state.endpoints.set(key, replace(state.endpoints[key], profiles=profiles)))
    side = evaluate(state, packet_between(state, "shop/web", "shop/db")).ingress
    assert side is not None
    return side


def profile(name: str, *actions: str) -> dict[str, Any]:
    """A Profile of lone actions."""
    spec = {"ingress": [{"action": action} for action in actions]}
    return {"apiVersion": "projectcalico.org/v3", "kind": "Profile", "metadata": {"name": name}, "spec": spec}


PROFILES: list[tuple[str, tuple[str, ...], list[str], bool]] = [
    # id, the endpoint's profiles, pending trace, pending verdict
    ("FL-6 no profile: a hit that names none", (), ["0|__PROFILE__|pro:__PROFILE__|deny|-1"], False),
    ("FL-6 profiles that stay silent leave no hit", ("silent",), [], False),
    ("FL-6 a later profile allows", ("silent", "open"), ["0|__PROFILE__|pro:open|allow|0"], True),
    ("POL-14 a Pass in a profile denies", ("passing", "open"), ["0|__PROFILE__|pro:passing|deny|0"], False),
    ("POL-16 a missing profile denies", ("gone", "open"), ["0|__PROFILE__|pro:gone|deny|-1"], False),
    ("POL-12 a Log in a profile goes on", ("logging",), ["0|__PROFILE__|pro:logging|allow|1"], True),
]


@pytest.mark.parametrize(
    ("profiles", "pending", "allow"), [case[1:] for case in PROFILES], ids=[case[0] for case in PROFILES]
)
def test_profiles(profiles: tuple[str, ...], pending: list[str], allow: bool) -> None:
    """After the tiers the pending walk goes its own way through the profiles (FL-6, POL-14)."""
    manifests = [
        profile("silent"),
        profile("open", "Allow"),
        profile("passing", "Pass"),
        profile("logging", "Log", "Allow"),
    ]
    side = pending_of_profiles(profiles, *manifests)

    assert list(side.pending_hit_strings()) == pending
    assert side.pending_allowed is allow


STAGED = [
    policy("snp:a", DENY), policy("sgnp:a", ALLOW, tier="ops"), policy("sgnp:b", PASS, tier="lost"),
    knp("a", staged=True), delete("snp:z"), policy("snp:l", DENY, stagedAction="Learn"),
]  # fmt: skip


def programs_of(compiler: Compiler, *policies: dict[str, Any]) -> dict[str, bytes]:
    """The canonical bytes of every node's program."""
    return {node: encode(program) for node, program in compiler.compile(state_of(*policies)).items()}


@pytest.mark.parametrize("staged", STAGED, ids=[f"{one['kind']} {one['metadata']['name']}" for one in STAGED])
def test_the_compiler_ignores_staged_policies(staged: dict[str, Any]) -> None:
    """Invariant 2: no program changes by a staged policy, not even by a byte."""
    enforced = [policy("np:z", ALLOW, order=5), policy("gnp:y", DENY)]

    assert programs_of(Compiler(), *enforced, staged) == programs_of(Compiler(), *enforced)


def test_a_compiler_meets_a_staged_policy_later() -> None:
    """Applied to a compiled state, a staged policy leaves the very programs in place."""
    compiler = Compiler()
    before = programs_of(compiler, policy("np:z", ALLOW))

    assert programs_of(compiler, policy("np:z", ALLOW), policy("snp:a", DENY)) == before
    assert programs_of(compiler, policy("np:z", DENY), policy("snp:a", DENY)) != before


def test_selecting_names_staged_policies_in_their_place() -> None:
    """All that select the endpoint are named in the order of the walk, with their orders; staged ones are marked."""
    side = ingress_of(
        policy("np:b", order=2), policy("snp:a", order=2), policy("np:c"), policy("gnp:t", PASS, tier="ops", order=7)
    )

    assert [(one.tier, one.policy, one.order, one.staged) for one in side.selecting] == [
        ("ops", "gnp:t", 7.0, False),
        ("default", "snp:shop/a", 2.0, True),
        ("default", "np:shop/b", 2.0, False),
        ("default", "np:shop/c", None, False),
    ]


def test_the_text_tells_of_staged_policies_only_where_there_are_any() -> None:
    """The pending trace is in the text of an explanation when a staged policy selects the endpoint."""
    texts = []
    for policies in ([policy("np:a", ALLOW)], [policy("np:a", ALLOW, order=2), policy("snp:b", DENY, order=1)]):
        state = state_of(*policies)
        texts.append(evaluate(state, packet_between(state, "shop/web", "shop/db")).explain())

    assert "staged" not in texts[0]
    assert "  if staged policies were enforced: denied\n    0|default|snp:shop/b|deny|0\n" in texts[1]


def test_a_tier_of_staged_policies_is_skipped_and_says_so() -> None:
    """POL-13, trap 4: the explanation names the tier that only staged policies make count, and goes on."""
    side = ingress_of(policy("sgnp:a", DENY, tier="ops"))

    told = {step.tier: step.text for step in side.steps}
    assert told["ops"] == "skipped: no policy in it but staged ones (POL-13) governs ingress of shop/db"
    assert told["passing"] == "skipped: no policy in it governs ingress of shop/db"


def test_a_staged_manifest_is_read_by_kubectl_names() -> None:
    """The kinds come under both of Calico's API groups, like the enforced ones."""
    text = "apiVersion: crd.projectcalico.org/v1\nkind: StagedGlobalNetworkPolicy\nmetadata: {name: a}\n"

    assert type(parse(text).resources[0]).__name__ == "StagedGlobalNetworkPolicy"
