"""Run scenarios: a cluster each, real packets, and every answer held against the oracle.

A check has three voices: what the scenario expects, what the oracle says, what the kernel does. All that speak must
agree; a kernel that shows no evidence either way agrees with nobody.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Protocol

import msgspec

from emulator.session import Session
from reference.errors import EnvironmentLacksError, InvalidInputError, MuslinError
from reports.results import Fault, Observation, RunResult, ScenarioResult, Status, plural
from scenarios.checks import Checker
from scenarios.load import LoadedScenario
from scenarios.schema import Step


class Listener(Protocol):
    """Who hears how a run goes."""

    def scenario_started(self, name: str, number: int, count: int) -> None:
        """A scenario begins."""

    def step(self, text: str) -> None:
        """Something is being done."""

    def scenario_ended(self, result: ScenarioResult) -> None:
        """A scenario is through."""


def run_all(
    loaded: Sequence[LoadedScenario],
    *,
    dataplane: str | None = None,
    dataplanes: Sequence[str] | None = None,
    left_out: Mapping[str, str] | None = None,
    progress: Listener,
    command: str,
) -> RunResult:
    """Run scenarios one after another; one that cannot be run to its end says why and costs the others nothing.

    `dataplane`: instead of the scenario's own. `dataplanes`: each scenario is run on each of them, and its results are
    named "scenario [dataplane]". `left_out`: those that would have been among them, and why they are not.
    """
    started = time.time()
    results = []
    runs = [(scenario, one) for scenario in loaded for one in ([dataplane] if dataplanes is None else dataplanes)]
    for number, (scenario, on) in enumerate(runs, 1):
        name = scenario.scenario.name if dataplanes is None else f"{scenario.scenario.name} [{on}]"
        progress.scenario_started(name, number, len(runs))
        result = msgspec.structs.replace(run_one(scenario, dataplane=on, say=progress.step), name=name)
        progress.scenario_ended(result)
        results.append(result)
    return RunResult(
        version=version("muslin"),
        started=started,
        seconds=time.time() - started,
        kernel=platform.release(),
        python=platform.python_version(),
        user="root" if os.geteuid() == 0 else "unprivileged",
        command=command,
        scenarios=tuple(results),
        left_out=dict(left_out or {}),
    )


def run_one(loaded: LoadedScenario, *, dataplane: str | None, say: Callable[[str], None]) -> ScenarioResult:
    """Run one scenario in a cluster of its own, and take it down."""
    if dataplane:
        loaded = replace(loaded, scenario=msgspec.structs.replace(loaded.scenario, dataplane=dataplane))
    scenario = loaded.scenario
    began = time.monotonic()
    run = _Run(loaded, say)
    error: MuslinError | None = None
    try:
        run.through()
    except MuslinError as failure:
        error = failure  # what was found so far is kept
    finally:
        run.session.close()
    return ScenarioResult(
        name=scenario.name,
        title=scenario.title,
        lesson=" ".join(scenario.lesson.split()),
        file=str(loaded.path),
        dataplane=scenario.dataplane,
        topology=scenario.topology,
        nodes=scenario.nodes,
        encryption=scenario.encryption,
        status=run.status(broken=error is not None),
        seconds=time.monotonic() - began,
        seq=run.seq,
        endpoints=tuple(run.checker.endpoints),
        steps=tuple(run.lines),
        checks=tuple(run.checker.checks),
        observations=tuple(run.checker.observations),
        error=str(error or ""),
        fault=fault_of(error),
    )


def fault_of(error: MuslinError | None) -> Fault:
    """Whose fault it is that a run broke off."""
    match error:
        case None:
            return ""
        case EnvironmentLacksError():
            return "environment"
        case InvalidInputError():
            return "input"
        case _:
            return "run"


class _Run:
    """One scenario under way."""

    def __init__(self, loaded: LoadedScenario, say: Callable[[str], None]) -> None:
        self.loaded = loaded
        self.scenario = loaded.scenario
        self.say = say
        self.lines: list[str] = []
        self.seq = 0
        self.session = Session(
            topology=self.scenario.topology,
            nodes=self.scenario.nodes,
            dataplane=self.scenario.dataplane,
            encryption=self.scenario.encryption,
        )
        self.checker = Checker(self.session, loaded)

    def through(self) -> None:
        """Bring up, apply, walk the steps, check at the end."""
        self.session.start(self.say)
        self.say("applying the manifests")
        self.session.apply_resources([sourced.resource for sourced in self.loaded.start])
        for index, step in enumerate(self.scenario.steps):
            self._step(index, step)
        if self.scenario.expect:
            self.say("probing")
            self.checker.check(len(self.scenario.steps), self.scenario.expect)
        self.seq = self.session.state.seq

    def _step(self, index: int, step: Step) -> None:
        line = step.say or _describe(step)
        self.lines.append(line)
        self.say(line)
        manifests = self.loaded.steps[index]
        if step.apply is not None and manifests is not None:
            self.checker.know(manifests)
            self.session.apply_resources([sourced.resource for sourced in manifests])
        elif step.delete is not None and manifests is not None:
            self.session.delete_keys([sourced.resource.key for sourced in manifests])
        elif step.fail_node is not None:
            self.session.fail_node(step.fail_node)
        elif step.recover_node is not None:
            self.session.recover_node(step.recover_node)
        elif step.wait is not None:
            time.sleep(step.wait)
        elif step.expect is not None:
            self.checker.check(index, step.expect)

    def status(self, *, broken: bool) -> Status:
        """Failed if anything failed, else unknown if anything is unknown, else passed."""
        results: list[Status] = [check.status for check in self.checker.checks]
        results += [observation.status for observation in self.checker.observations]
        if "failed" in results:
            return "failed"
        return "unknown" if broken or "unknown" in results else "passed"


def _describe(step: Step) -> str:
    match step:
        case Step(fail_node=str(node)):
            return f"fail {node}"
        case Step(recover_node=str(node)):
            return f"recover {node}"
        case Step(wait=float(seconds)):
            return f"wait {seconds:g} s"
        case Step(apply=tuple(given)):
            return f"apply {plural(len(given), 'manifest')}"
        case Step(delete=tuple(given)):
            return f"delete {plural(len(given), 'manifest')}"
        case _:
            return "check"


__all__ = ["Listener", "Observation", "run_all", "run_one"]
