"""Expectations held against the oracle and a network that is made up: agreement, disagreement, no evidence."""

from __future__ import annotations

import msgspec
import pytest

from scenarios.checks import Checker, all_pairs, compare, flows, members
from scenarios.load import load_scenario
from scenarios.schema import AllPairs, Expectation, Flow, Selection

SCENARIO = """\
name: a-lesson
title: A lesson
lesson: Only the API reaches the database.
manifests:
  - {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
  - {apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {containers: []}}
  - {apiVersion: v1, kind: Pod, metadata: {name: api, namespace: shop, labels: {app: api}}, spec: {containers: []}}
  - {apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, spec: {containers: []}}
  - apiVersion: projectcalico.org/v3
    kind: NetworkPolicy
    metadata:
      name: db
      namespace: shop
    spec:
      selector: app == 'db'
      ingress:
        - action: Allow
          source:
            selector: app == 'api'
        # nobody else
        - action: Deny
          source: {selector: app == 'web'}
expect:
  - oracle: {}
"""


@pytest.fixture
def loaded(tmp_path):
    """The scenario, loaded."""
    file = tmp_path / "a-lesson.yaml"
    file.write_text(SCENARIO)
    return load_scenario(file)


@pytest.fixture
def checker(loaded, rehearsal):
    """A checker over a rehearsal in which the manifests are applied: `checker(**wrong)`."""

    def made(**wrong):
        rehearsal.wrong = wrong
        session = rehearsal()
        session.apply_resources([item.resource for item in loaded.start])
        return Checker(session, loaded)

    return made


def flow(source="shop/web", to="shop/db", ports=("80/TCP",), family=4):
    """A flow expectation's body."""
    return Flow(from_=source, to=to, ports=ports, family=family)


VOICES = [
    # expected, oracle, kernel          status
    (True, True, "allowed", "passed"),
    (False, False, "denied", "passed"),
    (None, True, "allowed", "passed"),
    (None, False, "denied", "passed"),
    (None, True, "denied", "failed"),
    (None, False, "allowed", "failed"),
    (True, False, "denied", "failed"),
    (True, False, "allowed", "failed"),
    (False, True, "denied", "failed"),
    (False, False, "allowed", "failed"),
    (None, False, "unknown", "unknown"),
    (None, False, "unreachable", "unknown"),
    (None, True, "unknown", "unknown"),
    (False, False, "unknown", "unknown"),
    (False, True, "unknown", "failed"),
]


@pytest.mark.parametrize(("expected", "oracle", "kernel", "status"), VOICES)
def test_all_voices_must_agree(checker, expected, oracle, kernel, status):
    """Silence is no denial: a kernel without evidence agrees with nobody."""
    session = checker()._session
    outcome = session.probe_many(flows(session.state, flow()))[0]
    assert compare(expected, oracle, msgspec.structs.replace(outcome, result=kernel)) == status


def test_what_agrees_passes(checker):
    """Expectations of both kinds, and the oracle's for all pairs, hold in a network that does as the oracle says."""
    one = checker()
    one.check(0, (Expectation(allow=flow("shop/api")), Expectation(deny=flow()), Expectation(oracle=AllPairs())))
    assert {check.status for check in one.checks} == {"passed"}
    pods, hosts = 3, 4  # node-1, node-2, internet, office
    pairs = pods * pods + 2 * pods * hosts
    assert [sum(c.expected is None and c.family == family for c in one.checks) for family in (4, 6)] == [pairs, pairs]
    assert [check.expected for check in one.checks[:2]] == [True, False]
    assert all(check.blame == () and check.oracle_trace == "" for check in one.checks)


def test_a_wrong_hope_is_blamed_on_the_rule_and_its_line(checker, loaded):
    """The oracle's deciding rule is named with the scenario file's line and its text, beside both traces."""
    one = checker()
    one.check(0, (Expectation(allow=flow()),))
    (check,) = one.checks
    assert (check.status, check.oracle, check.kernel) == ("failed", False, "denied")
    egress, ingress = check.blame
    assert (egress.policy, egress.file, egress.action) == ("pro:kns.shop", "", "allow")
    assert (ingress.policy, ingress.rule, ingress.action) == ("np:shop/db", 1, "deny")
    assert ingress.file == str(loaded.path)
    assert SCENARIO.splitlines()[ingress.line - 1].strip() == "- action: Deny"
    assert ingress.text == "- action: Deny\n  source: {selector: app == 'web'}"
    assert ingress.end == "ingress of shop/db"
    assert "rule 1" in check.oracle_trace
    assert "DENIED: so it was" in check.kernel_trace
    assert check.kernel_blame == "deny by rule 1 of np:shop/db (ingress, tier default)"


def test_the_quoted_rule_ends_where_it_ends(checker):
    """A comment after a rule, and the next rule, are not quoted with it."""
    one = checker(**{"shop/api>shop/db": "denied"})
    one.check(0, (Expectation(oracle=AllPairs(family=4)),))
    (check,) = [check for check in one.checks if check.status == "failed"]
    assert check.blame[-1].text == "- action: Allow\n  source:\n    selector: app == 'api'"


def test_the_end_of_a_tier_is_blamed_on_the_name_of_the_policy(checker):
    """Where no rule matched, the line is the one that names the policy."""
    one = checker()
    one.check(0, (Expectation(allow=flow("internet")),))
    (blame,) = one.checks[0].blame
    assert (blame.rule, blame.tier, blame.text) == (-1, "default", "name: db")
    assert SCENARIO.splitlines()[blame.line - 1].strip() == "name: db"


def test_a_pod_reaches_itself(checker):
    """No policy is asked about a pod and itself."""
    one = checker()
    one.check(0, (Expectation(allow=flow("shop/db", "shop/db")),))
    assert [check.status for check in one.checks] == ["passed"]


