"""Scenario files: what is loaded, and what each fault says."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference.errors import InvalidInputError
from scenarios.load import ScenarioError, find_scenarios, load_scenario

ROOT = Path(__file__).parents[2]
COLLECTION = sorted((ROOT / "scenarios").glob("*.yaml"))
FAILING = sorted((ROOT / "scenarios" / "failing").glob("*.yaml"))

HEAD = "name: a-lesson\ntitle: A lesson\nlesson: Something.\n"
EXPECT = "expect:\n  - oracle: {}\n"
ONE_ACTION = "give exactly one of apply, delete, failNode, recoverNode, wait, expect"
FLOW = "{from: shop/web, to: shop/db}"
POD = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, image: i}]}}"


@pytest.fixture
def fault(tmp_path, monkeypatch):
    """What loading a text says, with the file called `s.yaml`."""
    monkeypatch.chdir(tmp_path)

    def said(text: str | bytes) -> str:
        Path("s.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InvalidInputError) as caught:
            load_scenario(Path("s.yaml"))
        return str(caught.value)

    return said


@pytest.mark.parametrize("path", COLLECTION + FAILING, ids=lambda path: path.stem)
def test_the_collection_loads(path):
    """Every scenario that comes with Muslin is valid, has its file's name, and teaches something."""
    loaded = load_scenario(path)
    assert loaded.scenario.name == path.stem
    assert loaded.scenario.lesson
    assert len(loaded.start) > 0
    assert bool(loaded.scenario.fails) == (path in FAILING)
    assert len(loaded.steps) == len(loaded.scenario.steps)


def test_collection_is_complete():
    """Nine lessons, and two written to fail."""
    assert len(COLLECTION) >= 9
    assert len(FAILING) == 2


def test_a_folder_is_its_own_files_only():
    """A folder stands for the files directly in it: those written to fail are asked for by name."""
    assert [loaded.path for loaded in find_scenarios([str(ROOT / "scenarios")])] == COLLECTION


