"""The same scenarios on several dataplanes, side by side."""

import io

import msgspec
import pytest
from rich.console import Console

from reports import terminal
from reports.html import page
from reports.sides import is_repeated, sides, word


@pytest.fixture
def compared(results):
    """Two scenarios on two dataplanes; one of them differs on one."""
    found = []
    for name in ("one", "two"):
        for dataplane in ("nftables", "ebpf"):
            check = results.mismatch() if (name, dataplane) == ("two", "ebpf") else results.check()
            found.append(results.scenario(check, name=f"{name} [{dataplane}]", dataplane=dataplane))
    return results.run(*found, left_out={"iptables": "ipset is not installed"})


def test_a_row_per_scenario_and_a_column_per_dataplane(compared):
    """Every cell says how the scenario ended there, with the number of what did not pass."""
    beside = sides(compared)
    assert beside.dataplanes == ("nftables", "ebpf")
    assert {name: [word(row[one]) for one in beside.dataplanes] for name, row in beside.rows.items()} == {
        "one": ["passed", "passed"],
        "two": ["passed", "failed (1)"],
    }
    assert word(None) == ""


def test_one_dataplane_is_no_comparison(results):
    """Scenarios that were each run once have no table, whatever their dataplanes."""
    one, two = results.scenario(results.check()), results.scenario(results.check(), name="b", dataplane="ebpf")
    assert sides(results.run(one, two)) is None


def test_only_what_passed_before_is_repeated(compared):
    """The matrices of a scenario are shown once, and again where it did not pass."""
    assert [is_repeated(scenario, compared) for scenario in compared.scenarios] == [False, True, False, False]


def test_terminal_and_page_show_the_table_and_what_was_left_out(compared):
    """Both list the dataplanes side by side, and name those that could not run with the reason."""
    console = Console(record=True, width=100, file=io.StringIO())
    terminal.show(compared, console)
    text = console.export_text()
    assert "failed (1)" in text
    assert "iptables left out: ipset is not installed" in text
    html = page(compared)
    assert '<table class="beside">' in html
    assert "iptables: ipset is not installed" in html
    assert html.count("<section id=") == 4


def test_a_run_on_no_dataplane_at_all_is_a_lack(results):
    """When no dataplane could run, the run is unknown and exits with 3; one that could decides alone."""
    nothing = results.run(left_out={"ebpf": "needs root"})
    assert (nothing.status, nothing.exit_code) == ("unknown", 3)
    some = msgspec.structs.replace(nothing, scenarios=(results.scenario(results.check()),))
    assert (some.status, some.exit_code) == ("passed", 0)
