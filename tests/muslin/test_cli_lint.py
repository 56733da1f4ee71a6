"""`muslin lint`, called as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import muslin
from muslin.cli import main
from reference.analysis.lint import RULES

SHADOWED = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: app == "web"
  ingress:
    - action: Allow
      protocol: TCP
    - action: Deny
      protocol: TCP
      destination: {ports: [22]}
"""
NOTED = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {types: [Ingress]}
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command's exit code."""
    monkeypatch.setattr("sys.argv", ["muslin", "lint", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def shadowed(tmp_path: Path) -> Path:
    """A manifest with a rule that never decides."""
    path = tmp_path / "web policy.yaml"
    path.write_text(SHADOWED)
    return path


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """A manifest with nothing but a note to it."""
    path = tmp_path / "closed.yaml"
    path.write_text(NOTED)
    return path


def test_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shadowed: Path) -> None:
    """A warning gives exit code 1, and says file, line, id, field and what to do."""
    assert run(monkeypatch, "-f", shadowed) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{shadowed}:9: warning MUS101: ")
    assert "NetworkPolicy shop/web: spec.ingress[1]: all it matches is decided by rule 0 (Allow) before it" in out
    assert "1 warning; each id has a page" in out


def test_note(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], noted: Path) -> None:
    """A note alone gives exit code 0."""
    assert run(monkeypatch, noted) == 0
    assert "note MUS305" in capsys.readouterr().out


def test_in_python(shadowed: Path, noted: Path) -> None:
    """`muslin.lint` gives the same findings to programs."""
    assert [finding.id for finding in muslin.lint(shadowed, noted)] == ["MUS305", "MUS101"]
    assert muslin.lint(shadowed, ignore=["MUS101"]) == ()


def test_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shadowed: Path) -> None:
    """What is ignored is not reported, in any case of letters."""
    assert run(monkeypatch, shadowed, "--ignore", "mus101") == 0
    assert capsys.readouterr().out == "nothing found\n"


@pytest.mark.parametrize("arguments", [(), ("-f", "no-such-file.yaml"), ("--ignore", "MUS999", "-f", "x.yaml")])
def test_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """No manifest, a missing one or an unknown id is bad input: exit code 2 and one line."""
    assert run(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_invalid_manifest(monkeypatch: pytest.MonkeyPatch, shadowed: Path) -> None:
    """A manifest that is not valid is bad input, not a finding."""
    shadowed.write_text(SHADOWED.replace("Deny", "Forbid"))
    assert run(monkeypatch, shadowed) == 2


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shadowed: Path) -> None:
    """In JSON a finding has every field apart."""
    run(monkeypatch, shadowed, "--json")
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["id"] == "MUS101"
    assert (finding["severity"], finding["line"], finding["field"]) == ("warning", 9, "spec.ingress[1]")
    assert (Path(__file__).parents[2] / finding["page"]).exists()


def test_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` names every id with its severity and title, and looks at no manifest."""
    assert run(monkeypatch, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[rule.id, rule.severity] for rule in RULES.values()]


def test_sarif(monkeypatch: pytest.MonkeyPatch, shadowed: Path, tmp_path: Path) -> None:
    """`--sarif` writes the same findings to a file."""
    path = tmp_path / "lint.sarif"
    assert run(monkeypatch, shadowed, "--sarif", path) == 1
    (result,) = json.loads(path.read_text())["runs"][0]["results"]
    assert result["ruleId"] == "MUS101"
    assert run(monkeypatch, shadowed, "--sarif", tmp_path / "no" / "folder.sarif") == 2
