"""What the linter says has no effect has none, in every cluster; and it can tell whom a selector means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from property_tests.properties.edits import with_staged_policies
from property_tests.properties.lint import CLAIMS, with_narrowed_rules, without_the_dead
from property_tests.strategies.choices import Choices, Drawn, Seeded
from property_tests.strategies.clusters import Cluster, cluster, clusters
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.strategies.rules import entity
from property_tests.strategies.vocabulary import ENDPOINT_LABELS, selector
from property_tests.worlds import built, pinned
from reference.analysis.lint import Finding, lint
from reference.analysis.lint.boxes import Backend, Box, Condition, Named, NotOwned, Owned
from reference.analysis.lint.implication import implies, satisfiable
from reference.analysis.lint.labels import entity_scope, seen
from reference.analysis.lint.subject import WAYS, Subject
from reference.analysis.preview import committed
from reference.loading import load_state
from reference.packet import Packet
from reference.policy import allowed
from reference.policy.ordering import Policy
from reference.policy.peers import Peers
from reference.policy.question import Question, ask
from reference.policy.rules import CalicoRule
from reference.resources import load
from reference.resources.calico import EntityRule, Rule
from reference.resources.defaults import defaulted
from reference.resources.staged import STAGED_KINDS
from reference.selectors import parse
from reference.selectors.matching import matcher
from reference.state import State

SEEDS = st.integers(0, 2**32)


def dead(state: State) -> list[Finding]:
    """The findings that claim that something has no effect today."""
    return [finding for finding in lint(state) if finding.id in CLAIMS and not finding.committed]


def differences(resources: Cluster, seed: int, count: int = 80) -> list[tuple[Packet, bool]]:
    """Packets whose verdict changes when all that is called dead is taken out at once."""
    state = built(resources)
    findings = dead(state)
    about = interest(state)
    if not findings or not has_pods(about):
        return []
    whole = [defaulted(resource) for resource in resources]
    rest = built(pinned(without_the_dead(whole, findings), state))
    choices = Seeded(seed)
    packets = [packet(choices, about) for _ in range(count)]
    return [(one, allowed(state, one)) for one in packets if allowed(state, one) != allowed(rest, one)]


@given(resources=clusters(), seed=SEEDS)
def test_the_dead_are_dead(resources: Cluster, seed: int) -> None:
    """Removing every shadowed or unreachable rule, and all that selects or is used by nobody, changes no verdict."""
    assert differences(resources, seed) == []


@given(data=st.data(), seed=SEEDS)
def test_the_dead_are_dead_among_look_alikes(data: st.DataObject, seed: int) -> None:
    """The same where rules resemble each other, so that many are dead and many nearly so."""
    choices = Drawn(data.draw)
    assert differences(with_narrowed_rules(choices, cluster(choices)), seed) == []


@given(data=st.data())
def test_staged_policies_change_no_finding_about_today(data: st.DataObject) -> None:
    """What is found about today is found without them too; only a network set is spared that one of them uses."""
    choices = Drawn(data.draw)
    resources = [one for one in cluster(choices) if not isinstance(one, STAGED_KINDS)]
    without = set(lint(built(resources)))
    found = {one for one in lint(built(with_staged_policies(choices, resources))) if not one.committed}
    today = {one for one in found if one.id[:4] != "MUS8"}
    assert today <= without
    assert {one.id for one in without - today} <= {"MUS204"}


@given(data=st.data())
def test_what_is_said_of_staged_policies_holds_once_they_are_committed(data: st.DataObject) -> None:
    """Every finding that is marked so is one about the state after committing."""
    choices = Drawn(data.draw)
    state = built(with_staged_policies(choices, cluster(choices)))
    after = {(one.id, one.field, one.message) for one in lint(committed(state))}
    marked = [one for one in lint(state) if one.committed]
    assert {(one.id, one.field, one.message.partition(": ")[2]) for one in marked} <= after


def test_many_are_found() -> None:
    """Seeded clusters of look-alikes have findings of every kind that claims something has no effect."""
    found: set[str] = set()
    for seed in range(120):
        choices = Seeded(seed)
        found |= {finding.id for finding in dead(built(with_narrowed_rules(choices, cluster(choices))))}

    assert found == CLAIMS


@pytest.mark.parametrize("seed", range(30))
def test_the_dead_are_dead_seeded(seed: int) -> None:
    """A seeded campaign, denser than the random one."""
    choices = Seeded(f"lint-{seed}")
    assert differences(with_narrowed_rules(choices, cluster(choices)), seed, 200) == []


def holds(condition: Condition, question: Question) -> bool:
    """Report whether the party at a condition's end fulfils it."""
    party = question.source if condition.end == "source" else question.destination
    port = question.source_port if condition.end == "source" else question.destination_port
    assert not isinstance(condition, Backend)
    owners = [owner for owner in party.owners if matcher(condition.who)(seen(owner))]
    if isinstance(condition, Owned | NotOwned):
        return bool(owners) is isinstance(condition, Owned)
    named = any(
        (declared.port, declared.protocol) == (port, question.protocol) and declared.name in condition.names
        for owner in owners
        for declared in owner.ports
    )
    return named is isinstance(condition, Named)


