"""Two roads to each verdict: the oracle and the second reading of the compiled program say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reference import policy
from reference.packet import Packet
from reference.program.compile import Compiler
from reference.program.interpret import decide
from reference.state import State


def disagreements(state: State, packets: Iterable[Packet]) -> Iterator[str]:
    """Each packet the two read differently, with what the oracle gives for its reason."""
    programs = Compiler().compile(state)
    for packet in packets:
        verdict = policy.evaluate(state, packet)
        if verdict.allowed is not decide(programs, state, packet).allowed:
            yield f"{packet}: the oracle says {'allowed' if verdict.allowed else 'denied'}: {verdict.reason}"


def shortcuts(state: State, packets: Iterable[Packet]) -> Iterator[str]:
    """Each packet for which the oracle's fast answer differs from the one it explains."""
    for packet in packets:
        if policy.allowed(state, packet) is not policy.evaluate(state, packet).allowed:
            yield str(packet)
