"""A restore program that stays: a text is in force when `run` returns, and a refusal is told in its own words."""

import pytest

from emulator.dataplane.iptables.restorer import CommandError, Restorer

# Like iptables-restore --verbose: comments are echoed, what is wrong ends it; it notes what it has run, and its starts.
PROGRAM = """#!/bin/sh
echo start >> "$0.log"
while read -r line; do
  case "$line" in
    "#"*) echo "$line" ;;
    bad*) echo "line 2 failed" >&2; exit 2 ;;
    *) echo "$line" >> "$0.log" ;;
  esac
done
"""


@pytest.fixture
def restorer(tmp_path):
    """One that runs the script."""
    path = tmp_path / "fake-restore"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    made = Restorer(str(path))
    yield made
    made.close()


def log(tmp_path):
    """What the script has run."""
    return (tmp_path / "fake-restore.log").read_text().split("\n")[:-1]


def test_one_program_runs_every_text(restorer, tmp_path):
    """Two texts are run by one program, each entirely when `run` returns."""
    restorer.run(["*filter", "COMMIT"])
    assert log(tmp_path) == ["start", "*filter", "COMMIT"]
    restorer.run(["*raw", "COMMIT"])
    assert log(tmp_path) == ["start", "*filter", "COMMIT", "*raw", "COMMIT"]


def test_a_refusal_is_told_with_its_line_and_survived(restorer, tmp_path):
    """The error has the program's words and the line they name; the next text is run by a new program."""
    with pytest.raises(CommandError, match=r"fake-restore refused: line 2 failed \[bad rule\]"):
        restorer.run(["*filter", "bad rule", "COMMIT"])
    restorer.run(["*nat"])
    assert log(tmp_path) == ["start", "*filter", "start", "*nat"]


def test_a_program_that_was_ended_is_an_error_once(restorer, tmp_path):
    """Somebody ends it: what is sent then is refused, what is sent after that is run."""
    restorer.run(["*raw"])
    restorer._process.kill()
    restorer._process.wait()
    with pytest.raises(CommandError):
        restorer.run(["*filter"])
    restorer.run(["*filter"])
    assert log(tmp_path) == ["start", "*raw", "start", "*filter"]


def test_a_long_text_ends_its_program(restorer, tmp_path):
    """What has grown with a long text is let go; every line was run before."""
    lines = [f"-A {number:0400}" for number in range(3000)]
    restorer.run(lines)
    restorer.run(["*raw"])
    assert log(tmp_path) == ["start", *lines, "start", "*raw"]


def test_a_program_that_is_missing_is_an_error():
    """No bare OSError reaches anybody."""
    with pytest.raises(CommandError, match="did not run"):
        Restorer("/nowhere/iptables-restore").run(["*raw"])
