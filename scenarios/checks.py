"""Expectations held against the oracle and the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from emulator.probe.types import Outcome, Probe
from emulator.session import Session
from reference.endpoints import Family
from reference.errors import InvalidInputError
from reference.naming import addresses_of, parse_port
from reference.policy import evaluate
from reference.policy.verdict import Verdict
from reference.resources import Key
from reference.resources.manifests import Loaded, Sourced
from reference.selectors import parse as parse_selector
from reference.state import State
from reports.results import Check, Observation, Status
from scenarios.blame import blame
from scenarios.load import LoadedScenario
from scenarios.schema import EXPECTATIONS, AllPairs, Expectation, Flow, Peer, Selection

MOST_EXPLAINED = 20  # mismatches that get a kernel trace; each costs a traced probe
EXPECTED = {"allow": True, "deny": False, "oracle": None}  # expectations of plain flows
FAMILIES: tuple[Family, ...] = (4, 6)


@dataclass(frozen=True)
class Asked:
    """One flow to probe, and what the scenario expects of it: allowed, denied, or as the oracle says (None)."""

    probe: Probe
    expected: bool | None


class Checker:
    """Checks expectations against a session, and remembers what came of them."""

    def __init__(self, session: Session, loaded: LoadedScenario) -> None:
        self._session = session
        self._sources: dict[Key, Sourced] = {}
        self._steps = len(loaded.scenario.steps)
        self.know(loaded.start)
        self.checks: list[Check] = []
        self.observations: list[Observation] = []
        self.endpoints: dict[str, None] = {}  # in the order first seen
        self._explained = 0

    def know(self, manifests: Loaded) -> None:
        """Remember where resources come from, so that a mismatch can name the line."""
        self._sources |= {sourced.resource.key: sourced for sourced in manifests}

    def check(self, step: int, expectations: Sequence[Expectation]) -> None:
        """Probe everything the expectations speak of, in one go where they are plain flows."""
        state = self._session.state
        asked: list[Asked] = []
        for number, expectation in enumerate(expectations):
            name, body = given(expectation)
            where = f"{self._place(step)}expect[{number}].{name}"
            probes = asked_by(state, body, where)
            if not probes:
                self._nobody(step, where, body)
            elif name in EXPECTED:
                asked += [Asked(probe, EXPECTED[name]) for probe in probes]
            elif name == "unreachable":
                self._unreachable(step, probes)
            else:
                self._watch(step, probes, encrypted=name == "encrypted")
        self._flows(step, state, asked)

    def _flows(self, step: int, state: State, asked: Sequence[Asked]) -> None:
        for one, outcome in zip(asked, self._session.probe_many([one.probe for one in asked]), strict=True):
            self.endpoints.setdefault(one.probe.source)
            self.endpoints.setdefault(one.probe.destination)
            self.checks.append(self._compare(step, state, one, outcome))

    def _compare(self, step: int, state: State, asked: Asked, outcome: Outcome) -> Check:
        verdict = evaluate(state, outcome.packet)
        status = compare(asked.expected, verdict.allowed, outcome, answer_implied=verdict.answer_implied)
        check = Check(
            step=step,
            source=outcome.probe.source,
            destination=outcome.probe.destination,
            protocol=outcome.probe.protocol,
            port=outcome.probe.port,
            family=outcome.packet.family,
            expected=asked.expected,
            oracle=verdict.allowed,
            kernel=outcome.result,
            status=status,
            seq=outcome.seq,
            evidence=outcome.evidence,
            oracle_reason=verdict.reason,
        )
        return check if status == "passed" else self._explained_check(check, verdict, outcome)

    def _explained_check(self, check: Check, verdict: Verdict, outcome: Outcome) -> Check:
        kernel_trace = ""
        if self._explained < MOST_EXPLAINED:
            self._explained += 1
            kernel_trace = self._session.explain_probe(outcome.probe).kernel_text()
        return msgspec.structs.replace(
            check,
            blame=tuple(blame(verdict, self._sources)),
            kernel_blame=str(outcome.drop.rule) if outcome.drop else "",
            oracle_trace=verdict.explain(),
            kernel_trace=kernel_trace,
        )

    def _place(self, step: int) -> str:
        """How the file calls a step; the expectations at the end belong to none."""
        return f"steps[{step}]." if step < self._steps else ""

    def _nobody(self, step: int, where: str, body: Flow | AllPairs) -> None:
        """An expectation about no flow at all would hold of anything: it is no evidence."""
        ends = f"from {_peer(body.from_)} to {_peer(body.to)}" if isinstance(body, Flow) else "between any pair"
        family = f" over IPv{body.family}" if body.family else ""
        self._observe(step, where, "unknown", f"there is no flow {ends}{family}; nothing was checked")

    def _watch(self, step: int, probes: Sequence[Probe], *, encrypted: bool) -> None:
        report = self._session.watch(probes)
        lost = [outcome for outcome in report.outcomes if not outcome.allowed]
        if lost:
            status: Status = "failed"
            detail = f"{len(lost)} of {len(probes)} flows did not get through: {lost[0].evidence}"
        elif encrypted:
            status = "passed" if report.encrypted and not report.clear else "failed"
            detail = f"{report.encrypted} WireGuard frames, {report.clear} frames with a pod packet in clear"
        else:
            status = "passed" if report.clear and not report.encrypted else "failed"
            detail = f"{report.clear} frames in clear, {report.encrypted} WireGuard frames"
        title = f"{'encrypted' if encrypted else 'in clear'} on the fabric: {len(probes)} flows"
        self._observe(step, title, status, detail)

    def _unreachable(self, step: int, probes: Sequence[Probe]) -> None:
        outcomes = self._session.probe_many(probes)
        wrong = [outcome for outcome in outcomes if outcome.result in ("allowed", "denied")]
        detail = f"{wrong[0].packet}: {wrong[0].result}, {wrong[0].evidence}" if wrong else outcomes[0].evidence
        self._observe(step, f"unreachable: {len(probes)} flows", "failed" if wrong else "passed", detail)

    def _observe(self, step: int, title: str, status: Status, detail: str) -> None:
        self.observations.append(Observation(step=step, title=title, status=status, detail=detail))


def given(expectation: Expectation) -> tuple[str, Flow | AllPairs]:
    """The one field of an expectation that is given; the loader has seen to it that there is one."""
    found: list[tuple[str, Flow | AllPairs | None]] = [(name, getattr(expectation, name)) for name in EXPECTATIONS]
    return next((name, body) for name, body in found if body is not None)


def asked_by(state: State, body: Flow | AllPairs, where: str) -> list[Probe]:
    """Every probe an expectation stands for.

    Raises:
        InvalidInputError: it names somebody who is not there; says which expectation.
    """
    try:
        return list(flows(state, body) if isinstance(body, Flow) else all_pairs(state, body))
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: {error}") from None


def compare(expected: bool | None, oracle: bool, outcome: Outcome, *, answer_implied: bool = True) -> Status:
    """Whether all voices agree. No evidence agrees with nobody; "unreachable" is no answer, and no denial either."""
    if expected is not None and expected != oracle:
        return "failed"
    if outcome.result in ("unknown", "unreachable"):
        return "unknown"
    return "passed" if outcome.bears_out(allowed=oracle, answer_implied=answer_implied) else "failed"


def flows(state: State, flow: Flow) -> Iterator[Probe]:
    """Every probe a flow expectation stands for."""
    sources, destinations = members(state, flow.from_), members(state, flow.to)
    selected = isinstance(flow.from_, Selection) or isinstance(flow.to, Selection)
    families: Iterable[Family] = FAMILIES if flow.family is None else (flow.family,)
    for source in sources:
        for destination in destinations:
            if source != destination or not selected:  # a pod is not its own neighbour, unless it is named twice
                yield from _between(state, source, destination, flow.ports, families)


def all_pairs(state: State, pairs: AllPairs) -> Iterator[Probe]:
    """Every pair of pods, nodes and hosts on machines that are up.

    Hosts among themselves are policy's business only where there are host endpoints.
    """
    pods = dict.fromkeys(e.name for _, e in sorted(state.endpoints.items()) if e.node not in state.failed_nodes)
    hosts = [name for name in sorted(state.hosts) if name not in state.failed_nodes]
    families: Iterable[Family] = FAMILIES if pairs.family is None else (pairs.family,)
    everyone = [*pods, *hosts]
    guarded = "HostEndpoint" in state.resources
    for source in everyone:
        for destination in everyone:
            if source in pods or destination in pods or (guarded and source != destination):
                yield from _between(state, source, destination, pairs.ports, families)


def members(state: State, peer: Peer) -> list[str]:
    """The names a peer of an expectation stands for."""
    if isinstance(peer, str):
        return [peer]
    selector = parse_selector(peer.selector)
    return [
        endpoint.name
        for _, endpoint in sorted(state.endpoints.items())
        if peer.namespace in ("", endpoint.namespace) and selector.matches(endpoint.labels)
    ]


def _peer(peer: Peer) -> str:
    if isinstance(peer, str):
        return peer
    return f"pods {peer.selector}" + (f" in {peer.namespace}" if peer.namespace else "")


def _between(
    state: State, source: str, destination: str, ports: Sequence[str], families: Iterable[Family]
) -> Iterator[Probe]:
    for family in families:
        if all(any((":" in a) == (family == 6) for a in addresses_of(state, end)) for end in (source, destination)):
            for port in ports:
                number, protocol = parse_port(port)
                yield Probe(source=source, destination=destination, protocol=protocol, port=number, family=family)
