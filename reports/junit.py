"""JUnit XML, as CI systems read it: a suite per scenario, a case per flow or observation."""

from __future__ import annotations

import re

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from reports.results import Check, Observation, RunResult, ScenarioResult, Status

_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: RunResult) -> bytes:
    """The run as JUnit XML. A mismatch is a failure; no evidence, or a run that broke off, is an error."""
    document = JUnitXml("muslin verify")
    for scenario in result.scenarios:
        document.add_testsuite(_suite(scenario))
    document.update_statistics()
    text: bytes = document.tostring()
    return text


def _suite(scenario: ScenarioResult) -> TestSuite:
    suite = TestSuite(scenario.name)
    suite.add_property("file", scenario.file)
    suite.add_property("dataplane", scenario.enforced_by)
    suite.add_property("topology", scenario.topology)
    for check in scenario.checks:
        suite.add_testcase(_case(scenario, check))
    for observation in scenario.observations:
        suite.add_testcase(_observed(scenario, observation))
    if scenario.error:
        case = TestCase("the scenario runs to its end", classname=scenario.name)
        case.result = [Error(_xml_text(scenario.error))]
        suite.add_testcase(case)
    suite.time = scenario.seconds
    return suite


def _case(scenario: ScenarioResult, check: Check) -> TestCase:
    case = TestCase(_xml_text(f"step {check.step}: {check.flow}"), classname=scenario.name)
    if check.status != "passed":
        blame = "; ".join(str(blame) for blame in check.blame)
        result = _result(check.status, f"{verdicts(check)}. {blame}")
        result.text = _xml_text(f"oracle:\n{check.oracle_trace}\n\nkernel:\n{check.kernel_trace or check.evidence}")
        case.result = [result]
    return case


def _observed(scenario: ScenarioResult, observation: Observation) -> TestCase:
    case = TestCase(_xml_text(f"step {observation.step}: {observation.title}"), classname=scenario.name)
    if observation.status != "passed":
        case.result = [_result(observation.status, observation.detail)]
    return case


def _result(status: Status, message: str) -> Failure | Error:
    return (Failure if status == "failed" else Error)(_xml_text(message))


def _xml_text(text: str) -> str:
    """Text without the control characters that XML has no way to write."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def verdicts(check: Check) -> str:
    """The three voices in one line: "expected allowed, oracle denied, kernel denied"."""
    said = [] if check.expected is None else [f"expected {_word(check.expected)}"]
    return ", ".join([*said, f"oracle {_word(check.oracle)}", f"kernel {check.kernel}"])


def _word(allowed: bool) -> str:
    return "allowed" if allowed else "denied"