def test_a_kernel_that_differs_is_found(checker):
    """One flow that the kernel decides otherwise is one mismatch, among all pairs."""
    one = checker(**{"shop/api>shop/db": "denied"})
    one.check(0, (Expectation(oracle=AllPairs(family=4)),))
    assert [check.flow for check in one.checks if check.status != "passed"] == ["shop/api -> shop/db 80/TCP (IPv4)"]


def test_no_evidence_is_unknown_and_explained(checker):
    """A probe without evidence does not pass, and its trace is fetched."""
    one = checker(**{"shop/web>shop/db": "unknown"})
    one.check(0, (Expectation(deny=flow()),))
    (check,) = one.checks
    assert check.status == "unknown"
    assert one._session.explained == 1


def test_only_some_mismatches_are_traced(checker, monkeypatch):
    """A trace costs a probe: beyond a number of mismatches the rest go without; each keeps the oracle's walk."""
    monkeypatch.setattr("scenarios.checks.MOST_EXPLAINED", 2)
    one = checker()
    one.check(0, (Expectation(allow=flow(ports=("1/TCP", "2/TCP", "3/TCP"))),))
    assert [bool(check.kernel_trace) for check in one.checks] == [True, True, False]
    assert all(check.oracle_trace for check in one.checks)


NOBODY = [
    Expectation(allow=flow(Selection(selector="app == 'wbe'"))),
    Expectation(deny=flow(to=Selection(namespace="shpo"))),
    Expectation(unreachable=flow(to=Selection(namespace="shpo"))),
    Expectation(encrypted=flow(to=Selection(namespace="shpo"))),
    Expectation(clear=flow(to=Selection(namespace="shpo"))),
]


@pytest.mark.parametrize("expectation", NOBODY)
def test_an_expectation_about_nobody_is_no_evidence(checker, expectation):
    """A selection of no pods would hold of anything: it is unknown, and says whom it sought."""
    one = checker()
    one.check(0, (Expectation(allow=flow("shop/api")), expectation))
    (seen,) = one.observations
    assert seen.status == "unknown"
    assert seen.title.startswith("expect[1].")
    assert "shpo" in seen.detail or "wbe" in seen.detail
    assert [check.status for check in one.checks] == ["passed"]


def test_selections(checker):
    """A peer is a name, or the pods of a namespace, or of a selector, or of both."""
    state = checker()._session.state
    assert members(state, "node-1") == ["node-1"]
    assert members(state, Selection()) == ["shop/api", "shop/db", "shop/web"]
    assert members(state, Selection(namespace="default")) == []
    assert members(state, Selection(selector="app in {'web', 'db'}")) == ["shop/db", "shop/web"]
    assert members(state, Selection(namespace="shop", selector="app != 'db'")) == ["shop/api", "shop/web"]


def test_selected_pods_do_not_probe_themselves_but_a_named_one_does(checker):
    """Pairs of a selection leave out the pod itself; a pod named twice means just that."""
    state = checker()._session.state
    everyone = [(probe.source, probe.destination) for probe in flows(state, flow(Selection(), Selection()))]
    assert len(everyone) == 6
    assert all(source != destination for source, destination in everyone)
    assert len(list(flows(state, flow("shop/db", "shop/db")))) == 1


def test_families_are_those_both_ends_have(checker):
    """Without a family every one that both ends have is probed; with one, that alone."""
    state = checker()._session.state
    both = {probe.family for probe in flows(state, flow(family=None))}
    assert both == {6 if ":" in address else 4 for address in state.endpoints["shop", "web"].addresses}
    assert {probe.family for probe in flows(state, flow(family=4))} == {4}
    assert {probe.family for probe in all_pairs(state, AllPairs(family=4))} == {4}


WIRES = [
    # name         on the wire                     status
    ("encrypted", {"encrypted": 4, "clear": 0}, "passed"),
    ("encrypted", {"encrypted": 4, "clear": 1}, "failed"),
    ("encrypted", {"encrypted": 0, "clear": 0}, "failed"),
    ("clear", {"encrypted": 0, "clear": 4}, "passed"),
    ("clear", {"encrypted": 1, "clear": 4}, "failed"),
    ("clear", {"encrypted": 0, "clear": 0}, "failed"),
]


@pytest.mark.parametrize(("name", "wire", "status"), WIRES)
def test_what_is_on_the_wire(checker, name, wire, status):
    """Encrypted means WireGuard and nothing in clear; in clear means the packets and no WireGuard. None is neither."""
    one = checker()
    one._session.wire = wire
    one.check(0, (Expectation(**{name: flow("shop/api")}),))
    assert [seen.status for seen in one.observations] == [status]


@pytest.mark.parametrize("name", ["encrypted", "clear"])
def test_a_flow_that_does_not_get_through_is_neither(checker, name):
    """What the wire shows of a flow that policy denies is no proof."""
    one = checker()
    one._session.wire = {"encrypted": 4, "clear": 4}
    one.check(0, (Expectation(**{name: flow()}),))
    (seen,) = one.observations
    assert seen.status == "failed"
    assert "1 of 1 flows did not get through" in seen.detail


UNREACHABLE = [("unreachable", "passed"), ("unknown", "passed"), ("allowed", "failed"), ("denied", "failed")]


@pytest.mark.parametrize(("result", "status"), UNREACHABLE)
def test_unreachable_is_neither_an_answer_nor_a_drop(checker, result, status):
    """An answer, or a kernel that drops by policy, shows that the way is not broken."""
    one = checker(**{"shop/web>shop/api": result})
    one.check(0, (Expectation(unreachable=flow(to="shop/api")),))
    assert [seen.status for seen in one.observations] == [status]
