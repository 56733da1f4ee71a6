"""The matrix of a scenario."""

from __future__ import annotations

from reports.grid import grids, joined, mark


def test_a_grid_per_port_and_family(results):
    """Ports come in the order they were asked, IPv4 before IPv6; ICMP has no number."""
    checks = [
        results.check(family=family, **port)
        for port in ({"port": 80}, {"protocol": "ICMP", "port": 0})
        for family in (6, 4)
    ]
    titles = [grid.title for grid in grids(results.scenario(*checks))]
    assert titles == ["80/TCP IPv4", "80/TCP IPv6", "ICMP IPv4", "ICMP IPv6"]


def test_rows_are_sources_and_columns_are_destinations(results):
    """Only those who were asked have a row or a column; a flow nobody asked is blank."""
    checks = (results.check(), results.check(source="shop/api", destination="shop/web"))
    (grid,) = grids(results.scenario(*checks))
    assert grid.sources == ("shop/web", "shop/api")
    assert grid.destinations == ("shop/web", "shop/db")
    assert grid.marks() == (" .", ". ")
    assert grid.at("shop/api", "shop/db") is None
    assert not grid.is_square


def test_marks(results):
    """What the kernel did, in a letter; a mismatch is marked whatever the kernel did."""
    denied = results.check(expected=False, oracle=False, kernel="denied")
    assert mark(results.check()) == "."
    assert mark(denied) == "X"
    assert mark(results.unknown()) == "?"
    assert mark(results.unknown(kernel="unreachable")) == "!"
    assert mark(results.mismatch()) == "*"
    assert mark(None) == " "


def test_a_later_check_counts_but_never_hides_a_mismatch(results):
    """Over all steps the last check of a flow is shown, unless an earlier one did not pass."""
    denied = results.check(step=1, expected=False, oracle=False, kernel="denied")
    (grid,) = grids(results.scenario(results.check(), denied))
    assert grid.marks() == ("X",)
    (grid,) = grids(results.scenario(results.mismatch(), results.check(step=1)))
    assert grid.marks() == ("*",)


def test_a_step_alone(results):
    """The grids of one step hold nothing of another."""
    denied = results.check(step=1, expected=False, oracle=False, kernel="denied")
    scenario = results.scenario(results.check(), denied)
    assert [grid.marks() for grid in grids(scenario, 0)] == [(".",)]
    assert [grid.marks() for grid in grids(scenario, 1)] == [("X",)]
    assert grids(scenario, 2) == []


def test_families_that_look_the_same_are_one(results):
    """Two families of a port are one grid when no mark differs, and its cells keep the checks of both."""
    same = (results.check(), results.check(family=6))
    (grid,) = joined(grids(results.scenario(*same)))
    assert grid.title == "5432/TCP IPv4 and IPv6"
    assert grid.every("shop/web", "shop/db") == same


def test_families_that_differ_stay_apart(results):
    """One differing mark keeps the grids apart."""
    found = joined(grids(results.scenario(results.check(), results.mismatch(family=6))))
    assert [grid.title for grid in found] == ["5432/TCP IPv4", "5432/TCP IPv6"]
