"""Every scenario of the collection, with real packets, as root and as an ordinary user."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from encryption.available import why_not_userspace

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
COLLECTION = sorted((ROOT / "scenarios").glob("*.yaml"))
FAILING = sorted((ROOT / "scenarios" / "failing").glob("*.yaml"))


def verify(as_user, scenario, folder, *options, timeout=120):
    """Run a scenario through the command; exit code, JSON result, standard error."""
    folder.chmod(0o777)
    done = subprocess.run(
        as_user([sys.executable, "-m", "muslin", "verify", str(scenario.relative_to(ROOT)), "--json", *options]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


@pytest.mark.parametrize("scenario", COLLECTION, ids=lambda path: path.stem)
def test_kernel_does_as_the_oracle_says(scenario, as_user, tmp_path, request):
    """Over all pairs and ports there are 0 mismatches, and something was checked."""
    code, result, said = verify(as_user, scenario, tmp_path)
    ordinary = "ordinary user" in request.node.callspec.id
    if "wireguard" in scenario.read_text() and ordinary and code == 3:
        assert "WireGuard is not available" in said  # an ordinary user who may not open /dev/net/tun is told so
        assert why_not_userspace() or os.geteuid() == 0
        return
    assert code == 0, said
    (one,) = result["scenarios"]
    assert one["status"] == "passed"
    assert [check for check in one["checks"] if check["status"] != "passed"] == []
    assert len(one["checks"]) > 20


@pytest.mark.parametrize("scenario", FAILING, ids=lambda path: path.stem)
def test_written_to_fail_fails_and_is_explained(scenario, as_user, tmp_path):
    """A scenario that hopes for the wrong thing exits with 1, and the report names the policy and its line."""
    code, result, _said = verify(as_user, scenario, tmp_path)
    assert code == 1
    (one,) = result["scenarios"]
    (wrong,) = [check for check in one["checks"] if check["status"] == "failed"]
    blame = wrong["blame"][-1]
    line = scenario.read_text().splitlines()[blame["line"] - 1]
    assert blame["file"] == str(scenario.relative_to(ROOT))
    assert "action:" in line
    assert blame["policy"] in wrong["oracle_reason"]
    assert wrong["kernel_trace"]


def test_the_whole_collection_on_mixed_clusters(as_user, tmp_path):
    """With another dataplane on each node there are 0 mismatches; root's dataplanes meet in every combination."""
    code, result, said = verify(as_user, ROOT / "scenarios", tmp_path, "--dataplane", "mixed", timeout=600)
    wrong = [check for one in result["scenarios"] for check in one.get("checks", ()) if check["status"] != "passed"]
    assert wrong == []
    if code == 3:  # an ordinary user who may not open /dev/net/tun
        assert "WireGuard is not available" in said
    else:
        assert code == 0, said
    pairs = {tuple(one["nodes_on"][:2]) for one in result["scenarios"]}
    able = {name for pair in pairs for name in pair}
    assert len(able) == (4 if as_user(["id"]) == ["id"] and os.geteuid() == 0 else 3)
    assert pairs == set(itertools.permutations(able, 2))
