"""JUnit XML, as CI systems read it: a suite per scenario, a case per flow or observation."""

from __future__ import annotations

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from reports.results import Check, Observation, RunResult, ScenarioResult


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
    suite.add_property("dataplane", scenario.dataplane)
    suite.add_property("topology", scenario.topology)
    for check in scenario.checks:
        suite.add_testcase(_case(scenario, check))
    for observation in scenario.observations:
        suite.add_testcase(_observed(scenario, observation))
    if scenario.error:
        case = TestCase("the scenario runs to its end", classname=scenario.name)
        case.result = [Error(scenario.error)]
        suite.add_testcase(case)
    suite.time = scenario.seconds
    return suite


def _case(scenario: ScenarioResult, check: Check) -> TestCase:
    case = TestCase(f"step {check.step}: {check.flow}", classname=scenario.name)
    if check.status != "passed":
        blame = "; ".join(str(blame) for blame in check.blame)
        kind = Failure if check.status == "failed" else Error
        result = kind(f"{verdicts(check)}. {blame}")
        result.text = f"{check.oracle_trace}\n\nkernel:\n{check.kernel_trace}"
        case.result = [result]
    return case


def _observed(scenario: ScenarioResult, observation: Observation) -> TestCase:
    case = TestCase(f"step {observation.step}: {observation.title}", classname=scenario.name)
    if observation.status != "passed":
        case.result = [(Failure if observation.status == "failed" else Error)(observation.detail)]
    return case


def verdicts(check: Check) -> str:
    """The three voices in one line: "expected allowed, oracle denied, kernel denied"."""
    said = [] if check.expected is None else [f"expected {_word(check.expected)}"]
    return ", ".join([*said, f"oracle {_word(check.oracle)}", f"kernel {check.kernel}"])


def _word(allowed: bool) -> str:
    return "allowed" if allowed else "denied"
