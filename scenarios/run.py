"""Run scenarios: a cluster each, real packets, and every answer held against the oracle.

A check has three voices: what the scenario expects, what the oracle says, what the kernel does. All that speak must
agree; a kernel that shows no evidence either way agrees with nobody.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Protocol

import msgspec

from emulator.session import Session
from reference.errors import EnvironmentLacksError, InvalidInputError, MuslinError
from reports.results import Fault, Observation, RunResult, ScenarioResult, Status, plural
from scenarios.checks import Checker
from scenarios.dataplanes import MIXED, assigned
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
    columns: Sequence[str] | None = None,
    able: Sequence[str] = (),
    left_out: Mapping[str, str] | None = None,
    progress: Listener,
    command: str,
) -> RunResult:
    """Run scenarios one after another; one that cannot be run to its end says why and costs the others nothing.

    `columns`: what each scenario is run on instead of its own dataplane (see `scenarios.dataplanes`); where there are
    several, results are named "scenario [column]". `able`: the dataplanes for `mixed`, which a scenario with one node
    is left out of. `left_out`: what would have been among the columns, and why it is not.

    Raises:
        InvalidInputError: all columns are `mixed`, and no scenario has two nodes.
    """
    started = time.time()
    results = []
    runs = [
        (scenario, column, assigned(column, able, number, scenario.scenario.nodes))
        for number, scenario in enumerate(loaded)
        for column in ([scenario.scenario.dataplane] if columns is None else columns)
        if column != MIXED or scenario.scenario.nodes > 1
    ]
    if columns and not runs:
        raise InvalidInputError("none of these scenarios has a second node to have another dataplane")
    for number, (scenario, column, dataplanes) in enumerate(runs, 1):
        plain = scenario.scenario.name
        name = f"{plain} [{column}]" if columns is not None and len(columns) > 1 else plain
        progress.scenario_started(name, number, len(runs))
        result = run_one(scenario, dataplanes=dataplanes, say=progress.step)
        result = msgspec.structs.replace(result, name=name, dataplane=column)
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


def run_one(loaded: LoadedScenario, *, dataplanes: Sequence[str], say: Callable[[str], None]) -> ScenarioResult:
    """Run one scenario in a cluster of its own, with a dataplane for each node, and take it down."""
    scenario = loaded.scenario
    began = time.monotonic()
    run = _Run(loaded, dataplanes, say)
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
        nodes_on=tuple(dataplanes) if len(set(dataplanes)) > 1 else (),
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

    def __init__(self, loaded: LoadedScenario, dataplanes: Sequence[str], say: Callable[[str], None]) -> None:
        self.loaded = loaded
        self.scenario = loaded.scenario
        self.say = say
        self.lines: list[str] = []
        self.seq = 0
        self.session = Session(
            topology=self.scenario.topology,
            nodes=self.scenario.nodes,
            dataplane=dataplanes[0],
            node_dataplanes={
                f"node-{number}": name for number, name in enumerate(dataplanes, 1) if name != dataplanes[0]
            },
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
