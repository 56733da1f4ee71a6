"""Differential search: random clusters and packets, the oracle against all that reads the same resources.

Every cluster is put to the second reading and, where they are there, to the eBPF programs in a test run; now and then
one is brought up for real on every dataplane at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from msgspec.structs import replace

from property_tests.campaigns.evidence import shrunk
from property_tests.campaigns.live import EPHEMERAL_PORT, can_be_sent
from property_tests.campaigns.results import ORACLE, PROGRAM, TEST_RUN, CampaignResult, Mismatch, Reading
from property_tests.campaigns.witnesses import (
    Crafted,
    CraftedReading,
    Kernel,
    LiveReading,
    SecondReading,
    Witness,
    objection,
    reasoned_objection,
)
from property_tests.strategies.choices import Seeded
from property_tests.strategies.clusters import Cluster, cluster
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import built, fabric_world, on_fabric, pinned
from reference import policy
from reference.errors import InvalidInputError
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.interpret import Decision, decide
from reference.program.types import NodeProgram
from reference.resources import AnyResource
from reference.state import State

PACKETS_PER_CLUSTER = 250
KERNEL_EVERY = 25  # of so many clusters, one is brought up for real
KERNEL_PACKETS = 60
_REASONS_KEPT = 5


@dataclass(slots=True)
class _Campaign:
    """Who is asked, and the running totals."""

    seed: int
    kernels: Mapping[str, Kernel]
    test_runs: Crafted | None
    clusters: int = 0
    allowed: int = 0
    refused: int = 0
    refusals: list[str] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    readings: dict[str, Reading] = field(default_factory=dict)

    def line(self) -> str:
        asked = ", ".join(f"{name} {reading.packets}" for name, reading in self.readings.items())
        return f"{self.clusters} clusters; packets: {asked or 'none'}; {len(self.mismatches)} mismatches"

    def refuse(self, reason: str) -> None:
        self.refused += 1
        if len(self.refusals) < _REASONS_KEPT:
            self.refusals.append(reason)

    @contextmanager
    def reading(self, name: str, packets: int) -> Iterator[Reading]:
        """Count packets for a reader, and the time they take."""
        reading = self.readings.setdefault(name, Reading())
        reading.clusters += 1
        reading.packets += packets
        begun = time.monotonic()
        try:
            yield reading
        finally:
            reading.seconds += time.monotonic() - begun

    def result(self, seconds: float) -> CampaignResult:
        return CampaignResult(
            seed=self.seed,
            clusters=self.clusters,
            allowed=self.allowed,
            refused=self.refused,
            seconds=seconds,
            readings=self.readings,
            mismatches=tuple(self.mismatches),
            refusals=tuple(self.refusals),
        )


def search(
    seconds: float,
    seed: int,
    on_progress: Callable[[str], None] | None = None,
    *,
    kernels: Mapping[str, Kernel] | None = None,
    test_runs: Crafted | None = None,
    kernel_every: int = KERNEL_EVERY,
    most_clusters: int | None = None,
) -> CampaignResult:
    """Search until time is over, a mismatch is found, or `most_clusters` were tried; a mismatch is shrunk.

    The same seed tries the same clusters and packets in the same order. A kernel, named by its dataplane, brings up
    resources and says of each packet whether it got through; one in `kernel_every` clusters is put to all of them.
    `test_runs` runs the eBPF programs on every cluster's packets. `live.brought_up` makes both.
    """
    begun = time.monotonic()
    campaign = _Campaign(seed, kernels or {}, test_runs)
    while time.monotonic() - begun < seconds and campaign.clusters != most_clusters and not campaign.mismatches:
        _try_cluster(campaign, live=campaign.clusters % kernel_every == 0)
        if on_progress is not None:
            on_progress(campaign.line())
    return campaign.result(time.monotonic() - begun)


def _try_cluster(campaign: _Campaign, *, live: bool) -> None:
    number = campaign.clusters
    campaign.clusters += 1
    choices = Seeded(f"{campaign.seed}/{number}")
    resources = cluster(choices)
    try:
        state = built(resources)
    except InvalidInputError as error:
        campaign.refuse(str(error))
        return
    about = interest(state)
    if not has_pods(about):
        return
    asked = [packet(choices, about) for _ in range(PACKETS_PER_CLUSTER)]
    found = _offline(campaign, state, asked)
    if found is None and live and campaign.kernels:
        resources = on_fabric(resources)
        found = _for_real(campaign, resources, choices)
    if found is not None:
        campaign.mismatches.append(shrunk(resources, *found, number))


Found = tuple[Packet, Witness]


def _offline(campaign: _Campaign, state: State, asked: Sequence[Packet]) -> Found | None:
    """The first packet on which the second reading, or the programs in a test run, object."""
    programs = Compiler().compile(state)
    with campaign.reading(ORACLE, len(asked)):
        verdicts = [policy.allowed(state, one) for one in asked]
    campaign.allowed += sum(verdicts)
    with campaign.reading(PROGRAM, len(asked)):
        decisions = [decide(programs, state, one) for one in asked]
    for one, verdict, decision in zip(asked, verdicts, decisions, strict=True):
        if objection(verdict, decision.allowed):
            return one, SecondReading()
    if campaign.test_runs is None:
        return None
    return _in_test_run(campaign, campaign.test_runs, state, programs, asked, decisions)


def _in_test_run(
    campaign: _Campaign,
    test_runs: Crafted,
    state: State,
    programs: Mapping[str, NodeProgram],
    asked: Sequence[Packet],
    decisions: Sequence[Decision],
) -> Found | None:
    test_runs.bring(state, programs)
    with campaign.reading(TEST_RUN, len(asked)) as reading:
        fates = test_runs.fates(asked)
    reading.silent += sum(fate is None for fate in fates)
    for one, decision, fate in zip(asked, decisions, fates, strict=True):
        if reasoned_objection(decision, fate):
            return one, CraftedReading(test_runs)
    return None


def _for_real(campaign: _Campaign, resources: Cluster, choices: Seeded) -> Found | None:
    """Bring the cluster up on every dataplane's fabric, all at once; the first packet that one of them objects to.

    Silence is counted, and no answer: it is neither an allow nor a deny.
    """
    state = fabric_world().apply(*resources).state
    about = interest(state, held_only=True)
    drawn = (packet(choices, about) for _ in range(KERNEL_PACKETS))
    asked = [one for one in dict.fromkeys(map(_sendable, drawn)) if can_be_sent(one)]
    brought = pinned(resources, state)

    def ask(dataplane: str) -> Sequence[bool | None]:
        with campaign.reading(dataplane, len(asked)) as reading:
            answers = campaign.kernels[dataplane](brought, asked)
        reading.silent += sum(answer is None for answer in answers)
        return answers

    with ThreadPoolExecutor(len(campaign.kernels)) as at_once:
        answered = dict(zip(campaign.kernels, at_once.map(ask, campaign.kernels), strict=True))
    verdicts = [policy.allowed(state, one) for one in asked]
    for dataplane, answers in answered.items():
        for one, verdict, answer in zip(asked, verdicts, answers, strict=True):
            if objection(verdict, answer):
                return one, LiveReading(dataplane, campaign.kernels[dataplane])
    return None


def _sendable(one: Packet) -> Packet:
    """The packet as a probe can send it: from any port, and of ICMP only echo requests."""
    if one.icmp_type is not None:
        return replace(one, icmp_type=8 if one.family == 4 else 128, icmp_code=0)
    return replace(one, source_port=EPHEMERAL_PORT) if one.source_port else one


def program_differs(resources: Sequence[AnyResource], one: Packet) -> bool:
    """Report whether oracle and program differ on a packet; invalid resources differ in nothing."""
    return bool(SecondReading().objects(resources, one))
