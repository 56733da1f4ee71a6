"""Host endpoints in the kernel: base chains of their own, there only while something guards the machine. Pure.

They stand beside the workloads' base chains, not in them: a packet must be accepted in every base chain of a hook. An
early list that accepts leaves the ACCEPT mark for the chains behind it (HEP-5, HEP-6).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from emulator.dataplane.nftables import expressions as e
from emulator.dataplane.nftables.base import ESTABLISHED, INVALID
from emulator.dataplane.nftables.chains import ACCEPT_MARK, PASS_MARK, guard_rule
from emulator.dataplane.nftables.matching import Needs
from emulator.dataplane.nftables.names import WORKLOAD_PREFIX, comment, kernel_name, walk_chain_by_id
from emulator.dataplane.nftables.parts import Chain, Hook, Rule, net_bounds
from reference.program.types import Failsafe, FlowDirection, HostEndpointProgram, NodeProgram

ALL_INTERFACES = "*"
_OTHERS = "all-other-interfaces"  # longer than any interface's name
_PREROUTING, _INPUT, _FORWARD, _OUTPUT = 0, 1, 2, 3
_RAW, _MANGLE, _FILTER = -300, -150, 0
_ACCEPT = e.verdict(e.ACCEPT)
_CLEAR = e.mark_change(clear=ACCEPT_MARK | PASS_MARK)
_ACCEPTED = e.mark_has(ACCEPT_MARK)
_BEGIN = Rule(_CLEAR, "nothing decided")
_PASS_ACCEPTED = Rule(_ACCEPTED + _ACCEPT, "accepted by an early list (HEP-5)")
_ICMPV6 = e.family_is(6) + e.protocol_is(58)
_LINK = (
    Rule(_ICMPV6 + e.icmp_type_between(130, 133) + _ACCEPT, "multicast listeners, router solicitation"),
    Rule(_ICMPV6 + e.icmp_type_between(135, 136) + _ACCEPT, "neighbour discovery"),
)
_DONE = (_BEGIN, Rule(_ACCEPT, "accepted"))


def host_chains(program: NodeProgram) -> tuple[Chain, ...]:
    """Every chain that the machine's host endpoints need; none when it has none."""
    guards = [guard for _, guard in sorted(program.host_endpoints.items(), key=lambda item: _last(item[0]))]
    if not guards:
        return ()
    return tuple(_Machine(program, guards).chains())


def _last(interface: str) -> tuple[bool, str]:
    """`*` is for the interfaces that nobody else has taken (HEP-1)."""
    return interface == ALL_INTERFACES, interface


