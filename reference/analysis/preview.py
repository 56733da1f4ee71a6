"""What would change if the staged policies were committed: the preview that Calico's own pending trace is not.

Committing replaces the enforced policy of the same name, or deletes it, as `kubectl` would; a pending trace only puts
the staged policy beside it (FL-6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from reference import events as ev
from reference.analysis.matrix import matrix
from reference.analysis.ports import named_ports, spelled, spelled_label
from reference.analysis.table import ALLOWED, Change
from reference.endpoints import Family
from reference.events import Draft
from reference.naming import addresses_of, name_of, packet_between, parse_port
from reference.policy import evaluate
from reference.policy.ordering import DEFAULT_TIER
from reference.resources import AnyResource, Metadata, defaulted
from reference.resources.staged import STAGED_KINDS, StagedPolicy, as_enforced
from reference.state import State, fold_drafts

Result = Literal["created", "replaced", "unchanged", "deleted", "nothing"]
_ACTOR = "preview"


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What committing one staged policy comes to."""

    staged: str  # "StagedNetworkPolicy shop/web"
    policy: str  # "NetworkPolicy shop/web"
    action: str  # its stagedAction
    result: Result
    why: str = ""  # where the result needs one

    def __str__(self) -> str:
        becomes = f"{self.policy} {self.result}" if self.result != "nothing" else "nothing happens"
        return f"{self.staged} ({self.action}): {becomes}{f', {self.why}' if self.why else ''}"


class Proposal(NamedTuple):
    """A staged policy and the enforced one that it stands for."""

    staged: StagedPolicy
    policy: AnyResource
    commit: Commit
    events: tuple[ev.AnyEvent, ...]


class FlowChange(msgspec.Struct, frozen=True, kw_only=True):
    """A flow whose verdict committing would change, with the line that decides before and after."""

    source: str
    destination: str
    port: str  # "80/TCP", "ICMP"
    families: tuple[Family, ...]
    allowed: bool  # afterwards; before it was the other way round
    before: str
    after: str

    def __str__(self) -> str:
        words = ("allowed", "denied") if not self.allowed else ("denied", "allowed")
        lines = [f"{self.source} -> {self.destination} {self.port}: {words[0]} -> {words[1]}"]
        return "\n".join([*lines, f"    before: {self.before}", f"    after:  {self.after}"])


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: what is committed, what was asked, and what would change."""

    commits: tuple[Commit, ...]
    pods: int
    also: tuple[str, ...]  # the other ends that were asked about
    ports: tuple[str, ...]
    changes: tuple[FlowChange, ...]

    def text(self) -> str:
        """The whole answer for a terminal."""
        lines = ["committing the staged policies:" if self.commits else "no policy is staged"]
        lines += [f"  {commit}" for commit in self.commits]
        asked = f"{', '.join((_counted(self.pods, 'pod'), *self.also))}; ports {', '.join(self.ports)}"
        if not self.changes:
            return "\n".join([*lines, "", f"no flow between these would change ({asked})", ""])
        flows, opened = len(self.changes), sum(change.allowed for change in self.changes)
        count = f"{_counted(flows, 'flow')} would change: {opened} allowed, {flows - opened} denied ({asked})"
        return "\n".join([*lines, "", count, *(f"  {line}" for c in self.changes for line in str(c).split("\n")), ""])


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def preview(state: State, ports: Iterable[str] | None = None, also: Iterable[str] = ()) -> Preview:
    """What committing every staged policy would change, for all pairs of pods and both address families.

    `ports`: "80/TCP", "53/UDP", "ICMP"; by default 80/TCP and every port that a policy names. `also`: other ends beside
    the pods, by any name that `addresses_of` knows: a node, a host, an address outside.

    Raises:
        InvalidInputError: a port or a name is not understood.
    """
    asked = named_ports(state) if ports is None else tuple(dict.fromkeys(map(spelled, ports)))
    after, others = committed(state), tuple(dict.fromkeys(also))
    return Preview(
        commits=tuple(proposal.commit for proposal in proposals(state)),
        pods=len(state.endpoints),
        also=others,
        ports=asked,
        changes=tuple(_changes(state, after, asked, others)),
    )


def committed(state: State) -> State:
    """The state after committing: Set replaces or creates the policy of its name, Delete deletes it.

    The staged policies of both are gone; Learn and Ignore propose nothing, so they stay as they are.
    """
    drafts = [Draft(_ACTOR, event) for proposal in proposals(state) for event in proposal.events]
    return fold_drafts(state, drafts) if drafts else state


def proposals(state: State) -> Iterator[Proposal]:
    """Every staged policy, with what committing it comes to."""
    for kind in STAGED_KINDS:
        for staged in state.all(kind):
            yield _proposal(state, staged)


def _proposal(state: State, staged: StagedPolicy) -> Proposal:
    wanted = _plain(staged)
    old = state.find(wanted.key)
    action = staged.spec.staged_action
    events: list[ev.AnyEvent] = [ev.ResourceDeleted(staged.key)]
    result, why = _result(staged, old, wanted)
    if action in ("Learn", "Ignore"):
        events = []
    elif result == "deleted":
        events.append(ev.ResourceDeleted(wanted.key))
    elif action == "Set":
        events.append(ev.ResourceApplied(wanted))
    said = Commit(staged=str(staged.key), policy=str(wanted.key), action=action, result=result, why=why)
    return Proposal(staged, wanted, said, tuple(events))


def _result(staged: StagedPolicy, old: AnyResource | None, wanted: AnyResource) -> tuple[Result, str]:
    """What becomes of the enforced policy, and why when that may surprise."""
    action = staged.spec.staged_action
    if action in ("Learn", "Ignore"):
        return "nothing", f"{action} proposes no change"
    here, there = _tier(wanted), _tier(old)
    if action == "Delete":
        if old is None:
            return "nothing", "there is no such policy"
        return ("nothing", f"that policy is in tier {there}, not {here}") if here != there else ("deleted", "")
    if old is None:
        return "created", ""
    if _spec(old) == _spec(wanted):
        return "unchanged", ""
    return "replaced", "" if here == there else f"and moved from tier {there} to {here}"


def _plain(staged: StagedPolicy) -> AnyResource:
    """The policy to apply: nothing of the staged object's own identity, defaults filled in."""
    metadata = staged.metadata
    own = Metadata(
        name=metadata.name, namespace=metadata.namespace, labels=metadata.labels, annotations=metadata.annotations
    )
    return defaulted(as_enforced(msgspec.structs.replace(staged, metadata=own)))


