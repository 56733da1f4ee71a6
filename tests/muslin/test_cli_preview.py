"""`muslin preview`, called as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muslin.cli import main

ROOT = Path(__file__).parents[2]
SHOP, LOCK, STAGED = "scenarios/manifests/shop.yaml", "docs/examples/db-from-api-only.yaml", "docs/examples/staged.yaml"


@pytest.fixture
def muslin(monkeypatch, capsys):
    """The command, called in this process, in the project's folder: exit code, output, errors."""
    monkeypatch.chdir(ROOT)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["muslin", *arguments])
        with pytest.raises(SystemExit) as exit:
            main()
        return exit.value.code, *capsys.readouterr()

    return run


def test_changes_are_told_and_exit_with_one(muslin):
    """What would change is on standard output, and the exit code says that something would."""
    code, out, err = muslin("preview", "-f", SHOP, LOCK, STAGED)

    assert (code, err) == (1, "")
    assert "StagedNetworkPolicy shop/db (Set): NetworkPolicy shop/db replaced\n" in out
    assert "  shop/web -> shop/db 5432/TCP: denied -> allowed\n" in out


def test_no_change_exits_with_zero(muslin):
    """On ports where nothing would change, that is what it says."""
    code, out, _ = muslin("preview", "-f", SHOP, "-f", LOCK, "-f", STAGED, "--port", "80/TCP")

    assert code == 0
    assert out.endswith("no flow between these would change (4 pods; ports 80/TCP)\n")


def test_json(muslin):
    """The same as data."""
    code, out, _ = muslin("preview", "--json", "-f", SHOP, LOCK, STAGED)
    answer = json.loads(out)

    assert code == 1
    assert [commit["result"] for commit in answer["commits"]] == ["replaced", "created"]
    assert answer["ports"] == ["80/TCP", "5432/TCP"]
    assert len(answer["changes"]) == 4
    assert answer["changes"][0].keys() == {
        "source", "destination", "port", "families", "allowed", "before", "after",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-f", SHOP, "--name", "demo"), "manifests and --name exclude each other"),
        (("-f", SHOP, "--port", "http"), "protocol 'http' is not known"),
        (("-f", SHOP, "--also", "nowhere"), "'nowhere'"),
        (("-f", "no-such-file.yaml"), "no-such-file.yaml"),
        (("--name", "no-such-cluster"), "no-such-cluster"),
    ],
)
def test_bad_input_is_one_line(muslin, arguments, message):
    """What is wrong with the call is said in one line, with exit code 2."""
    code, out, err = muslin("preview", *arguments)

    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_evaluate_has_the_pending_trace(muslin):
    """`muslin evaluate --json` has both traces, near misses, who selects, and the tier whose default decided."""
    ask = ("--from", "shop/web", "--to", "shop/db", "--port", "5432/TCP", "--json")
    _, out, _ = muslin("evaluate", "-f", SHOP, LOCK, STAGED, *ask)
    side = json.loads(out)["sides"][1]

    assert side["hits"] == ["0|default|np:shop/db|deny|-1"]
    assert side["pending"] == ["0|default|snp:shop/db|allow|0"]
    assert side["side"]["pending_allowed"] is True
    assert side["side"]["tier_default"] == "default"
    assert [one["policy"] for one in side["side"]["selecting"]] == ["np:shop/db", "snp:shop/db"]
    assert [(miss["policy"], miss["field"]) for miss in side["side"]["near_misses"]] == [
        ("np:shop/db", "source.selector")
    ]
