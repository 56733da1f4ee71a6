"""From scenario files to scenarios: found, read, checked; their manifests loaded and validated too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from emulator.dataplane import DATAPLANES
from emulator.spec import MOST_NODES
from reference.errors import InvalidInputError
from reference.naming import parse_port
from reference.resources import manifests
from reference.resources.documents import DocumentFault, RawDocument, read_documents
from reference.resources.faults import FieldError, FieldPath, format_path, suggestion
from reference.resources.mismatch import mismatch
from reference.selectors import parse as parse_selector
from scenarios.dataplanes import AND
from scenarios.schema import ACTIONS, EXPECTATIONS, AllPairs, Expectation, Flow, Manifest, Scenario, Selection, Step
from topologies import TOPOLOGIES

LONGEST_WAIT = 600  # seconds
SPELLED = {"fail_node": "failNode", "recover_node": "recoverNode"}  # as the file has them

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
    origin = manifests.Origin(str(path), document.number, document.extent)
    try:
        scenario = _decode(document, origin)
        _check(scenario)
        _check_paths(scenario, path)
    except FieldError as error:
        raise ScenarioError(_located(error, origin)) from None
    return LoadedScenario(
        scenario=scenario,
        path=path,
        start=_manifests(scenario.manifests, ("manifests",), document, path),
        steps=tuple(_step_manifests(step, index, document, path) for index, step in enumerate(scenario.steps)),
    )


def _read(path: Path) -> RawDocument:
    try:
        documents = list(read_documents(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "not UTF-8 text"
        raise ScenarioError(f"{path}: {reason}") from None
    except DocumentFault as fault:
        where = f"{path}:{fault.line}" if fault.line else str(path)
        field = f"{format_path(fault.path)}: " if fault.path else ""
        raise ScenarioError(f"{where}: {field}{fault.message}") from None
    if len(documents) != 1:
        raise ScenarioError(f"{path}: a scenario file holds one document, this one has {len(documents)}")
    return documents[0]


def _decode(document: RawDocument, origin: manifests.Origin) -> Scenario:
    try:
        return msgspec.convert(document.value, Scenario)
    except msgspec.ValidationError as error:
        raise mismatch(document.value, Scenario, origin.text) or FieldError((), str(error)) from None


def _located(error: FieldError, origin: manifests.Origin) -> str:
    field = f"{format_path(error.path)}: " if error.path else ""
    return f"{origin.file}:{origin.line_of(error.path) or 1}: {field}{error.message}"


def _check(scenario: Scenario) -> None:
    """What the types cannot say."""
    if not _NAME.fullmatch(scenario.name):
        raise FieldError(("name",), "write lower-case words joined by dashes, such as default-deny")
    _check_known("topology", scenario.topology, TOPOLOGIES)
    for name in scenario.dataplane.split(AND):
        _check_known("dataplane", name, DATAPLANES)
    if not 1 <= scenario.nodes <= MOST_NODES:
        raise FieldError(("nodes",), f"{scenario.nodes}: a cluster has 1 to {MOST_NODES} nodes")
    if not scenario.expect and not any(step.expect for step in scenario.steps):
        raise FieldError((), "there is no expectation; say under `expect` what must be true")
    for index, step in enumerate(scenario.steps):
        _check_step(step, scenario.nodes, ("steps", index))
    for where, expectation in _expectations(scenario):
        _check_expectation(expectation, where, scenario.encryption)


def _check_known(field: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        hint = suggestion(value, known) or f"; there is {', '.join(sorted(known))}"
        raise FieldError((field,), f"{value!r} is not known{hint}")


def _check_step(step: Step, nodes: int, where: FieldPath) -> None:
    action = _exactly_one(step, ACTIONS, where)
    if step.wait is not None and not 0 <= step.wait <= LONGEST_WAIT:
        raise FieldError((*where, "wait"), f"{step.wait:g}: wait 0 to {LONGEST_WAIT} seconds")
    node = step.fail_node or step.recover_node
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    if node is not None and node not in names:
        raise FieldError(
            (*where, SPELLED[action]), f"{node!r} is not a node of this cluster; it has {', '.join(names)}"
        )


def _expectations(scenario: Scenario) -> Iterator[tuple[FieldPath, Expectation]]:
    for number, expectation in enumerate(scenario.expect):
        yield ("expect", number), expectation
    for index, step in enumerate(scenario.steps):
        for number, expectation in enumerate(step.expect or ()):
            yield ("steps", index, "expect", number), expectation


def _exactly_one(value: Step | Expectation, names: Sequence[str], where: FieldPath) -> str:
    given = [name for name in names if getattr(value, name) is not None]
    if len(given) != 1:
        choices, found = (", ".join(SPELLED.get(name, name) for name in some) for some in (names, given))
        raise FieldError(where, f"give exactly one of {choices}; this has {found or 'none'}")
    return given[0]


def _check_expectation(expectation: Expectation, where: FieldPath, encryption: str) -> None:
    name = _exactly_one(expectation, EXPECTATIONS, where)
    where = (*where, name)
    if name == "encrypted" and not encryption:
        raise FieldError(where, "nothing is encrypted in this cluster; write `encryption: wireguard` above")
    body: Flow | AllPairs = getattr(expectation, name)
    if not body.ports:
        raise FieldError((*where, "ports"), "an empty list checks nothing; name a port, such as 80/TCP")
    for number, port in enumerate(body.ports):
        _parsed(parse_port, port, (*where, "ports", number))
    if isinstance(body, Flow):
        for field, peer in (("from", body.from_), ("to", body.to)):
            if isinstance(peer, Selection):
                _parsed(parse_selector, peer.selector, (*where, field, "selector"))


def _parsed(parse: Callable[[str], object], text: str, where: FieldPath) -> None:
    try:
        parse(text)
    except InvalidInputError as error:
        raise FieldError(where, str(error)) from None


def _check_paths(scenario: Scenario, path: Path) -> None:
    """Manifests by path are there: said with the line that names them."""
    lists: list[tuple[FieldPath, Sequence[Manifest]]] = [(("manifests",), scenario.manifests)]
    for index, step in enumerate(scenario.steps):
        lists += [(("steps", index, "apply"), step.apply or ()), (("steps", index, "delete"), step.delete or ())]
    for where, given in lists:
        for number, manifest in enumerate(given):
            if isinstance(manifest, str) and not (path.parent / manifest).exists():
                raise FieldError((*where, number), f"there is no file or folder {manifest!r} beside {path.name}")


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
