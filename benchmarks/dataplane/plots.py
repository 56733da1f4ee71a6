"""Pictures of what was measured. Needs matplotlib: the dependency group `benchmarks`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.dataplane.changes import APPLY, MEMBER, RULE
from benchmarks.dataplane.figures import PATHS, Figures, Spread, spread
from benchmarks.dataplane.packets import SHAPES
from benchmarks.dataplane.record import Cell
from benchmarks.dataplane.shapes import Policies, Shape
from benchmarks.dataplane.targets import MEMBER_SECONDS, RULE_SECONDS, RULES
from reference.errors import EnvironmentLacksError

_COLOURS = {"nftables": "#0072b2", "iptables": "#d55e00", "iptables-legacy": "#cc9900", "ebpf": "#009e73"}
_MARKS = {"nftables": "o", "iptables": "s", "iptables-legacy": "^", "ebpf": "D"}
_WIDTH = 10.0  # inches
_ASKED = {"color": "#666666", "linestyle": ":", "linewidth": 1}
_MODES = {"stream": "TCP throughput", "rr": "request-response", "udp": "UDP packets", "first": "first connections"}


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Draw what was measured into a folder; the pictures.

    Raises:
        EnvironmentLacksError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise EnvironmentLacksError("plots need matplotlib: pip install --group benchmarks") from error
    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.hashsalt": "muslin", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
            "figure.facecolor": "white", "legend.frameon": False,
        }
    )  # fmt: skip
    drawn = []
    for name, picture in (("connections", _connections), ("established", _established), ("changes", _changes)):
        shown = picture(figures)
        if shown is not None:
            path = folder / f"dataplanes-{name}.svg"
            shown.savefig(path, metadata={"Date": None})
            drawn.append(path)
    return drawn


def _grid(columns: int, height: float, *, share: bool) -> tuple[Any, Sequence[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=share, squeeze=False)[0]


def _line(axes: Any, name: str, points: Sequence[tuple[float, Spread]], *, label: str = "") -> None:  # noqa: ANN401
    """Medians, and quartiles as bars."""
    places, found = [place for place, _ in points], [one for _, one in points]
    bars = [[one.median - one.low for one in found], [one.high - one.median for one in found]]
    axes.errorbar(
        places, [one.median for one in found], yerr=bars, color=_COLOURS[name], marker=_MARKS[name], markersize=5,
        capsize=2, linewidth=1.3, label=label or name,
    )  # fmt: skip


def _plain_ticks(axes: Any, places: Sequence[int]) -> None:  # noqa: ANN401
    """Numbers as people write them, on a logarithmic axis."""
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.minorticks_off()


def _connections(figures: Figures) -> Any:  # noqa: ANN401 - the library has no types
    """New connections against the number of rules, a panel for each shape."""
    shapes = [shape for shape in SHAPES if any(p.shape == shape for p in figures.guarded("first", RULES))]
    if not shapes:
        return None
    shown, panels = _grid(len(shapes), 3.3, share=True)
    for axes, shape in zip(panels, shapes, strict=True):
        for name in figures.dataplanes:
            if points := _by_rules(figures, name, shape):
                _line(axes, name, points)
        axes.axhline(0.85, **_ASKED)
        axes.axhline(0.75, **_ASKED)
        axes.set(xscale="log", title=shape, xlabel="rules", ylim=(0, 1.1))
        _plain_ticks(axes, figures.sizes)
    panels[0].set_ylabel("of no policy")
    panels[0].legend(loc="lower left")
    shown.suptitle("First connections a second between pods of one node, against the same pods without policy")
    return shown


def _by_rules(figures: Figures, name: str, shape: Shape) -> list[tuple[float, Spread]]:
    cells = [(size, Cell(name, Policies(shape, size), "first", "near")) for size in figures.sizes]
    return [(size, found) for size, cell in cells if (found := figures.to_floor(cell))]


def _established(figures: Figures) -> Any:  # noqa: ANN401
    """What a dataplane costs that has nothing to do, and what 1,000 rules cost beside it."""
    modes = [mode for mode in _MODES if figures.rate(Cell("", Policies(), mode, "near"))]
    if not modes:
        return None
    shown, panels = _grid(len(PATHS), 3.3, share=True)
    width = 0.8 / len(figures.dataplanes)
    for axes, (path, words) in zip(panels, PATHS.items(), strict=True):
        for number, name in enumerate(figures.dataplanes):
            at = [place + (number - (len(figures.dataplanes) - 1) / 2) * width for place in range(len(modes))]
            empty = [figures.to_nothing(Cell(name, Policies(), mode, path)) for mode in modes]
            ruled = [figures.to_nothing(Cell(name, Policies("ports", RULES), mode, path)) for mode in modes]
            heights = [one.median if one else 0 for one in empty]
            axes.bar(at, heights, width * 0.9, color=_COLOURS[name], alpha=0.75, label=f"{name}, no policy")
            for place, one in zip(at, ruled, strict=True):
                if one is not None:
                    bars = [[one.median - one.low], [one.high - one.median]]
                    axes.errorbar(place, one.median, yerr=bars, color="black", marker="_", markersize=9, capsize=2)
        axes.axhline(1, **_ASKED)
        axes.set(title=words, ylim=(0, 1.3))
        axes.set_xticks(range(len(modes)), [_MODES[mode] for mode in modes])
        axes.grid(visible=False, axis="x")
    panels[0].set_ylabel("of no dataplane at all")
    panels[0].legend(loc="upper left", ncols=2, fontsize=8)
    shown.suptitle(f"Against bare veth and routing. Black marks: a policy of {RULES:,} rules (ports)")
    return shown


def _changes(figures: Figures) -> Any:  # noqa: ANN401
    """Seconds against the number of policies: the first apply with its floors, one rule, one member."""
    sizes = [policies for policies in figures.changed if policies.members == Policies().members]
    if not sizes:
        return None
    panels_of = (
        (APPLY, "first apply", 0.0),
        (RULE, "one rule", RULE_SECONDS),
        (MEMBER, "one set member", MEMBER_SECONDS),
    )
    shown, panels = _grid(len(panels_of), 3.3, share=False)
    for axes, (what, title, asked) in zip(panels, panels_of, strict=True):
        for name in figures.dataplanes:
            found = [(p.rules, change) for p in sizes if (change := figures.change(name, p, what)) and change.seconds]
            if not found:
                continue
            _line(axes, name, [(rules, _in_milliseconds(change.seconds)) for rules, change in found])
            for floor in found[0][1].floors:
                medians = [_in_milliseconds(change.floors[floor]).median for _, change in found]
                axes.plot([rules for rules, _ in found], medians, color=_COLOURS[name], linestyle="--", linewidth=0.9)
        if asked:
            axes.axhline(asked * 1e3, **_ASKED)
        axes.set(xscale="log", yscale="log", title=title, xlabel="policies")
        _plain_ticks(axes, [policies.rules for policies in sizes])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    panels[0].set_ylabel("milliseconds")
    panels[0].legend(loc="upper left", fontsize=8)
    shown.suptitle("Dashed: the bare kernel work of the same. Dotted: what was asked")
    return shown


def _in_milliseconds(seconds: Sequence[float]) -> Spread:
    return spread([one * 1e3 for one in seconds])