def _tier(policy: AnyResource | None) -> str:
    return str(getattr(_spec(policy), "tier", DEFAULT_TIER))


def _spec(policy: AnyResource | None) -> object:
    return getattr(policy, "spec", None)


def _changes(before: State, after: State, ports: tuple[str, ...], also: tuple[str, ...]) -> Iterator[FlowChange]:
    """By port, source, destination; a change that both families share is told once."""
    found: dict[tuple[str, str, str, bool, str, str], tuple[Family, ...]] = {}
    for family, change in _changed_cells(before, after, ports, also):
        source, destination = name_of(before, change.source), name_of(before, change.destination)
        reasons = [_reason(state, change, family) for state in (before, after)]
        key = (source, destination, spelled_label(change.port), change.after == ALLOWED, reasons[0], reasons[1])
        found[key] = (*found.get(key, ()), family)
    for (source, destination, port, allowed, was, will_be), families in found.items():
        yield FlowChange(
            source=source, destination=destination, port=port,
            families=families, allowed=allowed, before=was, after=will_be,
        )  # fmt: skip


def _changed_cells(
    before: State, after: State, ports: tuple[str, ...], also: tuple[str, ...]
) -> Iterator[tuple[Family, Change]]:
    """The cells that differ, by address: a matrix of names would only speak of one family where pods have both."""
    everyone = [address for _, endpoint in sorted(before.endpoints.items()) for address in endpoint.addresses]
    everyone += [address for name in also for address in addresses_of(before, name)]
    families: tuple[Family, ...] = (4, 6)
    for family in families:
        addresses = [address for address in everyone if (":" in address) == (family == 6)]
        if addresses:
            old, new = (matrix(state, ports, addresses, addresses) for state in (before, after))
            yield from ((family, change) for change in old.changes(new))


def _reason(state: State, change: Change, family: Family) -> str:
    number, protocol = parse_port(spelled_label(change.port))
    packet = packet_between(state, change.source, change.destination, protocol, number or 1, family)
    return evaluate(state, packet).reason
