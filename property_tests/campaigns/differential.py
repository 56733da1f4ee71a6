"""Differential search: random clusters and packets, the oracle against the program and now and then the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from property_tests.campaigns.reproduction import as_scenario
from property_tests.campaigns.results import CampaignResult, Mismatch
from property_tests.campaigns.shrinking import Fails, shrink
from property_tests.strategies.choices import Seeded
from property_tests.strategies.clusters import Cluster, cluster
from property_tests.strategies.packets import Interest, has_pods, interest, packet
from property_tests.worlds import built, pinned
from reference import policy
from reference.errors import InvalidInputError
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.resources import AnyResource
from reference.state import State

Kernel = Callable[[Sequence[AnyResource], Sequence[Packet]], Sequence[bool]]

PACKETS_PER_CLUSTER = 250
KERNEL_EVERY = 50  # clusters between two that are brought up for real
KERNEL_PACKETS = 60
SHRINKING_SECONDS = 20.0
_REASONS_KEPT = 5


@dataclass(slots=True)
class _Campaign:
    """The running totals."""

    seed: int
    clusters: int = 0
    packets: int = 0
    allowed: int = 0
    kernel_packets: int = 0
    refused: int = 0
    refusals: list[str] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)

    def line(self) -> str:
        return f"{self.clusters} clusters, {self.packets} packets, {len(self.mismatches)} mismatches"

    def refuse(self, reason: str) -> None:
        self.refused += 1
        if len(self.refusals) < _REASONS_KEPT:
            self.refusals.append(reason)

    def result(self, seconds: float) -> CampaignResult:
        return CampaignResult(
            seed=self.seed,
            clusters=self.clusters,
            packets=self.packets,
            allowed=self.allowed,
            kernel_packets=self.kernel_packets,
            refused=self.refused,
            seconds=seconds,
            mismatches=tuple(self.mismatches),
            refusals=tuple(self.refusals),
        )


def search(
    seconds: float,
    seed: int,
    on_progress: Callable[[str], None] | None = None,
    *,
    kernel: Kernel | None = None,
    most_clusters: int | None = None,
) -> CampaignResult:
    """Search until time is over, a mismatch is found, or `most_clusters` were tried; a mismatch is shrunk.

    The same seed tries the same clusters and packets in the same order. `kernel` brings up a cluster and says of each
    packet whether it got through; only packets between addresses that answer are put to it.
    """
    begun = time.monotonic()
    campaign = _Campaign(seed)
    while time.monotonic() - begun < seconds and campaign.clusters != most_clusters and not campaign.mismatches:
        _try_cluster(campaign, kernel)
        if on_progress is not None:
            on_progress(campaign.line())
    return campaign.result(time.monotonic() - begun)


def _try_cluster(campaign: _Campaign, kernel: Kernel | None) -> None:
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
    found = _differing_program(campaign, state, asked)
    if found is not None:
        campaign.mismatches.append(_shrunk(resources, found, "program", number, program_differs))
    elif kernel is not None and number % KERNEL_EVERY == 0:
        _try_kernel(campaign, kernel, resources, state, choices)


def _differing_program(campaign: _Campaign, state: State, asked: Sequence[Packet]) -> Packet | None:
    programs = Compiler().compile(state)
    for one in asked:
        campaign.packets += 1
        allowed = policy.allowed(state, one)
        campaign.allowed += allowed
        if allowed is not decide(programs, state, one).allowed:
            return one
    return None


def _try_kernel(campaign: _Campaign, kernel: Kernel, resources: Cluster, state: State, choices: Seeded) -> None:
    resources = pinned(resources, state)
    about = interest(state, held_only=True)
    asked = list(dict.fromkeys(_answerable(choices, about)))
    answers = kernel(resources, asked)
    campaign.kernel_packets += len(asked)
    for one, answer in zip(asked, answers, strict=True):
        if policy.allowed(state, one) is not answer:
            differs = kernel_differs(kernel)
            campaign.mismatches.append(_shrunk(resources, one, "kernel", campaign.clusters - 1, differs))
            return


def _answerable(choices: Seeded, about: Interest) -> Iterator[Packet]:
    for _ in range(KERNEL_PACKETS):
        one = packet(choices, about)
        if one.protocol in (1, 6, 17, 58) and one.icmp_type in (None, 8, 128):
            yield one


def program_differs(resources: Sequence[AnyResource], one: Packet) -> bool:
    """Report whether oracle and program differ on a packet; invalid resources differ in nothing."""
    try:
        state = built(resources)
    except InvalidInputError:
        return False
    return policy.allowed(state, one) is not decide(Compiler().compile(state), state, one).allowed


def kernel_differs(kernel: Kernel) -> Fails:
    """Report whether oracle and kernel differ on a packet; invalid resources differ in nothing."""

    def differs(resources: Sequence[AnyResource], one: Packet) -> bool:
        try:
            state = built(resources)
        except InvalidInputError:
            return False
        (answer,) = kernel(resources, [one])
        return policy.allowed(state, one) is not answer

    return differs


def _between_pods(one: Packet, state: State) -> Iterator[Packet]:
    """The same packet with its strange end, if it has one, at a pod: a scenario can send that for real."""
    for pod in interest(state, held_only=True).pods[one.family]:
        if one.source not in state.addresses:
            yield replace(one, source=pod)
        elif one.destination not in state.addresses:
            yield replace(one, destination=pod)


def _shrunk(
    resources: Cluster, one: Packet, other: Literal["program", "kernel"], number: int, differs: Fails
) -> Mismatch:
    """The mismatch, as small as the time for shrinking allows, addresses pinned so that they stay what they were."""
    until = time.monotonic() + SHRINKING_SECONDS
    state = built(resources)
    still = pinned(resources, state)
    if not differs(still, one):
        still = resources
    one = next((held for held in _between_pods(one, state) if differs(still, held)), one)
    smallest, plainest = shrink(still, one, differs, lambda: time.monotonic() > until)
    state = built(smallest)
    verdict = policy.evaluate(state, plainest)
    scenario = as_scenario(smallest, verdict, state, other)
    return Mismatch(tuple(smallest), plainest, verdict.allowed, other, number, scenario)
