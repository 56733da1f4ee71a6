"""A packet's way from its source to its destination, and every list of policies it meets there (POL-18, HEP-6).

Between two pods that is the egress policy of the one and the ingress policy of the other. Host endpoints stand on the
interfaces of machines: what a machine sends, receives and forwards passes them as well.
"""

from __future__ import annotations

from typing import Protocol

from msgspec.structs import replace

from reference.endpoints import WorkloadEndpoint
from reference.policy.hosts import FABRIC, LOOPBACK, WORKLOAD, Guard, is_upkeep
from reference.policy.question import Question
from reference.policy.verdict import SideName, Variant
from reference.policy.view import View, Way
from reference.policy.walk import SILENT, Recorder, decide, walk


class Witness(Protocol):
    """Hears what is consulted on the way."""

    def pod(self, endpoint: WorkloadEndpoint, direction: SideName, question: Question) -> Recorder:
        """A pod's policies are asked; what is given hears the walk."""
        ...

    def guard(self, where: str, guard: Guard, variant: Variant, direction: SideName, question: Question) -> Recorder:
        """One list of a host endpoint's is asked."""
        ...

    def concluded(self, recorder: Recorder, *, allowed: bool, why: str = "") -> None:
        """The list last asked has answered; `why` when it was no rule that decided."""
        ...

    def host_refused(self, node: str) -> None:
        """The pod's own node does not take the packet."""
        ...


class _Nobody:
    """Forgets everything."""

    def pod(self, endpoint: WorkloadEndpoint, direction: SideName, question: Question) -> Recorder:
        del endpoint, direction, question
        return SILENT

    def guard(self, where: str, guard: Guard, variant: Variant, direction: SideName, question: Question) -> Recorder:
        del where, guard, variant, direction, question
        return SILENT

    def concluded(self, recorder: Recorder, *, allowed: bool, why: str = "") -> None:
        del recorder, allowed, why

    def host_refused(self, node: str) -> None:
        del node


NOBODY = _Nobody()


def why_nothing(question: Question) -> str:
    """Why no policy is consulted, when none is."""
    source, destination = question.source, question.destination
    if source.endpoint is not None and source.endpoint is destination.endpoint:
        return "a pod always reaches itself; no policy is consulted"
    if destination.endpoint is None:
        if source.endpoint is not None:
            return f"the node takes what its pods send it; no policy of {source.endpoint.name} is consulted (HEP-12)"
        return "neither end is a pod; no policy is consulted"
    node = destination.endpoint.node
    return f"node {node} always reaches the pods on it; no policy is consulted (CT-1)"


