"""Expectations held against the oracle and the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from emulator.probe.types import Outcome, Probe
from emulator.session import Session
from reference.endpoints import Family
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
from scenarios.schema import AllPairs, Expectation, Flow, Peer

MOST_EXPLAINED = 20  # mismatches that get a kernel trace; each costs a traced probe
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
        for expectation in expectations:
            if expectation.allow is not None:
                asked += [Asked(probe, True) for probe in flows(state, expectation.allow)]
            elif expectation.deny is not None:
                asked += [Asked(probe, False) for probe in flows(state, expectation.deny)]
            elif expectation.oracle is not None:
                asked += [Asked(probe, None) for probe in all_pairs(state, expectation.oracle)]
            elif expectation.encrypted is not None:
                self._watch(step, expectation.encrypted, encrypted=True)
            elif expectation.clear is not None:
                self._watch(step, expectation.clear, encrypted=False)
            elif expectation.unreachable is not None:
                self._unreachable(step, expectation.unreachable)
        self._flows(step, state, asked)

    def _flows(self, step: int, state: State, asked: Sequence[Asked]) -> None:
        for one, outcome in zip(asked, self._session.probe_many([one.probe for one in asked]), strict=True):
            self.endpoints.setdefault(one.probe.source)
            self.endpoints.setdefault(one.probe.destination)
            self.checks.append(self._compare(step, state, one, outcome))

    def _compare(self, step: int, state: State, asked: Asked, outcome: Outcome) -> Check:
        verdict = evaluate(state, outcome.packet)
        status = compare(asked.expected, verdict.allowed, outcome)
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

    def _watch(self, step: int, flow: Flow, *, encrypted: bool) -> None:
        probes = list(flows(self._session.state, flow))
        report = self._session.watch(probes)
        lost = [outcome for outcome in report.outcomes if not outcome.allowed]
        if lost:
            status, detail = "failed", f"{len(lost)} of {len(probes)} flows did not get through: {lost[0].evidence}"
        elif encrypted:
            status = "passed" if report.encrypted and not report.clear else "failed"
            detail = f"{report.encrypted} WireGuard frames, {report.clear} frames with a pod packet in clear"
        else:
            status = "passed" if report.clear and not report.encrypted else "failed"
            detail = f"{report.clear} frames in clear, {report.encrypted} WireGuard frames"
        title = f"{'encrypted' if encrypted else 'in clear'} on the fabric: {len(probes)} flows"
        self._observe(step, title, status, detail)

    def _unreachable(self, step: int, flow: Flow) -> None:
        probes = list(flows(self._session.state, flow))
        outcomes = self._session.probe_many(probes)
        wrong = [outcome for outcome in outcomes if outcome.result in ("allowed", "denied")]
        detail = f"{wrong[0].packet}: {wrong[0].result}, {wrong[0].evidence}" if wrong else outcomes[0].evidence
        self._observe(step, f"unreachable: {len(probes)} flows", "failed" if wrong else "passed", detail)

    def _observe(self, step: int, title: str, status: str, detail: str) -> None:
        known: Status = "passed" if status == "passed" else "failed"
        self.observations.append(Observation(step=step, title=title, status=known, detail=detail))


def compare(expected: bool | None, oracle: bool, outcome: Outcome) -> Status:
    """Whether all voices agree. No evidence agrees with nobody; "unreachable" is no answer, and no denial either."""
    if expected is not None and expected != oracle:
        return "failed"
    if outcome.result in ("unknown", "unreachable"):
        return "unknown"
    return "passed" if outcome.allowed == oracle else "failed"


def flows(state: State, flow: Flow) -> Iterator[Probe]:
    """Every probe a flow expectation stands for."""
    sources, destinations = members(state, flow.from_), members(state, flow.to)
    families: Iterable[Family] = FAMILIES if flow.family is None else (flow.family,)
    for source in sources:
        for destination in destinations:
            if source != destination:
                yield from _between(state, source, destination, flow.ports, families)


def all_pairs(state: State, pairs: AllPairs) -> Iterator[Probe]:
    """Every pair of pods, nodes and hosts on machines that are up; hosts among themselves are not policy's business."""
    pods = [e.name for _, e in sorted(state.endpoints.items()) if e.node not in state.failed_nodes]
    hosts = [name for name in sorted(state.hosts) if name not in state.failed_nodes]
    families: Iterable[Family] = FAMILIES if pairs.family is None else (pairs.family,)
    for source in [*pods, *hosts]:
        for destination in [*pods, *hosts]:
            if source in pods or destination in pods:
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


def _between(
    state: State, source: str, destination: str, ports: Sequence[str], families: Iterable[Family]
) -> Iterator[Probe]:
    for family in families:
        if all(any((":" in a) == (family == 6) for a in addresses_of(state, end)) for end in (source, destination)):
            for port in ports:
                number, protocol = parse_port(port)
                yield Probe(source=source, destination=destination, protocol=protocol, port=number, family=family)
