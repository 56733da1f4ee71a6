"""From scenario files to scenarios: found, read, checked; their manifests loaded and validated too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from emulator.dataplane import DATAPLANES
from reference.errors import InvalidInputError
from reference.naming import parse_port
from reference.resources import manifests
from reference.resources.documents import DocumentFault, RawDocument, read_documents
from reference.resources.faults import FieldError, FieldPath, format_path
from reference.resources.mismatch import mismatch
from reference.selectors import parse as parse_selector
from scenarios.schema import ACTIONS, EXPECTATIONS, AllPairs, Expectation, Flow, Manifest, Scenario, Selection, Step
from topologies import TOPOLOGIES

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class ScenarioError(InvalidInputError):
    """A scenario file is wrong; says file, line and field."""


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario with its manifests read: those of the start, and those of each step that applies or deletes."""

    scenario: Scenario
    path: Path
    start: manifests.Loaded
    steps: tuple[manifests.Loaded | None, ...]  # beside scenario.steps; None where a step has no manifests


def find_scenarios(names: Sequence[str]) -> list[LoadedScenario]:
    """The scenarios of the named files, and of the files directly in the named folders, all checked.

    Raises:
        InvalidInputError: a file is missing or wrong, or a folder has no scenario.
    """
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        found = sorted(file for file in path.glob("*.yaml")) if path.is_dir() else [path]
        if not found:
            raise ScenarioError(f"{name}: there is no scenario (*.yaml) in this folder")
        paths += found
    return [load_scenario(path) for path in paths]


def load_scenario(path: Path) -> LoadedScenario:
    """One scenario file, checked whole, with the manifests it names.

    Raises:
        ScenarioError: the scenario is wrong; says line and field.
        ManifestError: a manifest in it, or named by it, is wrong.
    """
    document = _read(path)
    try:
        scenario = _decode(document, path)
        _check(scenario, path)
    except FieldError as error:
        line = _line(document, error.path)
        raise ScenarioError(f"{path}:{line}: {format_path(error.path)}: {error.message}") from None
    return LoadedScenario(
        scenario=scenario,
        path=path,
        start=_manifests(scenario.manifests, ("manifests",), document, path),
        steps=tuple(_step_manifests(step, index, document, path) for index, step in enumerate(scenario.steps)),
    )


def _read(path: Path) -> RawDocument:
    try:
        documents = list(read_documents(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ScenarioError(f"{path}: {reason}") from None
    except DocumentFault as fault:
        raise ScenarioError(f"{path}:{fault.line}: {fault.message}") from None
    if len(documents) != 1:
        raise ScenarioError(f"{path}: a scenario file holds one document, this one has {len(documents)}")
    return documents[0]


def _decode(document: RawDocument, path: Path) -> Scenario:
    try:
        return msgspec.convert(document.value, Scenario)
    except msgspec.ValidationError as error:
        raise mismatch(document.value, Scenario, lambda _: None) or FieldError((), str(error)) from None


def _line(document: RawDocument, path: FieldPath) -> int:
    """The line of a field, or of the nearest thing around it that the file spells."""
    while document.extent is not None:
        found = document.extent.node(path)
        if found is not None:
            return found[0]
        if not path:
            break
        path = path[:-1]
    return 1


def _check(scenario: Scenario, path: Path) -> None:
    """What the types cannot say."""
    if not _NAME.fullmatch(scenario.name):
        raise FieldError(("name",), "write lower-case words joined by dashes, such as default-deny")
    if scenario.topology not in TOPOLOGIES:
        raise FieldError(
            ("topology",), f"{scenario.topology!r} is not known; there are {', '.join(sorted(TOPOLOGIES))}"
        )
    if scenario.dataplane not in DATAPLANES:
        raise FieldError(("dataplane",), f"{scenario.dataplane!r} is not known; there are {', '.join(DATAPLANES)}")
    if scenario.nodes < 1:
        raise FieldError(("nodes",), f"{scenario.nodes}: a cluster has at least one node")
    if not scenario.expect and not any(step.expect for step in scenario.steps):
        raise FieldError((), "there is no expectation; say under `expect` what must be true")
    for where, expectation in _expectations(scenario):
        _check_expectation(expectation, where)
    for index, step in enumerate(scenario.steps):
        _exactly_one(step, ACTIONS, ("steps", index))


def _expectations(scenario: Scenario) -> Iterator[tuple[FieldPath, Expectation]]:
    for number, expectation in enumerate(scenario.expect):
        yield ("expect", number), expectation
    for index, step in enumerate(scenario.steps):
        for number, expectation in enumerate(step.expect or ()):
            yield ("steps", index, "expect", number), expectation


def _exactly_one(value: Step | Expectation, names: Sequence[str], where: FieldPath) -> str:
    given = [name for name in names if getattr(value, name) is not None]
    if len(given) != 1:
        spelled = ", ".join(name.replace("_n", "N") for name in names)
        raise FieldError(where, f"give exactly one of {spelled}; this has {', '.join(given) or 'none'}")
    return given[0]


def _check_expectation(expectation: Expectation, where: FieldPath) -> None:
    name = _exactly_one(expectation, EXPECTATIONS, where)
    body: Flow | AllPairs = getattr(expectation, name)
    for number, port in enumerate(body.ports):
        try:
            parse_port(port)
        except InvalidInputError as error:
            raise FieldError((*where, name, "ports", number), str(error)) from None
    if isinstance(body, Flow):
        for field, peer in (("from", body.from_), ("to", body.to)):
            if isinstance(peer, Selection):
                try:
                    parse_selector(peer.selector)
                except InvalidInputError as error:
                    raise FieldError((*where, name, field, "selector"), str(error)) from None


def _step_manifests(step: Step, index: int, document: RawDocument, path: Path) -> manifests.Loaded | None:
    for name in ("apply", "delete"):
        given: tuple[Manifest, ...] | None = getattr(step, name)
        if given is not None:
            return _manifests(given, ("steps", index, name), document, path)
    return None


def _manifests(given: Sequence[Manifest], where: FieldPath, document: RawDocument, path: Path) -> manifests.Loaded:
    """Manifests of one list: paths beside the scenario file, or manifests inside it, with their lines."""
    parts = []
    for number, manifest in enumerate(given):
        if isinstance(manifest, str):
            parts.append(manifests.load(path.parent / manifest))
        else:
            parts.append(manifests.embedded(manifest, str(path), document, (*where, number)))
    return manifests.Loaded.join(parts)
