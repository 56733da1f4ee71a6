"""JUnit XML, read back as a CI system would."""

from __future__ import annotations

from xml.etree import ElementTree

from junitparser import Error, Failure, JUnitXml

from reports.junit import junit


def suites(result):
    """The suites of a result's XML."""
    return list(JUnitXml.fromstring(junit(result).decode()))


def test_a_suite_per_scenario_a_case_per_check(results):
    """Counts, names and properties are those of the run."""
    result = results.everything()
    first, second, third = suites(result)
    assert [suite.name for suite in (first, second, third)] == ["a-lesson", "b", "c"]
    assert first.tests == 5 + 3 + 1  # checks, observations, and that it broke off
    assert (first.failures, first.errors) == (3, 3)
    assert (second.tests, second.failures, second.errors) == (1, 0, 0)
    assert {item.name: item.value for item in second.properties()} == {
        "file": "a-lesson.yaml", "dataplane": "nftables", "topology": "subnets",
    }  # fmt: skip
    root = ElementTree.fromstring(junit(result))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("11", "3", "4")


def test_a_mismatch_is_a_failure_with_line_and_traces(results):
    """Its message has the voices and the manifest line, its text both traces."""
    (suite,) = suites(results.run(results.scenario(results.mismatch())))
    (case,) = list(suite)
    (found,) = case.result
    assert isinstance(found, Failure)
    assert "expected allowed, oracle denied, kernel denied" in found.message
    assert "shop.yaml:19" in found.message
    assert "the oracle's walk" in found.text
    assert "the kernel's way" in found.text


def test_no_evidence_is_an_error(results):
    """What is not known is no failure: it is an error."""
    (suite,) = suites(results.run(results.scenario(results.unknown())))
    ((found,),) = (case.result for case in suite)
    assert isinstance(found, Error)
    assert "kernel unknown" in found.message


def test_a_run_that_broke_off_is_an_error(results):
    """The reason is its message."""
    broken = results.scenario(results.check(), status="unknown", error="no /dev/net/tun", fault="environment")
    (suite,) = suites(results.run(broken))
    assert suite.errors == 1
    assert list(suite)[-1].result[0].message == "no /dev/net/tun"


def test_what_passed_says_nothing(results):
    """A check that passed is a case without a result."""
    (suite,) = suites(results.run(results.scenario(results.check())))
    assert [case.result for case in suite] == [[]]
    assert [case.name for case in suite] == ["step 0: shop/web -> shop/db 5432/TCP (IPv4)"]


def test_control_characters_do_not_break_the_xml(results):
    """A trace may hold bytes that XML cannot write; the file is well-formed all the same."""
    wrong = results.mismatch(oracle_trace="a\x00b\x1bc", evidence="\x07", source="shop/\x01")
    (suite,) = suites(results.run(results.scenario(wrong, error="\x0b", status="failed")))
    assert "a\N{REPLACEMENT CHARACTER}b" in list(suite)[0].result[0].text  # noqa: RUF015 - a suite has no next