def is_in(box: Box, question: Question) -> bool:
    """Report whether a packet is in a box."""
    icmp = -1 if question.icmp_type is None else question.icmp_type * 256 + question.icmp_code
    values = (
        question.protocol, icmp, question.source_port, question.destination_port, question.source.number,
        question.destination.number,
    )  # fmt: skip
    if box.family != question.family:
        return False
    numbers = all(
        any(low <= value <= high for low, high in field) for value, field in zip(values, box.numbers, strict=True)
    )
    return numbers and all(holds(condition, question) for condition in box.conditions)


def misread(state: State, seed: int, count: int) -> list[str]:
    """Rules whose boxes hold another packet than the oracle says they match."""
    about, choices, found = interest(state), Seeded(seed), []
    if not has_pods(about):
        return []
    peers = Peers(state)
    questions = [ask(peers, packet(choices, about)) for _ in range(count)]
    for policy in Subject(state).policies:
        for way in WAYS:
            prepared = Policy(policy.resource).rules(way)  # type: ignore[arg-type]
            for mine, theirs in zip(policy.rules(way), prepared, strict=True):
                if any(isinstance(part, Backend) for box in mine.boxes for part in box.conditions):
                    continue  # whose endpoints a service has is not the linter's to say
                assert mine.action == theirs.action
                found += [
                    f"{mine}: {question.source.address} {question.destination.address} {question.protocol}"
                    for question in questions
                    if any(is_in(box, question) for box in mine.boxes) != (theirs.miss(question) is None)
                ]
    return found


@given(resources=clusters(), seed=SEEDS)
def test_boxes_are_what_the_oracle_matches(resources: Cluster, seed: int) -> None:
    """The boxes of a rule hold exactly the packets that the oracle says it matches."""
    assert misread(built(resources), seed, 40) == []


def test_boxes_of_every_kind() -> None:
    """The same for the policies that say every field once."""
    everything = load(Path(__file__).parents[1] / "reference" / "every_field.yaml")
    assert misread(load_state(*everything.resources), 1, 1500) == []


def _selector_pair(choices: Choices) -> tuple[str, str]:
    return selector(choices, ENDPOINT_LABELS), selector(choices, ENDPOINT_LABELS)


@given(
    data=st.data(),
    labels=st.dictionaries(
        st.sampled_from(sorted(ENDPOINT_LABELS)), st.sampled_from(["web", "x", "xy", "", "a", "red"])
    ),
)
def test_implication_is_certain(data: st.DataObject, labels: dict[str, str]) -> None:
    """What matches a selector matches all that it implies, and a selector called impossible matches nothing."""
    one, other = (parse(text) for text in _selector_pair(Drawn(data.draw)))

    if one.matches(labels):
        assert satisfiable(one.node)
        assert other.matches(labels) or not implies(one.node, other.node)


@given(data=st.data())
def test_scopes_are_the_oracles(data: st.DataObject) -> None:
    """Whom a rule's selectors mean, as one tree, is what the oracle's fields say one by one (RULE-7 … RULE-10)."""
    choices = Drawn(data.draw)
    state = built(cluster(choices))
    peers = Peers(state)
    namespace = choices.pick(("", "a"))
    asked = entity(choices, 4, None, namespace or None)
    asked = EntityRule(
        selector=asked.selector,
        not_selector=asked.not_selector,
        namespace_selector=asked.namespace_selector,
        service_accounts=asked.service_accounts,
    )
    who, lone_not = entity_scope(asked, namespace)
    oracle = CalicoRule(Rule(action="Allow", source=asked), 0, namespace)
    for endpoint in state.endpoints.values():
        for address in endpoint.addresses:
            labels = [seen(owner) for owner in peers.at(address).owners]
            fits = who is None or any(map(matcher(who), labels))
            fits = fits and (lone_not is None or not any(map(matcher(lone_not), labels)))
            question = ask(peers, Packet(source=address, destination=address, protocol=6, destination_port=80))
            assert fits == (oracle.miss(question) is None)
