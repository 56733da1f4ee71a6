"""The oracle: what should happen to a packet, and why."""

from __future__ import annotations

from reference.endpoints import WorkloadEndpoint
from reference.packet import Packet
from reference.policy.podtrace import PodTrace
from reference.policy.question import Question, ask
from reference.policy.traffic import Consulted, consulted
from reference.policy.verdict import Side, SideName, Verdict
from reference.policy.view import View, view_of
from reference.policy.walk import walk
from reference.state import State

_HOST_ACTION = "denied by defaultEndpointToHostAction Drop: a pod does not reach its own node (HEP-12)"


def evaluate(state: State, packet: Packet) -> Verdict:
    """The verdict on the first packet of a flow, with the whole walk at both ends (2a, POL-18).

    Policy is all it speaks of: whether there is a route, and whether anybody listens, is not asked.
    """
    view = view_of(state)
    question = ask(view.peers, packet)
    ends = consulted(question)
    egress = None if ends.egress is None else _side(view, question, ends.egress, "egress")
    ingress = None if ends.ingress is None else _side(view, question, ends.ingress, "ingress")
    sides = [side for side in (egress, ingress) if side is not None]
    return Verdict(
        packet=packet,
        source=question.source.name,
        destination=question.destination.name,
        allowed=all(side.allowed for side in sides) and not ends.to_own_host,
        reason=_reason(ends, sides),
        egress=egress,
        ingress=ingress,
    )


def allowed(state: State, packet: Packet) -> bool:
    """Report whether policy lets the packet through: the same walk, without writing it down."""
    view = view_of(state)
    return answer(view, ask(view.peers, packet))


def answer(view: View, question: Question) -> bool:
    """The same for a question already put."""
    ends = consulted(question)
    if ends.egress is not None and not walk(view.way(ends.egress, "egress"), question):
        return False
    if ends.to_own_host:
        return False
    return ends.ingress is None or walk(view.way(ends.ingress, "ingress"), question)


def _side(view: View, question: Question, endpoint: WorkloadEndpoint, direction: SideName) -> Side:
    trace = PodTrace(view, endpoint, direction, question)
    return trace.side(allowed=walk(view.way(endpoint, direction), question, trace))


def _reason(ends: Consulted, sides: list[Side]) -> str:
    """The one line that decided: the first denial, or all that allowed."""
    if not sides:
        return ends.why
    denials = [side for side in sides if not side.allowed]
    if denials:
        return _line(denials[0])
    if ends.to_own_host:
        return _HOST_ACTION
    return "; ".join(map(_line, sides))


def _line(side: Side) -> str:
    return f"{side.direction} of {side.endpoint} {side.reason}"
