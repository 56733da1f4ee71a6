"""The doctor: what it tries, and what it says of what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from emulator import doctor, trials

ROOT = Path(__file__).parents[2]


def test_every_trial_is_explained():
    """What is tried in the sandbox and what the doctor explains are the same things."""
    assert {trial.name for trial in doctor._TRIALS} == {"sandbox", *trials.TRIALS}


@pytest.mark.live
def test_machine_that_can_run_this_test_is_able(as_user):
    """Where live tests run, the doctor finds all that a live cluster requires, also for an ordinary user."""
    code = "import msgspec\nfrom emulator.doctor import diagnose\nprint(msgspec.json.encode(diagnose()).decode())"
    done = subprocess.run(
        as_user([sys.executable, "-B", "-c", code]), cwd=ROOT, capture_output=True, text=True, check=True
    )
    report = msgspec.json.decode(done.stdout, type=doctor.Report)
    assert [finding for finding in report.findings if finding.required and not finding.found] == []
    assert report.able
    assert all(finding.detail and finding.needed_for and finding.remedy for finding in report.findings)


def test_missing_program_is_found_missing(monkeypatch, tmp_path):
    """A program that is not on the path is missing, with the package that holds it; one that fails does not count."""
    broken = tmp_path / "mnexec"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    gone, failing = (
        doctor._program(doctor._Program((name, "-v"), "tests", "some-package"))
        for name in ("no-such-program", "mnexec")
    )
    assert (gone.found, gone.detail, gone.remedy) == (False, "not on PATH", "apt install some-package")
    assert not failing.found
    assert str(broken) in failing.detail


def test_trials_that_do_not_start_make_the_machine_unable(monkeypatch):
    """When the sandbox cannot be entered, nothing that needs it is reported as found, and the reason is given."""
    refusal = {"sandbox": "the sandbox could not be made: new namespaces: denied"}
    monkeypatch.setattr(doctor, "_run_trials", lambda: (refusal, "not tried: no sandbox"))
    report = doctor.diagnose()
    assert not report.able
    assert not report.found("fabric")
    details = {finding.name: finding.detail for finding in report.findings}
    assert details["sandbox"] == refusal["sandbox"]
    assert details["fabric"] == "not tried: no sandbox"


def test_a_package_of_the_same_name_is_told(tmp_path):
    """A foreign package called like one of our rooms, first on the path, is named with its place."""
    stranger = tmp_path / "scenarios"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("")
    code = "from emulator.doctor import _shadowing\nfinding = _shadowing()\nprint(finding.found, finding.detail)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("False not ours: scenarios (")
    assert str(stranger) in done.stdout
