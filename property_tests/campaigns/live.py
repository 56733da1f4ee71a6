"""The kernel's side of a campaign: a cluster per dataplane stays up, each trial's resources replace the last one's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from emulator.dataplane.ebpf.trial import Trial
from emulator.probe.types import Outcome, Probe
from emulator.session import Session
from emulator.spec import DEFAULT_DATAPLANE
from property_tests.worlds import FABRIC_NODES, FABRIC_TOPOLOGY
from reference.errors import EnvironmentLacksError
from reference.packet import PORTED, PROTOCOLS, Packet, protocol_name
from reference.policy import evaluate
from reference.resources import AnyResource, Key
from reference.resources.defaults import defaulted
from reference.state import State

EPHEMERAL_PORT = 40000  # stands for whichever port the kernel chooses; no generated rule tells them apart
_ECHO_REQUESTS = ((PROTOCOLS["ICMP"], 8), (PROTOCOLS["ICMPv6"], 128))
_ANSWERS = {"allowed": True, "denied": False}


def can_be_sent(packet: Packet) -> bool:
    """Report whether a probe can ask about the packet: an echo request, or any port from a port of the kernel's."""
    if packet.protocol in PORTED:
        return packet.source_port == EPHEMERAL_PORT
    return (packet.protocol, packet.icmp_type) in _ECHO_REQUESTS and not packet.icmp_code


class LiveKernel:
    """A running cluster that answers packets. Use it in a `with` block; called, it brings up the resources asked of."""

    def __init__(self, dataplane: str = DEFAULT_DATAPLANE) -> None:
        """Bring nothing up yet."""
        self._session = Session(topology=FABRIC_TOPOLOGY, nodes=FABRIC_NODES, dataplane=dataplane)
        self._seeded: frozenset[Key] = frozenset()

    def __enter__(self) -> Self:
        try:
            self._session.start()
        except BaseException:
            self._session.close()
            raise
        self._seeded = frozenset(_keys(self._session.state))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def __call__(self, resources: Sequence[AnyResource], packets: Sequence[Packet]) -> list[bool | None]:
        """Whether each packet gets through between these resources; None where the network gave no evidence."""
        self._clear()
        self._session.apply_resources([defaulted(resource) for resource in resources])
        state = self._session.state
        return [_arrived(state, outcome) for outcome in self._ask(state, packets)]

    def _ask(self, state: State, packets: Iterable[Packet]) -> list[Outcome]:
        return self._session.probe_many([_probe(state, packet) for packet in packets])

    def _clear(self) -> None:
        keys = [key for key in _keys(self._session.state) if key not in self._seeded]
        if keys:
            self._session.delete_keys(keys)


@dataclass(frozen=True, slots=True)
class Kernels:
    """What of the kernel a campaign can ask."""

    live: Mapping[str, LiveKernel]  # by dataplane
    test_runs: Trial | None  # of the eBPF programs, where they run
    lacking: Mapping[str, str]  # why a dataplane is left out, by its name


@contextmanager
def brought_up(dataplanes: Iterable[str], say: Callable[[str], None] = lambda _: None) -> Iterator[Kernels]:
    """A live cluster for each of these dataplanes that this machine and user can run, while the block runs."""
    with ExitStack() as stack:
        live: dict[str, LiveKernel] = {}
        lacking: dict[str, str] = {}
        test_runs = None
        for name in dataplanes:
            say(f"bringing up a cluster on {name}")
            try:
                live[name] = stack.enter_context(LiveKernel(name))
                if name == "ebpf":
                    test_runs = stack.enter_context(Trial())
            except EnvironmentLacksError as error:
                lacking[name] = " ".join(str(error).split())
        yield Kernels(live, test_runs, lacking)


def _arrived(state: State, outcome: Outcome) -> bool | None:
    """Whether the packet got through, with its answer where that is implied (HEP-4); None without evidence."""
    if outcome.answer_dropped and not evaluate(state, outcome.packet).answer_implied:
        return True
    return _ANSWERS.get(outcome.result)


def _keys(state: State) -> Iterator[Key]:
    for found in state.resources.values():
        yield from found


def _probe(state: State, packet: Packet) -> Probe:
    return Probe(
        source=name_at(state, packet.source),
        destination=name_at(state, packet.destination),
        protocol=protocol_name(packet.protocol) if packet.protocol in PORTED else "ICMP",
        port=packet.destination_port,
        family=packet.family,
    )


def name_at(state: State, address: str) -> str:
    """The pod or host that holds an address, or the address itself."""
    for namespace, pod in state.addresses.get(address, ()):
        return f"{namespace}/{pod}"
    return next((host.name for host in state.hosts.values() if address in host.addresses), address)
