"""The runner, rehearsed: every scenario of the collection against a network that does as the oracle says."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import pytest

from reference.errors import EnvironmentLacksError, InvalidInputError, LogCorruptError
from reports.results import RunResult
from scenarios.load import load_scenario
from scenarios.run import run_all

ROOT = Path(__file__).parents[2]
COLLECTION = sorted((ROOT / "scenarios").glob("*.yaml"))
FAILING = sorted((ROOT / "scenarios" / "failing").glob("*.yaml"))
HEAD = "name: a-lesson\ntitle: A lesson\nlesson: Something.\nmanifests:\n"
POD = "  - {apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {nodeName: %s, containers: [{name: c, image: i}]}}\n"
PODS = POD % ("one", "node-1") + POD % ("two", "node-2")


class Heard:
    """A listener that remembers."""

    def __init__(self):
        self.said = []

    def scenario_started(self, name, number, count):
        """A scenario begins."""
        self.said.append(f"{number}/{count} {name}")

    def step(self, text):
        """Something is being done."""
        self.said.append(text)

    def scenario_ended(self, result):
        """A scenario is through."""
        self.said.append(result.status)


@pytest.fixture
def run(rehearsal, tmp_path, monkeypatch):
    """Run texts or files as scenarios; the result, and what was said on the way."""
    monkeypatch.setattr("time.sleep", lambda _: None)

    def run(*scenarios, **options):
        loaded = []
        for number, scenario in enumerate(scenarios):
            path = scenario
            if isinstance(scenario, str):
                path = tmp_path / f"s{number}.yaml"
                path.write_text(scenario)
            loaded.append(load_scenario(path))
        heard = Heard()
        return run_all(loaded, progress=heard, command="muslin verify", **options), heard.said

    return run


@pytest.mark.parametrize("path", COLLECTION, ids=lambda path: path.stem)
def test_the_oracle_bears_out_every_lesson(run, path):
    """What the collection expects is what the oracle says, at every step; all names in it exist."""
    result, _ = run(path)
    (one,) = result.scenarios
    assert one.error == ""
    assert [check.flow for check in one.mismatches] == []
    assert one.status == "passed"
    assert result.exit_code == 0
    assert one.lesson


@pytest.mark.parametrize("path", FAILING, ids=lambda path: path.stem)
def test_what_is_written_to_fail_fails(run, path):
    """It fails on one flow, and the rule's line in the file is named."""
    result, _ = run(path)
    assert result.exit_code == 1
    (check,) = result.scenarios[0].mismatches
    blame = check.blame[-1]
    assert blame.file == str(path)
    assert "action:" in path.read_text().splitlines()[blame.line - 1]


def test_results_of_the_collection_survive_json(run):
    """A whole run goes through JSON unchanged."""
    result, _ = run(*COLLECTION, *FAILING)
    assert msgspec.json.decode(msgspec.json.encode(result), type=RunResult) == result


def test_steps_happen_in_order_and_are_told(run):
    """Each step changes the state for those after it; its words are said, and kept for the report."""
    text = HEAD + PODS + (
        "steps:\n"
        "  - say: both talk\n    expect: [{allow: {from: default/one, to: default/two}}]\n"
        "  - failNode: node-2\n"
        "  - wait: 2\n"
        "  - recoverNode: node-2\n"
        "  - delete:\n    - {apiVersion: v1, kind: Pod, metadata: {name: two}, spec: {containers: []}}\n"
        "expect: [{oracle: {family: 4}}]\n"
    )  # fmt: skip
    result, said = run(text)
    (one,) = result.scenarios
    assert one.error == ""
    assert one.steps == ("both talk", "fail node-2", "wait 2 s", "recover node-2", "delete 1 manifest")
    assert said == ["1/1 a-lesson", "rehearsing", "applying the manifests", *one.steps, "probing", "passed"]
    assert {check.step for check in one.checks} == {0, 5}
    assert not any("two" in check.flow for check in one.checks if check.step == 5)
    assert one.seq > 0


def test_a_failed_node_is_left_out_of_all_pairs(run):
    """Pods on a machine that is cut off are nobody's business until it is back."""
    result, _ = run(HEAD + PODS + "steps: [{failNode: node-2}]\nexpect: [{oracle: {}}]\n")
    names = {name for check in result.scenarios[0].checks for name in (check.source, check.destination)}
    assert "default/one" in names
    assert not names & {"default/two", "node-2"}