FAULTS = [
    # (what is written after the head, line, field and message)
    ("expct: []\n", '4: expct: unknown field; did you mean "expect"?'),
    (EXPECT + "colour: red\n", "6: colour: unknown field; known: name, title, lesson"),
    (EXPECT + "nodes: two\n", '6: nodes: expected a whole number, found the string "two"'),
    (EXPECT + 'nodes: "2"\n', '6: nodes: expected a whole number, found the string "2"; remove the quotes'),
    (EXPECT + "nodes: 0\n", "6: nodes: 0: a cluster has 1 to 100 nodes"),
    (EXPECT + "nodes: 101\n", "6: nodes: 101: a cluster has 1 to 100 nodes"),
    (EXPECT + "topology: subnet\n", "6: topology: 'subnet' is not known; did you mean \"subnets\"?"),
    (EXPECT + "topology: torus\n", "6: topology: 'torus' is not known; there is single, subnets"),
    (EXPECT + "dataplane: ovs\n", "6: dataplane: 'ovs' is not known"),
    (EXPECT + "encryption: ipsec\n", '6: encryption: expected "" or wireguard, found "ipsec"'),
    (EXPECT + "tags: demo\n", '6: tags: expected a list, found the string "demo"'),
    (EXPECT + "manifests: shop.yaml\n", '6: manifests: expected a list, found the string "shop.yaml"'),
    (EXPECT + "manifests:\n  - shop.yaml\n", "7: manifests[0]: there is no file or folder 'shop.yaml' beside s.yaml"),
    (EXPECT + "manifests:\n  - 7\n", "7: manifests[0]: expected a string or a mapping, found the number 7"),
    ("", "1: there is no expectation; say under `expect` what must be true"),
    ("expect: []\n", "1: there is no expectation"),
    ("expect:\n", "4: expect: expected a list, found nothing (null)"),
    ("expect: {oracle: {}}\n", "4: expect: expected a list, found a mapping"),
    ("expect:\n  - {}\n",
     "5: expect[0]: give exactly one of allow, deny, oracle, encrypted, clear, unreachable; this has none"),
    (f"expect:\n  - allow: {FLOW}\n    deny: {FLOW}\n", "5: expect[0]: give exactly one of allow, deny"),
    ("expect:\n  - alow: {}\n", '5: expect[0].alow: unknown field; did you mean "allow"?'),
    ("expect:\n  - allow: {to: shop/db}\n", "5: expect[0].allow.from: required, but missing"),
    ("expect:\n  - allow:\n      from: {selecter: a == 'b'}\n      to: x\n",
     '6: expect[0].allow.from.selecter: unknown field; did you mean "selector"?'),
    ("expect:\n  - allow: {from: [a, b], to: x}\n",
     "5: expect[0].allow.from: expected a string or a mapping, found a list"),
    ("expect:\n  - allow: {from: 7, to: x}\n",
     "5: expect[0].allow.from: expected a string or a mapping, found the number 7"),
    ("expect:\n  - allow:\n      from: {selector: app = 'x'}\n      to: x\n", "6: expect[0].allow.from.selector: "),
    ("expect:\n  - allow:\n      from: x\n      to: x\n      ports: [80/TPC]\n", "8: expect[0].allow.ports[0]: "),
    ("expect:\n  - allow:\n      from: x\n      to: x\n      ports: [80]\n",
     '8: expect[0].allow.ports[0]: expected a string, found the number 80; quote it: "80"'),
    ("expect:\n  - allow:\n      from: x\n      to: x\n      ports: [70000/TCP]\n",
     "8: expect[0].allow.ports[0]: port"),
    ("expect:\n  - oracle: {ports: []}\n", "5: expect[0].oracle.ports: an empty list checks nothing"),
    ("expect:\n  - oracle: {family: 5}\n", "5: expect[0].oracle.family: expected 4 or 6, found 5"),
    ('expect:\n  - oracle: {family: "6"}\n', "5: expect[0].oracle.family: expected 4 or 6, found"),
    (f"expect:\n  - encrypted: {FLOW}\n",
     "5: expect[0].encrypted: nothing is encrypted in this cluster; write `encryption"),
    (EXPECT + "steps:\n  - say: hello\n",
     f"7: steps[0]: {ONE_ACTION}; this has none"),
    (EXPECT + "steps:\n  - failNode: node-1\n    wait: 1\n",
     f"7: steps[0]: {ONE_ACTION}; this has failNode, wait"),
    (EXPECT + "steps:\n  - fail_node: node-1\n", '7: steps[0].fail_node: unknown field; did you mean "failNode"?'),
    (EXPECT + "steps:\n  - failNode: node-3\n",
     "7: steps[0].failNode: 'node-3' is not a node of this cluster; it has node-1, node-2"),
    (EXPECT + "steps:\n  - wait: -1\n", "7: steps[0].wait: -1: wait 0 to 600 seconds"),
    (EXPECT + "steps:\n  - say: go\n    apply: [nowhere.yaml]\n",
     "8: steps[0].apply[0]: there is no file or folder 'nowhere.yaml'"),
    (EXPECT + "steps:\n  - expect:\n      - deny: {from: a}\n", "8: steps[0].expect[0].deny.to: required, but missing"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FAULTS)
def test_faults_say_file_line_field_and_what_to_do(fault, text, expected):
    """One line: file, line, field, what is wrong, and what to write instead."""
    said = fault(HEAD + text)
    assert said.startswith(f"s.yaml:{expected}")
    assert "\n" not in said


WHOLE = [
    (b"", "s.yaml: a scenario file holds one document, this one has 0"),
    (b"- a\n", "s.yaml:1: expected a mapping, found a list"),
    (b"just words\n", 's.yaml:1: expected a mapping, found the string "just words"'),
    (b"a: 1\n---\nb: 2\n", "s.yaml: a scenario file holds one document, this one has 2"),
    (b"name: {a: b\n", "s.yaml:2: not YAML: "),
    (b"name: a\nname: b\n", "s.yaml:2: name: the key is there twice"),
    (b"\xff\xfe\x00", "s.yaml: not UTF-8 text"),
    (b"title: x\nlesson: z\n", "s.yaml:1: name: required, but missing"),
    (b"name: Bad Name\ntitle: x\nlesson: z\n", "s.yaml:1: name: write lower-case words joined by dashes"),
]


@pytest.mark.parametrize(("text", "expected"), WHOLE)
def test_files_that_are_no_scenario(fault, text, expected):
    """What is not one YAML mapping says so."""
    assert fault(text).startswith(expected)


def test_a_wrong_manifest_inside_says_its_own_line(fault):
    """The fault of a manifest is located in the scenario file, at the manifest's own field."""
    policy = "  - apiVersion: projectcalico.org/v3\n    kind: NetworkPolicy\n    metadata: {name: p}\n    spec:\n"
    said = fault(HEAD + EXPECT + "manifests:\n" + policy + "      selektor: all()\n")
    assert said.startswith("s.yaml:11: ")
    assert 'manifests[0].spec.selektor: unknown field; did you mean "selector"?' in said


def test_a_wrong_manifest_in_a_step_says_its_own_line(fault):
    """So does that of a manifest inside a step."""
    said = fault(HEAD + EXPECT + "steps:\n  - apply:\n      - {apiVersion: v1, kind: Pot}\n")
    assert said.startswith("s.yaml:8: ")
    assert "steps[0].apply[0].kind: unknown kind" in said


def test_missing_file_and_empty_folder(tmp_path):
    """A path that is not there, and a folder without a scenario, are named."""
    with pytest.raises(ScenarioError, match=r"nope\.yaml: no such file or directory"):
        find_scenarios([str(tmp_path / "nope.yaml")])
    with pytest.raises(ScenarioError, match="there is no scenario"):
        find_scenarios([str(tmp_path)])


def test_manifests_are_found_beside_the_file(tmp_path):
    """Paths are relative to the scenario file, and a folder is welcome; each resource knows its file and line."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "pod.yaml").write_text("# a pod\n" + POD + "\n")
    file = tmp_path / "s.yaml"
    file.write_text(HEAD + EXPECT + f"manifests:\n  - m\n  - {POD.replace('web', 'db')}\n")
    first, second = load_scenario(file).start
    assert (Path(first.origin.file).name, first.origin.line()) == ("pod.yaml", 2)
    assert (Path(second.origin.file).name, second.origin.line()) == ("s.yaml", 8)


def test_steps_keep_their_manifests(tmp_path):
    """Beside each step stand the manifests it applies or deletes; None beside the others."""
    file = tmp_path / "s.yaml"
    file.write_text(HEAD + EXPECT + f"steps:\n  - apply: [{POD}]\n  - wait: 0.1\n  - delete: [{POD}]\n")
    applied, waited, deleted = load_scenario(file).steps
    assert [item.key.name for item in applied] == [item.key.name for item in deleted] == ["web"]
    assert waited is None