class _Machine:
    """The chains of one machine."""

    def __init__(self, program: NodeProgram, guards: list[HostEndpointProgram]) -> None:
        self._guards = guards
        self._failsafes = program.failsafes
        self._open = tuple(
            Rule(e.protocol_is(17) + e.port_in_range(False, port, port, True) + _ACCEPT, "WireGuard (HEP-13)")
            for port in program.open_ports
        )

    def chains(self) -> Iterator[Chain]:
        """The hooks' chains, each after those it goes to; a hook for which no guard has a list is left alone."""
        if any(guard.untracked_ingress or guard.untracked_egress for guard in self._guards):
            yield from self._hook("raw-in", "ingress", Hook("filter", _PREROUTING, _RAW + 1), (_BEGIN, *_LINK))
            yield from self._hook("raw-out", "egress", Hook("filter", _OUTPUT, _RAW), (_BEGIN, *_LINK))
        if any(guard.pre_dnat for guard in self._guards):
            before: tuple[Rule, ...] = (ESTABLISHED, _PASS_ACCEPTED, *_LINK)
            yield from self._hook("pre-dnat", "ingress", Hook("filter", _PREROUTING, _MANGLE), before)
        before = (Rule(e.interface_is("in", WORKLOAD_PREFIX) + _ACCEPT, "from a pod: not a host's business (HEP-12)"),)
        before += (ESTABLISHED, _PASS_ACCEPTED, *_LINK, *self._open)
        yield from self._hook("in", "ingress", Hook("filter", _INPUT, _FILTER + 1), before)
        accepted = Rule(_ACCEPTED + _CLEAR + _ACCEPT, "accepted by an early list (HEP-5)")
        own_pod = Rule(e.interface_is("out", WORKLOAD_PREFIX) + _ACCEPT, "to a pod of its own (CT-1)")
        before = (ESTABLISHED, accepted, own_pod, *_LINK, *self._open)
        yield from self._hook("out", "egress", Hook("filter", _OUTPUT, _FILTER), before)
        if any(guard.forward_ingress for guard in self._guards):
            before = (ESTABLISHED, _PASS_ACCEPTED)
            yield from self._hook("forward-in", "ingress", Hook("filter", _FORWARD, _FILTER - 1), before)
        if any(guard.forward_egress for guard in self._guards):
            yield from self._hook("forward-out", "egress", Hook("filter", _FORWARD, _FILTER + 1), (ESTABLISHED,))

    def _hook(self, stage: str, direction: FlowDirection, hook: Hook, before: tuple[Rule, ...]) -> Iterator[Chain]:
        """A base chain that sends each guarded interface to the chain of its guard."""
        side = "in" if direction == "ingress" else "out"
        rules = list(before)
        jumps = set()
        for guard in self._guards:
            every = guard.interface == ALL_INTERFACES
            if every and stage.startswith("raw"):
                continue  # HEP-4
            chain = self._stage(stage, direction, guard)
            act = _ACCEPT if chain is None else e.verdict(e.GOTO, chain.name)
            matching = b"" if every else e.interface_named(side, guard.interface)
            rules.append(Rule(matching + act, comment(f"host endpoint {guard.name}")))
            if chain is not None:
                jumps.add(chain.name)
                yield chain
        yield Chain(name=f"host-{stage}", rules=tuple(rules), hook=hook, jumps=frozenset(jumps))

    def _stage(self, stage: str, direction: FlowDirection, guard: HostEndpointProgram) -> Chain | None:
        """One list of one guard; None when nothing in it governs the direction."""
        walk, tracked, after = {
            "raw-in": (guard.untracked_ingress, False, _NOTRACK),
            "raw-out": (guard.untracked_egress, False, _NOTRACK),
            "pre-dnat": (guard.pre_dnat, True, ()),
            "in": (guard.ingress, True, _DONE),
            "out": (guard.egress, True, _DONE),
            "forward-in": (guard.forward_ingress, True, ()),
            "forward-out": (guard.forward_egress, True, ()),
        }[stage]
        if not walk:
            return None
        needs = Needs()
        jump = walk_chain_by_id(walk, direction)
        safe = () if stage.startswith("forward") else self._safe(direction, needs, answers=not tracked)
        return Chain(
            name=kernel_name(f"host-{stage}-", _OTHERS if guard.interface == ALL_INTERFACES else guard.interface),
            rules=(
                *((guard_rule(INVALID, "invalid", direction),) if tracked else ()),
                *safe,
                Rule(e.verdict(e.JUMP, jump), comment(f"policies of host endpoint {guard.name}")),
                *after,
            ),
            literals=frozenset(needs.literals),
            jumps=frozenset({jump}),
        )

    def _safe(self, direction: FlowDirection, needs: Needs, *, answers: bool) -> Iterator[Rule]:
        """Failsafe ports; without connection tracking the answers to the other direction's as well (HEP-3, HEP-9)."""
        forth, back = self._failsafes.inbound, self._failsafes.outbound
        if direction == "egress":
            forth, back = back, forth
        yield from _failsafe_rules(forth, direction, needs, answers=False)
        if answers:
            yield from _failsafe_rules(back, direction, needs, answers=True)


_NOTRACK = (Rule(_ACCEPTED + e.notrack() + _ACCEPT, "accepted and not tracked (HEP-4)"),)


def _failsafe_rules(
    failsafes: tuple[Failsafe, ...], direction: FlowDirection, needs: Needs, *, answers: bool
) -> Iterator[Rule]:
    """A rule for each protocol and peer, with all their ports."""
    ordered = sorted(failsafes, key=lambda entry: (entry.protocol, entry.net, entry.port))
    for (protocol, net), entries in groupby(ordered, key=lambda entry: (entry.protocol, entry.net)):
        ports = sorted({entry.port for entry in entries})
        matching = e.protocol_is(protocol)
        if net:
            family, network, prefix = net_bounds(net)
            matching = e.family_is(family) + matching
            if prefix:
                matching += e.address_in_prefix(family, direction == "ingress", network, prefix, True)
        if len(ports) == 1:
            matching += e.port_in_range(answers, ports[0], ports[0], True)
        else:
            matching += e.port_in_set(answers, needs.literal("ranges", [str(port) for port in ports]), True)
        yield Rule(matching + e.counter() + _ACCEPT, "answers from failsafe ports" if answers else "failsafe ports")