class Journey:
    """One packet under way. `run` reports whether it arrives, as far as policy is concerned.

    With a witness it is asked everywhere, also behind the place that denies it: there may be more to mend than one.
    """

    def __init__(self, view: View, question: Question, witness: Witness = NOBODY) -> None:
        self._hosts = view.hosts
        self._view = view
        self._question = question
        self._witness = witness
        self._denied = False
        self.answer_implied = True  # known once it has run with a witness

    def run(self) -> bool:
        """Report whether nothing on the way denies it."""
        return self._go() and not self._denied

    def _go(self) -> bool:
        """Through the source's machine, then through the destination's."""
        source, destination = self._question.source, self._question.destination
        if source.endpoint is not None:
            if source.endpoint is destination.endpoint:
                return True
            return self._from_pod(source.endpoint)
        machine = "" if source.host is None else source.host.name
        if destination.endpoint is not None:
            pod = destination.endpoint
            own = source.host is not None and source.host.is_node and machine == pod.node
            return own or (self._sent(machine, FABRIC) and self._into_pod(pod, FABRIC))  # own: CT-1
        if destination.host is None:
            return self._sent(machine, FABRIC)
        interface = LOOPBACK if machine == destination.host.name else FABRIC
        return self._sent(machine, interface) and self._received(destination.host.name, interface)

    # -- pods ------------------------------------------------------------------------------------------------------

    def _from_pod(self, pod: WorkloadEndpoint) -> bool:
        """The node forwards what its pod sends, unless it is for the node itself."""
        node, destination = pod.node, self._question.destination
        host = destination.host if destination.endpoint is None else None
        early = self._before_routing(node, WORKLOAD)
        if early is False:
            return False
        if host is not None and host.is_node and host.name == node:
            return self._to_own_node(pod)
        if early is None and not self._forwarded(node, WORKLOAD, "ingress"):
            return False
        if not self._pod(pod, "egress"):
            return False
        peer = destination.endpoint
        if peer is not None and peer.node == node:
            return self._pod(peer, "ingress") and self._forwarded(node, WORKLOAD, "egress")
        device = "" if peer is None else self._hosts.tunnel(node, peer.node, self._question)
        self._note_untracked(node, device or FABRIC)
        if not self._forwarded(node, device or FABRIC, "egress"):
            return False
        if peer is None and (host is None or not self._hosts):
            return True
        seen = self._hosts.seen_source(self._question, node)
        if seen is not self._question.source:
            self._question = replace(self._question, source=seen)
        if peer is not None:
            return self._into_pod(peer, device or FABRIC)
        return host is None or self._received(host.name, FABRIC)

    def _to_own_node(self, pod: WorkloadEndpoint) -> bool:
        """HEP-12: no host endpoint is asked, whatever the action."""
        if is_upkeep(self._question):
            return True
        if not self._pod(pod, "egress"):
            return False
        if self._hosts.drops_own_pods(pod.node):
            self._witness.host_refused(pod.node)
            return False
        return True

    def _into_pod(self, pod: WorkloadEndpoint, interface: str) -> bool:
        """From the fabric, or a tunnel, through the node to a pod of its."""
        early = self._on_arrival(pod.node, interface)
        if early is False or (early is None and not self._forwarded(pod.node, interface, "ingress")):
            return False
        return self._pod(pod, "ingress") and self._forwarded(pod.node, WORKLOAD, "egress")

    def _pod(self, pod: WorkloadEndpoint, direction: SideName) -> bool:
        recorder = self._witness.pod(pod, direction, self._question)
        refused = self._hosts.encapsulation(pod.node, self._question) if direction == "egress" else ""
        if refused:
            self._witness.concluded(recorder, allowed=False, why=refused)
            return self._deny()
        allowed = walk(self._view.way(pod, direction), self._question, recorder)
        self._witness.concluded(recorder, allowed=allowed)
        return allowed or self._deny()

    def _deny(self) -> bool:
        """Report whether to go on all the same."""
        self._denied = True
        return self._witness is not NOBODY

    # -- machines --------------------------------------------------------------------------------------------------

    def _sent(self, machine: str, interface: str) -> bool:
        """What a process on a machine sends: untracked policy, then normal policy unless that has accepted (HEP-6)."""
        self._note_untracked(machine, interface)
        early = self._ask(machine, interface, "doNotTrack", "egress")
        return early if early is not None else self._local(machine, interface, "egress")

    def _received(self, machine: str, interface: str) -> bool:
        """What a process on a machine is to receive."""
        early = self._on_arrival(machine, interface)
        return early if early is not None else self._local(machine, interface, "ingress")

    def _on_arrival(self, machine: str, interface: str) -> bool | None:
        """Untracked policy, then preDNAT policy unless that has accepted; None when neither decides (HEP-5)."""
        self._note_untracked(machine, interface)
        early = self._ask(machine, interface, "doNotTrack", "ingress")
        return early if early is not None else self._before_routing(machine, interface)

    def _note_untracked(self, machine: str, interface: str) -> None:
        """Where untracked policy stands, in whatever direction, the answer has to be allowed by itself (HEP-4)."""
        if self._witness is NOBODY:
            return
        guard = self._hosts.guard(machine, interface, own_only=True)
        directions: tuple[SideName, SideName] = ("ingress", "egress")
        if guard is not None and any(self._hosts.way(guard, "doNotTrack", direction) for direction in directions):
            self.answer_implied = False

    def _before_routing(self, machine: str, interface: str) -> bool | None:
        return self._ask(machine, interface, "preDNAT", "ingress")

    def _local(self, machine: str, interface: str, direction: SideName) -> bool:
        if self._hosts.is_infrastructure(machine, self._question):
            return True
        return self._ask(machine, interface, "normal", direction) is not False

    def _forwarded(self, machine: str, interface: str, direction: SideName) -> bool:
        """HEP-3: what no list speaks of is forwarded."""
        return self._ask(machine, interface, "applyOnForward", direction) is not False

    def _ask(self, machine: str, interface: str, variant: Variant, direction: SideName) -> bool | None:
        """What one list of the interface's host endpoint says; None when it says nothing.

        Failsafe ports come first, except in forwarded traffic. A failsafe port in an early list only ends that list:
        what comes later has it too, or does not know it (HEP-3).
        """
        guard = self._hosts.guard(machine, interface, own_only=variant == "doNotTrack")
        if guard is None or (variant != "applyOnForward" and is_upkeep(self._question)):
            return None
        way = self._hosts.way(guard, variant, direction)
        if way is None:
            return None
        where = f"host/{machine}/{'*' if guard.is_for_all else interface}"
        recorder = self._witness.guard(where, guard, variant, direction, self._question)
        if variant != "applyOnForward":
            untracked = variant == "doNotTrack"
            failsafe = self._hosts.failsafe(machine, direction, self._question, untracked=untracked)
            if failsafe:
                self._witness.concluded(recorder, allowed=True, why=f"allowed: {failsafe}")
                return True if variant == "normal" else None
        return self._answer(way, variant, recorder)

    def _answer(self, way: Way, variant: Variant, recorder: Recorder) -> bool | None:
        if variant == "normal":
            allowed = walk(way, self._question, recorder)
            self._witness.concluded(recorder, allowed=allowed)
            return allowed or self._deny()
        decided = decide(way, self._question, recorder)
        if decided is None:
            what = "is forwarded" if variant == "applyOnForward" else "goes on"
            self._witness.concluded(recorder, allowed=True, why=f"not denied by any {variant} policy: it {what}")
            return None
        self._witness.concluded(recorder, allowed=decided == "Allow")
        return decided == "Allow" or (None if self._deny() else False)
