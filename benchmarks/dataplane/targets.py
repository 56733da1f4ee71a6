"""What was asked of the dataplanes, and what they do: the worst of everything a target speaks of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.dataplane.changes import APPLY, MEMBER, RULE
from benchmarks.dataplane.figures import PATHS, Figures, Spread, spread
from benchmarks.dataplane.floors import SENT_AGAIN
from benchmarks.dataplane.record import Cell, Change
from benchmarks.dataplane.shapes import Policies

RULES = 1_000
ALIKE = 0.97  # from here on a ratio is no worse than 1: two beds that are alike differ as much
CONNECTIONS = {"nftables": 0.85, "ebpf": 0.85, "iptables": 0.75, "iptables-legacy": 0.75}
BOTH = tuple(PATHS)
APPLY_RATIO, RULE_SECONDS, MEMBER_SECONDS = 1.3, 0.020, 0.005


class Finding(NamedTuple):
    """What was measured where, against what was asked."""

    where: str
    found: Spread
    asked: float
    at_least: bool

    @property
    def is_met(self) -> bool:
        """Whether the median is as asked, at the two digits a ratio is told with."""
        return round(self.found.median, 2) >= self.asked if self.at_least else self.found.median <= self.asked

    @property
    def _badness(self) -> float:
        return self.asked / self.found.median if self.at_least else self.found.median / self.asked


class Target(NamedTuple):
    """One target: the worst finding of each dataplane. `unit`: "ratio" or "seconds"."""

    name: str
    asked: str
    unit: str
    findings: Mapping[str, Finding]


def targets(figures: Figures) -> Iterator[Target]:
    """All of them, as far as they were measured."""
    for target in (*_established(figures), *_connections(figures), *_no_worse(figures), *_changes(figures)):
        if target.findings:
            yield target


def _worst(figures: Figures, of: Callable[[str], Iterable[Finding]]) -> dict[str, Finding]:
    found = {name: list(of(name)) for name in figures.dataplanes}
    return {name: max(all_, key=lambda one: one._badness) for name, all_ in found.items() if all_}


def _to_floor(
    figures: Figures,
    name: str,
    mode: str,
    asked: float,
    guarded: Sequence[Policies],
    paths: Sequence[str] = tuple(PATHS),
) -> Iterator[Finding]:
    for policies in guarded:
        for path in paths:
            found = figures.to_floor(Cell(name, policies, mode, path))
            if found is not None:
                words = [_short(policies)] * (len(guarded) > 1) + [PATHS[path]] * (len(paths) > 1)
                yield Finding(", ".join(words), found, asked, at_least=True)


def _established(figures: Figures) -> Iterator[Target]:
    throughput = list(figures.guarded("stream", RULES))
    yield Target(
        f"TCP throughput, {RULES:,} rules", "at least 0.95", "ratio",
        _worst(figures, lambda name: _to_floor(figures, name, "stream", 0.95, throughput)),
    )  # fmt: skip
    exchanges = list(figures.guarded("rr", RULES))
    for path, words in PATHS.items():
        special = path == "near"

        def found(name: str, path: str = path, special: bool = special) -> Iterator[Finding]:
            asked = 0.95 if special and name == "ebpf" else 0.90
            return _to_floor(figures, name, "rr", asked, exchanges, (path,))

        asked = "at least 0.90" + (", eBPF 0.95" if special else "")
        yield Target(f"request-response on {words}, {RULES:,} rules", asked, "ratio", _worst(figures, found))


def _connections(figures: Figures) -> Iterator[Target]:
    asked = "at least 0.85, iptables 0.75"
    for mode, words in (("first", "first connections"), ("crr", "repeated connections")):
        for policies in figures.guarded(mode, RULES):

            def found(name: str, mode: str = mode, policies: Policies = policies) -> Iterator[Finding]:
                return _to_floor(figures, name, mode, CONNECTIONS[name], (policies,))

            yield Target(f"{words}, {RULES:,} rules, {_short(policies)}", asked, "ratio", _worst(figures, found))


def _no_worse(figures: Figures) -> Iterator[Target]:
    if len(figures.sizes) < 2:
        return
    small, large = figures.sizes[0], figures.sizes[-1]
    for mode, words in (("stream", "TCP throughput"), ("rr", "request-response"), ("udp", "UDP packets")):

        def found(name: str, mode: str = mode) -> Iterator[Finding]:
            for policies in figures.guarded(mode, large):
                few = Policies(policies.shape, small, policies.members)
                for path in PATHS:
                    ratio = figures.ratio(Cell(name, policies, mode, path), Cell(name, few, mode, path))
                    if ratio is not None:
                        yield Finding(f"{_short(policies)}, {PATHS[path]}", ratio, ALIKE, at_least=True)

        yield Target(
            f"{words}, {large:,} rules against {small:,}",
            f"no worse (at least {ALIKE})",
            "ratio",
            _worst(figures, found),
        )


def _changes(figures: Figures) -> Iterator[Target]:
    for what, asked, words in ((MEMBER, MEMBER_SECONDS, "one set member"), (RULE, RULE_SECONDS, "one rule")):

        def taken(name: str, what: str = what, asked: float = asked) -> Iterator[Finding]:
            for policies in figures.changed:
                change = figures.change(name, policies, what)
                if change is not None and change.seconds:
                    yield Finding(_size(policies), spread(change.seconds), asked, at_least=False)

        yield Target(f"{words} changed", f"at most {asked * 1e3:.0f} ms", "seconds", _worst(figures, taken))
    floors = dict.fromkeys(floor for one in figures.record.changes if one.what == APPLY for floor in sorted(one.floors))
    for floor in sorted(floors.keys() - {SENT_AGAIN}):

        def against(name: str, floor: str = floor) -> Iterator[Finding]:
            for policies in figures.changed:
                if (ratio := to_bare_work(figures.change(name, policies, APPLY), floor)) is not None:
                    yield Finding(_size(policies), ratio, APPLY_RATIO, at_least=False)

        yield Target(f"first apply, against {floor}", f"at most {APPLY_RATIO}", "ratio", _worst(figures, against))


def to_bare_work(change: Change | None, floor: str) -> Spread | None:
    """An apply against the bare kernel work beside it."""
    if change is None or not change.floors.get(floor):
        return None
    return spread([mine / theirs for mine, theirs in zip(change.seconds, change.floors[floor], strict=True)])


def _short(policies: Policies) -> str:
    return policies.shape + (f" and a set of {policies.members:,}" if policies.members > 10 else "")


def _size(policies: Policies) -> str:
    return f"{policies.rules:,} policies" + (f", a set of {policies.members:,}" if policies.members > 10 else "")
