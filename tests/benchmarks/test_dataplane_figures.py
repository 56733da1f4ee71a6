"""From raw figures to what the documentation shows."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.dataplane import document, plots
from benchmarks.dataplane import record as records
from benchmarks.dataplane.changes import APPLY, RULE
from benchmarks.dataplane.figures import Figures, Spread, spread
from benchmarks.dataplane.record import Cell, Change, Failure, Record, Series
from benchmarks.dataplane.shapes import Policies
from benchmarks.dataplane.tables import markdown
from benchmarks.dataplane.targets import targets
from benchmarks.dataplane.traffic import Rate
from reference.errors import InvalidInputError

FLOOR, RULED = (
    Cell("nftables", Policies(), "first", "near"),
    Cell("nftables", Policies("ports", 1_000), "first", "near"),
)


def record_of(*series, changes=()):
    """A record of these: (cell, rates of rounds 0, 1, ...; None for a round that failed)."""
    rated = [
        Series(cell, {number: Rate(rate, 1.0) for number, rate in enumerate(rates) if rate is not None})
        for cell, rates in series
    ]
    return Record(rounds=3, milliseconds=40, series=rated, changes=list(changes))


def test_a_ratio_is_of_figures_of_the_same_round():
    """A machine that gets slower from round to round does not show, and a round without its counterpart is left out."""
    figures = Figures(record_of((FLOOR, (1000, 500, 100, None)), (RULED, (900, 450, 90, 7))))
    assert figures.to_floor(RULED) == pytest.approx((0.9, 0.9, 0.9, 3))


def test_what_was_not_measured_has_no_ratio():
    """There is no figure to make up."""
    figures = Figures(record_of((RULED, (900,))))
    assert figures.to_floor(RULED) is None
    assert figures.rate(FLOOR) is None


def test_the_share_of_the_processor_is_what_others_left():
    """Operations a second that passed, of operations a second of processor time."""
    series = Series(FLOOR, {0: Rate(1000, 1000), 1: Rate(1000, 400), 2: Rate(1000, 900)})
    assert Figures(Record(series=[series])).share() == 0.9


def test_a_spread_is_the_median_and_the_quartiles():
    """Of one value, all three are that value."""
    assert spread([1, 2, 3, 4, 5]) == Spread(3, 2, 4, 5)
    assert spread([7]) == Spread(7, 7, 7, 1)


@pytest.mark.parametrize(
    ("near", "far", "met", "worst"),
    [(0.90, 0.95, True, 0.90), (0.95, 0.84, False, 0.84), (0.85, 0.99, True, 0.85)],
)
def test_a_target_is_judged_by_the_worst_of_what_it_speaks_of(near, far, met, worst):
    """Between pods of one node or of two."""
    series = []
    for path, ratio in (("near", near), ("far", far)):
        series += [
            (msgspec.structs.replace(FLOOR, path=path), (1000,) * 3),
            (msgspec.structs.replace(RULED, path=path), (1000 * ratio,) * 3),
        ]
    (target,) = targets(Figures(record_of(*series)))
    assert target.findings["nftables"].is_met is met
    assert target.findings["nftables"].found.median == pytest.approx(worst)


def test_an_apply_is_held_against_the_bare_work_of_its_own_round():
    """Each floor is a target of its own."""
    policies = Policies("policies", 10)
    change = Change("nftables", policies, APPLY, [2.0, 4.0, 6.0], {"text": [1.0, 2.0, 3.0], "bytes": [2.0, 4.0, 6.0]})
    found = {target.name: target.findings["nftables"] for target in targets(Figures(record_of(changes=[change])))}
    assert {name: (one.found.median, one.is_met) for name, one in found.items()} == {
        "first apply, against bytes": (1.0, True),
        "first apply, against text": (2.0, False),
    }


def test_the_tables_say_what_is_not_met_and_what_was_not_measured():
    """Neither is left out."""
    record = record_of((FLOOR, (1000,)), (RULED, (500,)))
    record.failures.append(Failure("ebpf", Policies(), "only root may"))
    shown = markdown(Figures(record))
    assert "**0.50 (0.50 to 0.50), not met**" in shown
    assert "**Not measured**" in shown
    assert "- ebpf: no policy: only root may" in shown


def test_a_record_is_read_as_it_was_written(tmp_path):
    """Rounds that were measured are gone on with."""
    record = record_of((FLOOR, (1000, 2000)), changes=[Change("ebpf", Policies("policies", 10), RULE, [0.5])])
    records.save(record, tmp_path / "new" / "x.json")
    assert records.load(tmp_path / "new" / "x.json") == record


def test_figures_of_different_code_are_not_put_together(tmp_path):
    """A record that was begun with other code is refused, with a word on what to do."""
    path = tmp_path / "x.json"
    records.save(records.begin(path, 40), path)
    assert records.begin(path, 40).milliseconds == 40
    with pytest.raises(InvalidInputError, match="name another file"):
        records.begin(path, 50)
    records.save(msgspec.structs.replace(records.begin(path, 40), code="other"), path)
    with pytest.raises(InvalidInputError, match="other code"):
        records.begin(path, 40)


def test_only_what_is_between_the_marks_is_written_anew(tmp_path, monkeypatch):
    """The rest of the page is somebody's words."""
    monkeypatch.setattr(plots, "draw", lambda _figures, folder: [folder / "dataplanes-changes.svg"])
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n")
    document.write(Figures(record_of((FLOOR, (1000,)))), tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "![First apply, one rule and one set member against the number of policies](dataplanes-changes.svg)" in text


def test_a_page_without_marks_is_refused(tmp_path):
    """Nothing is written where nobody made room."""
    (tmp_path / "performance.md").write_text("words")
    with pytest.raises(InvalidInputError, match="no place for measurements"):
        document.write(Figures(Record()), tmp_path)
    assert (tmp_path / "performance.md").read_text() == "words"


def test_pictures_are_drawn_of_what_there_is(tmp_path):
    """A part that was not measured has no picture."""
    pytest.importorskip("matplotlib")
    drawn = plots.draw(Figures(record_of((FLOOR, (1000, 1100)), (RULED, (900, 950)))), tmp_path)
    assert [path.name for path in drawn] == ["dataplanes-connections.svg"]
    assert drawn[0].read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(InvalidInputError("no such thing\nat all"), "no such thing"), (KeyError("x"), "KeyError: 'x'")],
)
def test_what_failed_is_noted_once(error, reason):
    """However often it is tried; of what is not ours, the kind of error too."""
    record = Record()
    for _ in range(2):
        assert record.fail("ebpf", Policies(), error) == Failure("ebpf", Policies(), reason)
    assert len(record.failures) == 1
