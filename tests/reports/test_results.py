"""Results as data: statuses, exit codes, counts, the JSON round trip."""

from __future__ import annotations

import msgspec
import pytest

from reports.results import Blame, RunResult, plural, summary


def test_json_round_trip(results):
    """A result read back from its JSON is the same result."""
    result = results.everything()
    assert msgspec.json.decode(msgspec.json.encode(result), type=RunResult) == result


def test_one_failure_fails_the_run(results):
    """The run's status is failed before unknown before passed."""
    passed, failed, unknown = (
        results.scenario(check) for check in (results.check(), results.mismatch(), results.unknown())
    )
    assert results.run(passed).status == "passed"
    assert results.run(passed, unknown).status == "unknown"
    assert results.run(unknown, failed, passed).status == "failed"
    assert results.run().status == "passed"


EXITS = [
    # scenario fields                                             exit code
    ({}, 0),
    ({"status": "unknown", "fault": "environment", "error": "no tun"}, 3),
    ({"status": "unknown", "fault": "input", "error": "no such pod"}, 2),
    ({"status": "unknown", "fault": "run", "error": "the supervisor died"}, 1),
    ({"status": "failed", "fault": "environment", "error": "no tun"}, 1),
]


@pytest.mark.parametrize(("fields", "code"), EXITS)
def test_exit_code_says_whose_fault(results, fields, code):
    """0 fine, 1 a mismatch or a run that broke off, 2 the scenario's fault, 3 the machine's."""
    assert results.run(results.scenario(results.check(), **fields)).exit_code == code


def test_missing_evidence_is_a_mismatch_to_the_exit_code(results):
    """No evidence exits with 1, even when the machine lacked something later."""
    scenario = results.scenario(results.unknown(), fault="environment", error="no tun")
    assert results.run(scenario).exit_code == 1


def test_gravest_scenario_decides_the_exit_code(results):
    """A mismatch counts before bad input, and that before a lack."""
    lack, slip = (results.scenario(status="unknown", error="x", fault=fault) for fault in ("environment", "input"))
    assert results.run(lack, slip, results.scenario(results.check())).exit_code == 2
    assert results.run(lack, slip, results.scenario(results.mismatch())).exit_code == 1


def test_summary_counts_checks_and_observations(results):
    """Checks and observations are counted together; missing evidence is named only where there is some."""
    fine = results.scenario(results.check(), observations=(results.observation(),))
    assert summary(results.run(fine)) == "2 checks, 0 mismatches"
    assert summary(fine) == "2 checks, 0 mismatches"
    bad = results.scenario(results.mismatch(), results.unknown())
    assert summary(results.run(fine, bad)) == "4 checks, 1 mismatch, 1 without evidence"


def test_plural():
    """One check, two checks."""
    assert [plural(n, "check") for n in (0, 1, 2)] == ["0 checks", "1 check", "2 checks"]


def test_blame_reads_as_a_sentence():
    """A rule, or the end of a tier, with its line where a manifest has one."""
    rule = Blame(
        policy="np:shop/db", rule=1, tier="default", end="ingress of shop/db", action="deny", file="a.yaml", line=7
    )
    assert str(rule) == "ingress of shop/db deny: rule 1 of np:shop/db (a.yaml:7)"
    assert str(Blame(policy="np:shop/db", tier="default")) == "end of tier default at np:shop/db"
    assert Blame(policy="x", file="a.yaml").place == "a.yaml"
