"""`muslin fuzz` from outside: who is asked, what is counted, and what becomes of a mismatch."""

import json
import os
from pathlib import Path

import pytest
import yaml

from emulator.dataplane import DATAPLANES

ROOT = Path(__file__).parents[2]
# Runs before the command: port ranges of compiled rules lack their last port (RULE-5).
BROKEN = """
from reference.program import rules
from msgspec.structs import replace

right = rules.split_ports


def early(ports):
    ranges, names = right(ports)
    return tuple(replace(each, high=max(each.low, each.high - 1)) for each in ranges), names


rules.split_ports = early
"""


def test_without_a_kernel(muslin):
    """Oracle and second reading are asked about the same packets, with a rate each; exit code 0."""
    answer = muslin("fuzz", "--time", 2, "--seed", 7, "--no-kernel", "--json")
    said = json.loads(answer.out)
    assert answer.code == 0, answer.err
    assert (said["seed"], said["mismatches"], said["found"], said["left_out"]) == (7, [], [], {})
    assert set(said["readings"]) == {"oracle", "program"}
    assert said["readings"]["oracle"]["packets"] == said["readings"]["program"]["packets"] == said["packets"] > 0
    assert all(reading["packets_per_second"] > 0 for reading in said["readings"].values())


def test_a_mismatch_is_written_as_a_scenario(muslin, tmp_path, monkeypatch):
    """A broken compiler: exit code 1, one line that names who differs and how, and a scenario file."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    answer = muslin("fuzz", "--time", 60, "--seed", 1, "--no-kernel", "--save", tmp_path)
    assert answer.code == 1, answer.err
    path = tmp_path / "mismatch-1-0.yaml"
    assert f"wrote {path}" in answer.out
    assert "\nprogram " in answer.out
    scenario = yaml.safe_load(path.read_text())
    assert scenario["name"] == "mismatch-program"
    assert len(scenario["expect"]) == 1


@pytest.mark.live
def test_every_dataplane_that_works_here_is_asked(muslin):
    """By default a live cluster per dataplane; one that does not work here is left out, and said to be."""
    answer = muslin("fuzz", "--time", 4, "--seed", 5)
    assert answer.code == 0, answer.err
    for dataplane in DATAPLANES:
        assert (f"  {dataplane} " in answer.out) is not (f"{dataplane}: " in answer.err), answer.err
    assert "no mismatch" in answer.out
