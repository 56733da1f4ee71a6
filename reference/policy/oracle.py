"""The oracle: what should happen to a packet, and why."""

from __future__ import annotations

from msgspec.structs import replace

from reference.endpoints import WorkloadEndpoint
from reference.packet import Packet
from reference.policy.hosts import Guard
from reference.policy.hosttrace import HostTrace
from reference.policy.podtrace import PodTrace
from reference.policy.question import Question, ask
from reference.policy.trace import Trace
from reference.policy.traffic import Journey, why_nothing
from reference.policy.verdict import Side, SideName, Variant, Verdict
from reference.policy.view import View, view_of
from reference.policy.walk import Recorder
from reference.state import State

_HOST_ACTION = "denied by defaultEndpointToHostAction Drop: a pod does not reach its own node (HEP-12)"


def evaluate(state: State, packet: Packet) -> Verdict:
    """The verdict on the first packet of a flow, with the whole walk at both ends and at every host (2a, 2d, POL-18).

    Policy is all it speaks of: whether there is a route, and whether anybody listens, is not asked.
    """
    view = view_of(state)
    question = ask(view.peers, packet)
    notes = _Notes(view)
    journey = Journey(view, question, notes)
    allowed = journey.run()
    return Verdict(
        packet=packet,
        source=question.source.name,
        destination=question.destination.name,
        allowed=allowed,
        reason=notes.reason(question),
        egress=notes.of_pod("egress"),
        ingress=notes.of_pod("ingress"),
        answer_implied=journey.answer_implied,
        sides=tuple(notes.sides) if any(side.variant for side in notes.sides) else (),
    )


def allowed(state: State, packet: Packet) -> bool:
    """Report whether policy lets the packet through: the same walk, without writing it down."""
    view = view_of(state)
    return answer(view, ask(view.peers, packet))


def answer(view: View, question: Question) -> bool:
    """The same for a question already put."""
    return Journey(view, question).run()


class _Notes:
    """Writes down what is consulted on the way."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._refused = False
        self.sides: list[Side] = []

    def pod(self, endpoint: WorkloadEndpoint, direction: SideName, question: Question) -> Recorder:
        """Notes a walk at a pod."""
        return PodTrace(self._view, endpoint, direction, question)

    def guard(self, where: str, guard: Guard, variant: Variant, direction: SideName, question: Question) -> Recorder:
        """Notes a walk at a host endpoint."""
        return HostTrace(self._view, where, guard, variant, direction, question)

    def concluded(self, recorder: Recorder, *, allowed: bool, why: str = "") -> None:
        """Notes how it ended."""
        assert isinstance(recorder, Trace), "every walk here is traced"
        side = recorder.side(allowed=allowed)
        if why:
            later = None if side.pending_allowed is None else allowed  # staged policies change nothing about it
            side = replace(side, reason=why, pending_hits=(), pending_allowed=later)
        self.sides.append(side)

    def host_refused(self, node: str) -> None:
        """Notes that the node's own door is shut."""
        del node
        self._refused = True

    def of_pod(self, direction: SideName) -> Side | None:
        """What a pod decided."""
        return next((side for side in self.sides if not side.variant and side.direction == direction), None)

    def reason(self, question: Question) -> str:
        """The one line that decided: the first denial, or all that allowed."""
        denials = [side for side in self.sides if not side.allowed]
        if denials:
            return _line(denials[0])
        if self._refused:
            return _HOST_ACTION
        return "; ".join(map(_line, self.sides)) or why_nothing(question)


def _line(side: Side) -> str:
    variant = f" ({side.variant})" if side.variant else ""
    return f"{side.direction} of {side.endpoint}{variant} {side.reason}"
