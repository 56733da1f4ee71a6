"""The documents are true: examples load and run, command lines exist, links lead somewhere, tables are complete."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import click
import msgspec
import pytest

from muslin.cli import COMMANDS, cli
from muslin.cli.reference import page
from scenarios import schema
from scenarios.load import load_scenario

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.M | re.S)


def blocks(path, language):
    """The fenced blocks of one language, in order."""
    return [match[2] for match in _FENCE.finditer(path.read_text()) if match[1] == language]


def each(language):
    """A test case per block of a language."""
    return [
        pytest.param(path, block, id=f"{path.name}-{number}")
        for path in DOCUMENTS
        for number, block in enumerate(blocks(path, language), 1)
    ]


def is_live(block):
    """Report whether a Python block brings up a cluster."""
    return "Cluster(" in block or "cluster" in block


OFFLINE = [case for case in each("python") if not is_live(case.values[1])]
LIVE = [case for case in each("python") if is_live(case.values[1])]


def commands(path):
    """The `$ muslin …` lines of a document, without comments."""
    lines = (line for block in blocks(path, "console") for line in block.splitlines())
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


LINES = [(path, line) for path in DOCUMENTS for line in commands(path)]


@pytest.mark.parametrize(("path", "block"), OFFLINE)
def test_python_blocks_run(path, block, monkeypatch):
    """A block that asks the oracle runs as it stands, in the project's folder."""
    monkeypatch.chdir(ROOT)
    exec(compile(block, str(path), "exec"), {"__name__": "__docs__"})


