"""The command line of the benchmarks."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import NAMES, main


def test_help_names_every_benchmark():
    """Also the one that does not run by itself."""
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    for name in (*NAMES, "dataplane"):
        assert name in shown.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["dataplane", "--dataplane", "ipvs"], "'ipvs' is not one of"),
        (["dataplane", "--mode", "icmp"], "'icmp' is not one of"),
        (["dataplane", "--size", "1"], "1 is not in the range"),
    ],
)
def test_what_there_is_not_is_told(words, said):
    """Nothing is measured then."""
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 2
    assert said in shown.output


def test_a_file_that_is_not_there_is_told(tmp_path):
    """With its name."""
    shown = CliRunner().invoke(main, ["dataplane", "--from", str(tmp_path / "none.json")])
    assert "none.json holds no measurements of dataplanes" in str(shown.exception)
