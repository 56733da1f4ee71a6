"""Differential search: random clusters and packets, the oracle against the program and now and then the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from msgspec.structs import replace

from property_tests.campaigns.live import EPHEMERAL_PORT, LiveKernel, can_be_sent
from property_tests.campaigns.reproduction import as_scenario
from property_tests.campaigns.results import CampaignResult, Mismatch
from property_tests.campaigns.shrinking import Fails, shrink
from property_tests.strategies.choices import Seeded
from property_tests.strategies.clusters import Cluster, cluster
from property_tests.strategies.packets import has_pods, interest, packet
from property_tests.worlds import World, built, fabric_world, new_world, on_fabric, pinned
from reference import policy
from reference.errors import InvalidInputError
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.resources import AnyResource
from reference.state import State

Kernel = Callable[[Sequence[AnyResource], Sequence[Packet]], Sequence[bool | None]]  # None: no evidence either way

PACKETS_PER_CLUSTER = 250
KERNEL_EVERY = 25  # of so many clusters, one is brought up for real
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
    silent: int = 0
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
            silent=self.silent,
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
    live: bool = False,
    kernel_every: int = KERNEL_EVERY,
    most_clusters: int | None = None,
) -> CampaignResult:
    """Search until time is over, a mismatch is found, or `most_clusters` were tried; a mismatch is shrunk.

    The same seed tries the same clusters and packets in the same order. `kernel` brings up resources and says of each
    packet whether it got through; `live` makes one, a real cluster that stays up as long as the campaign. One in
    `kernel_every` clusters is put to it.

    Raises:
        EnvironmentLacksError: `live`, and this machine cannot run a cluster.
    """
    with ExitStack() as stack:
        if live:
            kernel = stack.enter_context(LiveKernel())
        begun = time.monotonic()
        campaign = _Campaign(seed)
        while time.monotonic() - begun < seconds and campaign.clusters != most_clusters and not campaign.mismatches:
            _try_cluster(campaign, kernel if campaign.clusters % kernel_every == 0 else None)
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
        campaign.mismatches.append(_shrunk(resources, found, "program", number, program_differs, new_world()))
    elif kernel is not None:
        _try_kernel(campaign, kernel, resources, choices)


def _differing_program(campaign: _Campaign, state: State, asked: Sequence[Packet]) -> Packet | None:
    programs = Compiler().compile(state)
    for one in asked:
        campaign.packets += 1
        allowed = policy.allowed(state, one)
        campaign.allowed += allowed
        if allowed is not decide(programs, state, one).allowed:
            return one
    return None


def _try_kernel(campaign: _Campaign, kernel: Kernel, resources: Cluster, choices: Seeded) -> None:
    """Bring the cluster up on the fabric. Silence is counted, and no answer: it is neither an allow nor a deny."""
    resources = on_fabric(resources)
    state = fabric_world().apply(*resources).state
    about = interest(state, held_only=True)
    drawn = (packet(choices, about) for _ in range(KERNEL_PACKETS))
    asked = [one for one in dict.fromkeys(map(_sendable, drawn)) if can_be_sent(one)]
    answers = kernel(pinned(resources, state), asked)
    campaign.kernel_packets += len(asked)
    campaign.silent += sum(answer is None for answer in answers)
    for one, answer in zip(asked, answers, strict=True):
        if answer is (not policy.allowed(state, one)):
            found = _shrunk(resources, one, "kernel", campaign.clusters - 1, kernel_differs(kernel), fabric_world())
            campaign.mismatches.append(found)
            return


def _sendable(one: Packet) -> Packet:
    """The packet as a probe can send it: from any port, and of ICMP only echo requests."""
    if one.icmp_type is not None:
        return replace(one, icmp_type=8 if one.family == 4 else 128, icmp_code=0)
    return replace(one, source_port=EPHEMERAL_PORT) if one.source_port else one


def program_differs(resources: Sequence[AnyResource], one: Packet) -> bool:
    """Report whether oracle and program differ on a packet; invalid resources differ in nothing."""
    try:
        state = built(resources)
    except InvalidInputError:
        return False
    return policy.allowed(state, one) is not decide(Compiler().compile(state), state, one).allowed


def kernel_differs(kernel: Kernel) -> Fails:
    """Report whether oracle and kernel differ on a packet; invalid resources and silence differ in nothing."""

    def differs(resources: Sequence[AnyResource], one: Packet) -> bool:
        try:
            state = fabric_world().apply(*resources).state
        except InvalidInputError:
            return False
        if not can_be_sent(one) or not _held(state, one):
            return False
        (answer,) = kernel(resources, [one])
        return answer is (not policy.allowed(state, one))

    return differs


def _held(state: State, one: Packet) -> bool:
    hosts = {address for host in state.hosts.values() for address in host.addresses}
    return all(address in state.addresses or address in hosts for address in (one.source, one.destination))


def _between_pods(one: Packet, state: State) -> Iterator[Packet]:
    """The same packet with its strange end, if it has one, at a pod: a scenario can send that for real."""
    for pod in interest(state, held_only=True).pods[one.family]:
        if one.source not in state.addresses:
            yield replace(one, source=pod)
        elif one.destination not in state.addresses:
            yield replace(one, destination=pod)


def _shrunk(
    resources: Cluster, one: Packet, other: Literal["program", "kernel"], number: int, differs: Fails, empty: World
) -> Mismatch:
    """The mismatch, as small as the time for shrinking allows, addresses pinned so that they stay what they were."""
    until = time.monotonic() + SHRINKING_SECONDS
    state = empty.apply(*resources).state
    still = pinned(resources, state)
    if not differs(still, one):
        still = resources
    one = next((held for held in _between_pods(one, state) if differs(still, held)), one)
    smallest, plainest = shrink(still, one, differs, lambda: time.monotonic() > until)
    state = empty.apply(*smallest).state
    verdict = policy.evaluate(state, plainest)
    scenario = as_scenario(smallest, verdict, state, other)
    return Mismatch(tuple(smallest), plainest, verdict.allowed, other, number, scenario)
