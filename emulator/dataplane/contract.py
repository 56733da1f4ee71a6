"""The contract between a node and its dataplane.

A dataplane makes one node's kernel be a `NodeProgram`. Every method runs in a thread that lives in the node's network
namespace, so a dataplane never names a namespace. Adding one is a module with a class that keeps this contract, and a
line in `emulator.dataplane.DATAPLANES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from reference.packet import Packet
from reference.program.types import FlowDirection, NodeProgram

Guard = Literal["spoofed", "invalid", "unknown interface", "to host", "no profile matched", "encapsulated"]


class RuleRef(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What decided: a user's rule (FL-5 terms), the end of a tier (`rule` -1), or a fixed guard (`guard` set)."""

    tier: str = ""
    policy: str = ""  # PolicyProgram id: "np:shop/web"
    direction: FlowDirection | Literal[""] = ""
    rule: int = -1
    action: Literal["allow", "deny", "pass", "log"] = "deny"
    guard: Guard | Literal[""] = ""

    def __str__(self) -> str:
        if self.guard:
            return self.guard + (f" ({self.direction})" if self.direction else "")
        place = f"rule {self.rule} of {self.policy}" if self.rule >= 0 else "end of tier"
        return f"{self.action} by {place} ({self.direction}, tier {self.tier})"


class Counter(msgspec.Struct, frozen=True):
    """What a rule has seen."""

    packets: int
    bytes: int


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """One packet a node's kernel dropped, and the rule that dropped it: the positive evidence of a denial."""

    node: str
    rule: RuleRef
    packet: Packet
    interface: str  # the workload interface it came from or was going to, "" if neither is known


class TraceStep(msgspec.Struct, frozen=True, kw_only=True):
    """One rule a traced packet met in the kernel."""

    node: str
    chain: str
    rule: RuleRef | None  # None for the dataplane's own plumbing
    text: str  # for people: the rule as the kernel lists it, or "policy accept"
    verdict: str  # "continue", "jump <chain>", "accept", "drop", "return"


class Applied(msgspec.Struct, frozen=True):
    """What an apply sent to the kernel: nothing at all when the program was already there."""

    operations: int
    bytes: int


class Plan(Protocol):
    """What turns a kernel into a program, ready to be sent: the difference between what is wanted and what is there."""

    @property
    def program(self) -> NodeProgram:
        """What the kernel will be."""
        ...

    def lines(self) -> list[str]:
        """A line for each step, in order, in the dataplane's own terms; none when the kernel is there already."""
        ...


class Tracing(Protocol):
    """A packet trace under way in a node's kernel."""

    def steps(self) -> list[TraceStep]:
        """Every rule met so far, in order; may be asked any number of times."""
        ...

    def close(self) -> None:
        """End the trace and leave nothing of it in the kernel. Ending twice is harmless."""
        ...


class DropSource(Protocol):
    """Where a node's kernel reports the packets its dataplane drops; read by one thread at a time, any thread."""

    def fileno(self) -> int:
        """A descriptor that is readable when there are reports."""
        ...

    def drain(self) -> list[Drop]:
        """All reports there are, oldest first, without waiting."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class Dataplane(Protocol):
    """Makes the kernel of one node be a program, and tells what the kernel is and saw."""

    name: str

    def plan(self, program: NodeProgram) -> Plan:
        """What differs between the kernel and `program` (DP-1, invariant 28). Nothing is sent.

        What a new object finds in the kernel, it reads. A plan is for the next `apply`; a later one needs a new plan.

        Raises:
            EnvironmentLacksError: the dataplane or the kernel cannot express something.
        """
        ...

    def apply(self, wanted: NodeProgram | Plan) -> Applied:
        """Make the kernel be a program: carry out a plan of this object, or make one and carry it out.

        One atomic transaction decides, or an order of steps in which nothing passes that the old and the new program
        both deny, and nothing is lost that both allow. Where others changed the kernel since the plan was made, a new
        one is made from what they left.

        Raises:
            EnvironmentLacksError: the kernel cannot express something; what decides was not changed.
        """
        ...

    def drift(self) -> str:
        """What in the kernel is not as programmed, in one line; "" if nothing is, or nothing was programmed yet.

        Asked every half second: as long as nobody else changed anything it costs next to nothing.
        """
        ...

    def forget(self) -> None:
        """Forget what was programmed: the next apply takes the kernel as it finds it, and repairs it."""
        ...

    def read_back(self) -> Mapping[str, object]:
        """What is in the kernel now, in the dataplane's own terms; equal for equal programs."""
        ...

    def trace(self, node: str, packet: Packet) -> Tracing:
        """Begin to trace packets like `packet`, whatever their source port."""
        ...

    def counters(self) -> Mapping[RuleRef, Counter]:
        """Packets and bytes each rule matched since it was programmed."""
        ...

    def drops(self, node: str) -> DropSource:
        """Begin to listen to the drops of this kernel, which is the one of `node`; one listener at a time.

        Raises:
            MuslinError: somebody else listens, or the kernel cannot tell.
        """
        ...

    def clean(self) -> None:
        """Remove everything this dataplane put in the kernel, and nothing else."""
        ...

    def close(self) -> None:
        """Let go of sockets; what is programmed stays."""
        ...
