"""Markdown of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.dataplane.changes import APPLY, LOAD, MEMBER, RULE
from benchmarks.dataplane.figures import PATHS, Figures, Spread, spread
from benchmarks.dataplane.packets import LARGE_SET
from benchmarks.dataplane.record import Cell, Change
from benchmarks.dataplane.shapes import Policies, Shape
from benchmarks.dataplane.targets import RULES, Finding, Target, targets, to_bare_work

_MODES = {
    "stream": ("TCP throughput", "one connection, 128 KB a write"),
    "rr": ("TCP request-response", "one connection, a byte each way"),
    "first": ("TCP first connections", "connect, a byte each way, close, each to another port"),
    "crr": ("TCP repeated connections", "the same, to one port again and again"),
    "udp": ("UDP packets, answered flow", "64 bytes a packet"),
    "oneway": ("UDP packets, never answered", "64 bytes a packet, each the first to connection tracking"),
}
_SHAPES: Sequence[tuple[Shape, int]] = (
    ("ports", 10),
    ("ports", LARGE_SET),
    ("selectors", 10),
    ("crossed", 10),
    ("spread", 10),
)
_NONE = "–"


def markdown(figures: Figures) -> str:
    """Everything, targets first."""
    record = figures.record
    lines = [f"<!-- {record.machine}; code {record.code} -->", "", *_caption(figures), ""]
    lines += _section("Targets", ["target", "asked", *figures.dataplanes], _targets(figures))
    if record.failures:
        lines += ["**Not measured**, and so in none of the targets:", ""]
        lines += [f"- {one.dataplane}: {one.policies}: {one.reason}" for one in record.failures] + [""]
    for mode, (title, words) in _MODES.items():
        header, rows = _without_empty(["", "no policy", "of no dataplane", *_headers()], list(_traffic(figures, mode)))
        lines += _section(f"{title}: {words}", header, rows)
    lines += _section("IPv6 between pods of one node", *_without_empty(
        ["", *(title for title, _ in _MODES.values())], list(_family(figures))
    ))  # fmt: skip
    lines += _section("Two beds that are alike", ["", "ratio"], _alike(figures))
    lines += _section("Changes", ["", *map(_size, figures.changed)], _changes(figures))
    return "\n".join(lines)


def _caption(figures: Figures) -> Iterator[str]:
    record = figures.record
    sizes = " · ".join(f"{size:,}" for size in figures.sizes)
    turns = {what: max((len(c.seconds) for c in record.changes if c.what == what), default=0) for what in (APPLY, RULE)}
    yield (
        f"On {record.machine}. {_rounds(figures)}, each run of traffic {record.milliseconds} ms (throughput twice as "
        f"long); up to {turns[APPLY]} first applies of each size, {turns[RULE]} changes. Medians, in brackets "
        f"quartiles. Several numbers in one cell are for {sizes} rules. The traffic had its processor "
        f"{figures.share():.0%} of the time."
    )


def _rounds(figures: Figures) -> str:
    """How many rounds there were of each traffic; kinds that vary more may have had more."""
    by_mode = {mode: figures.rounds(mode) for mode in _MODES}
    fewest, most = min(by_mode.values()), max(by_mode.values())
    often = ", ".join(_MODES[mode][0] for mode, rounds in by_mode.items() if rounds > fewest)
    return f"{fewest} rounds" + (f", up to {most} of {often}" if often else "")


def _headers() -> Iterator[str]:
    for shape, members in _SHAPES:
        yield shape + (f", set of {members:,}" if members > 10 else "")


def _without_empty(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Columns that say something; the first always stays."""
    kept = [
        at for at in range(len(header)) if not at or any(row[at].replace("·", "").strip(f"{_NONE} ") for row in rows)
    ]
    return [header[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _section(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    return [f"#### {title}", "", *_table(header, rows), ""] if rows else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(header)
    yield _row(["---"] * len(header))
    yield from map(_row, rows)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


# -- targets ---------------------------------------------------------------------------------------------------------


def _targets(figures: Figures) -> Iterator[list[str]]:
    for one in targets(figures):
        yield [one.name, one.asked, *(_finding(one, one.findings.get(name)) for name in figures.dataplanes)]


def _finding(target: Target, finding: Finding | None) -> str:
    if finding is None:
        return _NONE
    show = _milliseconds if target.unit == "seconds" else _ratio
    one = finding.found
    words = f"{show(one.median)} ({show(one.low)} to {show(one.high)})" + (" ms" if target.unit == "seconds" else "")
    return f"{words if finding.is_met else f'**{words}, not met**'}; {finding.where}"


# -- packets ---------------------------------------------------------------------------------------------------------


def _traffic(figures: Figures, mode: str) -> Iterator[list[str]]:
    for name in ("", *figures.dataplanes):
        for path, words in PATHS.items():
            base = Cell(name, Policies(), mode, path)
            rate = figures.rate(base)
            if rate is None:
                continue
            of_nothing = _ratio_of(figures.to_nothing(base)) if name else _NONE
            shapes = [
                " · ".join(
                    _ratio_of(figures.to_floor(Cell(name, Policies(shape, size, members), mode, path)))
                    for size in figures.sizes
                )
                for shape, members in _SHAPES
            ]
            shown = shapes if name else [_NONE] * len(shapes)
            yield [f"{name or 'no dataplane'}, {words}", _per_second(mode, rate), of_nothing, *shown]


def _family(figures: Figures) -> Iterator[list[str]]:
    """No policy against no dataplane, and 1,000 rules against no policy."""
    for name in figures.dataplanes:
        cells = {mode: Cell(name, Policies(), mode, "near", family=6) for mode in _MODES}
        ruled = {mode: Cell(name, Policies("ports", RULES), mode, "near", family=6) for mode in _MODES}
        if any(figures.rate(cell) for cell in cells.values()):
            yield [f"{name}, no policy, of no dataplane", *(_ratio_of(figures.to_nothing(c)) for c in cells.values())]
        if any(figures.rate(cell) for cell in ruled.values()):
            yield [f"{name}, {RULES:,} rules (ports)", *(_ratio_of(figures.to_floor(c)) for c in ruled.values())]


def _alike(figures: Figures) -> Iterator[list[str]]:
    for mode, (title, _) in _MODES.items():
        if (found := figures.to_itself([mode])) is not None:
            yield [title, f"{_ratio(found.median)} ({_ratio(found.low)} to {_ratio(found.high)})"]


def _per_second(mode: str, rate: Spread) -> str:
    if mode == "stream":
        return f"{rate.median * 8e-9:.1f} Gbit/s"
    if mode == "rr":
        return f"{rate.median:,.0f}/s, {1e6 / rate.median:.1f} µs"
    return f"{rate.median:,.0f}/s"


# -- changes ---------------------------------------------------------------------------------------------------------


def _size(policies: Policies) -> str:
    return f"{policies.rules:,}" + (f" and a set of {policies.members:,}" if policies.members > 10 else " policies")


def _changes(figures: Figures) -> Iterator[list[str]]:
    for what, words in ((LOAD, "load"), (APPLY, "first apply"), (RULE, "one rule"), (MEMBER, "one member")):
        for name in figures.dataplanes:
            changes = [figures.change(name, policies, what) for policies in figures.changed]
            if any(changes):
                yield [f"{words}, {name}", *map(_took, changes)]
            floors = dict.fromkeys(floor for one in changes if one for floor in one.floors)
            for floor in floors:
                yield [f"against {floor}", *(_ratio_of(to_bare_work(one, floor)) for one in changes)]


def _took(change: Change | None) -> str:
    if change is None or not change.seconds:
        return _NONE
    one = spread(change.seconds)
    return f"{_milliseconds(one.median)} ({_milliseconds(one.low)} to {_milliseconds(one.high)}) ms"


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1e3
    return f"{milliseconds:,.0f}" if milliseconds >= 10 else f"{milliseconds:.1f}" if milliseconds >= 1 else (
        f"{milliseconds:.2f}"
    )  # fmt: skip


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _ratio_of(found: Spread | None) -> str:
    return _ratio(found.median) if found else _NONE