@pytest.mark.live
@pytest.mark.parametrize(("path", "block"), LIVE)
def test_live_python_blocks_run(path, block, tmp_path):
    """A block with a cluster runs as it stands: a test with the fixture through pytest, the others as a program."""
    is_test = block.lstrip().startswith(("def test_", "import pytest", "@pytest"))
    file = tmp_path / "test_block.py"
    file.write_text(block)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)] if is_test else []
    done = subprocess.run(
        [sys.executable, *command, str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    if is_test:
        assert " passed" in done.stdout
        assert "skipped" not in done.stdout


@pytest.mark.parametrize(("path", "block"), each("yaml"))
def test_yaml_blocks_are_scenarios_or_manifests(path, block, tmp_path):
    """An example is valid where it would stand, in the folder of the scenarios."""
    from reference.resources import manifests

    if "lesson:" not in block:
        assert len(manifests.parse(block, str(path))) > 0
        return
    (tmp_path / "manifests").symlink_to(ROOT / "scenarios" / "manifests")
    file = tmp_path / "example.yaml"
    file.write_text(block)
    assert load_scenario(file).scenario.name


@pytest.mark.live
def test_the_example_scenario_holds(tmp_path):
    """The example of the format passes with real packets."""
    (block, *_) = blocks(ROOT / "docs" / "scenarios.md", "yaml")
    (tmp_path / "manifests").symlink_to(ROOT / "scenarios" / "manifests")
    (tmp_path / "example.yaml").write_text(block)
    done = run(["verify", str(tmp_path / "example.yaml")], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 mismatches" in done.stdout


def run(words, state):
    """Run the command as a user would, its logs in a folder of ours."""
    return subprocess.run(
        [sys.executable, "-m", "muslin", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
    )  # fmt: skip


NAMED = ("up", "get", "probe", "apply", "explain", "exec", "log", "down")  # commands that take --name


@pytest.mark.live
def test_the_five_minutes_of_the_readme(tmp_path):
    """The tour works as written, one line after another; the probe after the policy is the one that is denied."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    answers = []
    try:
        for line in commands(ROOT / "README.md"):
            words = shlex.split(line, comments=True)
            if words[0] == "muslin" and words[1] in (*NAMED, "evaluate", "matrix"):
                chosen = ["--name", name] if words[1] in NAMED else []
                done = run([words[1], *chosen, *words[2:]], tmp_path)
                answers.append((words[1], done.returncode))
                assert done.stderr == "", line
                assert done.stdout, line
    finally:
        run(["down", name], tmp_path)
    assert [command for command, code in answers if code] == ["probe"]
    assert answers.index(("probe", 0)) < answers.index(("apply", 0)) < answers.index(("probe", 1))
    assert answers[-1] == ("down", 0)


@pytest.mark.parametrize(("path", "line"), LINES, ids=[f"{path.name}: {line}" for path, line in LINES])
def test_command_lines_exist(path, line):
    """Every command line in a document has a command, options and arguments that there are, and files that exist."""
    for part in re.split(r"\s(?:&&|\|)\s", line):
        words = shlex.split(part, comments=True)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
            continue
        if words[0] != "muslin":
            assert path.name == "cli.md" or words[0].startswith((".venv/bin/", "pipx", "kubectl", "python")), line
            continue
        assert words[1] in COMMANDS, line
        command = cli.get_command(click.Context(cli), words[1])
        with command.make_context(words[1], shell_redirection_cut(words[2:])) as context:
            files = [
                *context.params.get("paths", ()),
                *context.params.get("more", ()),
                *context.params.get("scenarios", ()),
            ]
        if path.name != "cli.md":
            for file in files:
                assert file == "-" or (ROOT / file).exists(), f"{line}: {file}"


def shell_redirection_cut(words):
    """The words before `>` and `>>`, which are the shell's."""
    ends = [number for number, word in enumerate(words) if word in (">", ">>")]
    return words[: ends[0]] if ends else words


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    """A link to a file leads to one that is there, a link to a heading to one that is there."""
    text = _FENCE.sub("", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, heading = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{path.name}: {target}"
        if heading:
            heads = re.findall(r"^#+ (.*)$", linked.read_text(), re.M)
            assert heading in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_every_document_is_reached_from_the_readme():
    """No page is lost."""
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {f"docs/{path.name}" for path in DOCUMENTS if path.parent.name == "docs"}


def test_the_command_reference_is_up_to_date():
    """`docs/cli.md` is what the commands say of themselves."""
    assert (ROOT / "docs" / "cli.md").read_text() == page(), "run: python -m muslin.cli.reference > docs/cli.md"


def test_the_command_reference_has_every_option():
    """Every command has a section, and every option a row in it."""
    sections = dict(re.findall(r"^## muslin (\w+)\n(.*?)(?=^## |\Z)", page(), re.M | re.S))
    assert list(sections) == list(COMMANDS)
    for name, text in sections.items():
        for parameter in cli.get_command(click.Context(cli), name).params:
            if isinstance(parameter, click.Option):
                assert all(f"`{spelled}`" in text for spelled in parameter.opts), (name, parameter.opts)


TABLES = [
    # (heading, the types whose fields its table must list)
    ("The file", schema.Scenario),
    ("Steps", schema.Step),
    ("Expectations", schema.Expectation),
    ("Flows", schema.Flow),
    ("Selections", schema.Selection),
    ("All pairs", schema.AllPairs),
]


@pytest.mark.parametrize(("heading", "kind"), TABLES, ids=[heading for heading, _ in TABLES])
def test_every_field_of_a_scenario_is_explained(heading, kind):
    """The table under a heading has a row for each field of that part, and for nothing else."""
    text = (ROOT / "docs" / "scenarios.md").read_text()
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, heading
    cells = [line.split("|")[1] for line in section[1].splitlines() if line.startswith("| `")]
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(field.encode_name for field in msgspec.structs.fields(kind))


def test_every_default_is_true():
    """The defaults the table of a scenario file names are those of the schema."""
    text = (ROOT / "docs" / "scenarios.md").read_text()
    named = dict(re.findall(r"^\| `(\w+)` \|.*\| `?([\w-]+)`? \|$", text, re.M))
    for field in msgspec.structs.fields(schema.Scenario):
        if isinstance(field.default, (int, str)) and field.default:
            assert named[field.encode_name] == str(field.default)
        elif field.default is msgspec.NODEFAULT:
            assert named[field.encode_name] == "required"