def test_what_a_scenario_lacks_costs_the_others_nothing(run, rehearsal, monkeypatch):
    """A scenario the machine cannot run is unknown with the reason; the next one is run all the same."""
    start = rehearsal.start

    def lacking(self, say):
        if self.encryption:
            raise EnvironmentLacksError("WireGuard is not available: no /dev/net/tun")
        start(self, say)

    monkeypatch.setattr(rehearsal, "start", lacking)
    encrypted = next(path for path in COLLECTION if path.stem == "encrypted-between-nodes")
    result, _ = run(encrypted, next(path for path in COLLECTION if path.stem == "default-deny"))
    first, second = result.scenarios
    assert (first.status, first.fault, first.checks) == ("unknown", "environment", ())
    assert "no /dev/net/tun" in first.error
    assert second.status == "passed"
    assert result.exit_code == 3


FAULTS = [
    # steps                                                   fault    says
    ("expect: [{allow: {from: default/oen, to: default/two}}]\n", "input",
     "expect[0].allow: no pod, node, host or address 'default/oen'"),
    ("steps:\n  - delete: [{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: []}}]\n"
     "expect: [{oracle: {}}]\n", "input", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fault", "says"), FAULTS)
def test_what_a_scenario_gets_wrong_is_its_own_fault(run, text, fault, says):
    """A name that nobody has, or a deletion of nothing, breaks the run off with exit code 2 and the reason."""
    result, _ = run(HEAD + PODS + text)
    (one,) = result.scenarios
    assert (one.status, one.fault) == ("unknown", fault)
    assert says in one.error
    assert result.exit_code == 2


def test_the_cluster_is_taken_down_whatever_happens(run, rehearsal, monkeypatch):
    """After success, after a fault, and when something unforeseen happens."""
    made = []
    init = rehearsal.__init__
    monkeypatch.setattr(rehearsal, "__init__", lambda self, **spec: (init(self, **spec), made.append(self))[0])
    run(HEAD + PODS + "expect: [{oracle: {}}]\n")
    rehearsal.lacks = LogCorruptError("row 3 does not verify")
    result, _ = run(HEAD + PODS + "expect: [{oracle: {}}]\n")
    assert result.exit_code == 1
    rehearsal.lacks = ZeroDivisionError()
    with contextlib.suppress(ZeroDivisionError):
        run(HEAD + PODS + "expect: [{oracle: {}}]\n")
    assert [session.closed for session in made] == [True, True, True]


def test_the_dataplane_can_be_chosen(run, rehearsal, monkeypatch):
    """`--dataplane` replaces the scenario's, in the cluster and in the result."""
    made = []
    init = rehearsal.__init__
    monkeypatch.setattr(rehearsal, "__init__", lambda self, **spec: (init(self, **spec), made.append(self))[0])
    result, _ = run(HEAD + PODS + "expect: [{oracle: {}}]\n", columns=["another"])
    assert made[0].dataplane == result.scenarios[0].dataplane == "another"


def test_every_scenario_runs_on_each_of_several_dataplanes(run, rehearsal):
    """With several dataplanes each scenario has a result per dataplane, named after it; the run keeps what it lacks."""
    result, _ = run(HEAD + PODS + "expect: [{oracle: {}}]\n", columns=["one", "two"], left_out={"three": "why"})
    assert [(scenario.plain_name, scenario.dataplane) for scenario in result.scenarios] == [
        ("a-lesson", "one"),
        ("a-lesson", "two"),
    ]
    assert [scenario.name for scenario in result.scenarios] == ["a-lesson [one]", "a-lesson [two]"]
    assert result.left_out == {"three": "why"}


def test_a_mixed_cluster_has_another_dataplane_on_each_node(run, rehearsal, monkeypatch):
    """The column is `mixed`, the result tells who had what; one node alone is left out, and alone is an error."""
    made = []
    init = rehearsal.__init__
    monkeypatch.setattr(rehearsal, "__init__", lambda self, **spec: (init(self, **spec), made.append(spec))[0])
    text = HEAD + PODS + "expect: [{oracle: {}}]\n"
    result, _ = run(text, text + "nodes: 1\n", columns=["mixed"], able=["a", "b"])
    (one,) = result.scenarios
    assert (one.name, one.dataplane, one.enforced_by) == ("a-lesson", "mixed", "mixed: a+b")
    assert [(spec["dataplane"], spec["node_dataplanes"]) for spec in made] == [("a", {"node-2": "b"})]
    with pytest.raises(InvalidInputError, match="none of these scenarios has a second node"):
        run(text + "nodes: 1\n", columns=["mixed"], able=["a", "b"])
