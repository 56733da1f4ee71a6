"""A restore program that stays: a text is in force when `run` returns, and a refusal is told in its own words."""

import pytest

from emulator.dataplane.iptables.restorer import CommandError, Restorer, finish
from emulator.dataplane.iptables.running import Running

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
def program(tmp_path):
    """The script."""
    path = tmp_path / "fake-restore"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


@pytest.fixture
def restorer(program):
    """One that runs the script."""
    made = Restorer(str(program))
    yield made
    made.close()


@pytest.fixture
def other(program):
    """One that runs a copy of the script."""
    copy = program.with_name("other-restore")
    copy.write_text(PROGRAM)
    copy.chmod(0o755)
    made = Restorer(str(copy))
    yield made
    made.close()


def log(tmp_path, name="fake-restore"):
    """What the script has run."""
    return (tmp_path / f"{name}.log").read_text().split("\n")[:-1]


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


def test_two_programs_run_their_texts_side_by_side(restorer, other, tmp_path):
    """Texts longer than a pipe holds; each program has all of its own when both are done."""
    texts = [[f"-A {name} {number:0400}" for number in range(8000)] for name in ("one", "two")]
    restorer.begin(texts[0])
    other.begin(texts[1])
    finish([restorer, other])
    assert log(tmp_path) == ["start", *texts[0]]
    assert log(tmp_path, "other-restore") == ["start", *texts[1]]


def test_what_one_refuses_the_other_has_run(restorer, other, tmp_path):
    """The error is told when both are done; both take the next text."""
    restorer.begin(["*filter", "bad rule", "COMMIT"])
    other.begin(["*raw", "COMMIT"])
    with pytest.raises(CommandError, match=r"fake-restore refused: line 2 failed \[bad rule\]"):
        finish([restorer, other])
    assert log(tmp_path, "other-restore") == ["start", "*raw", "COMMIT"]
    restorer.begin(["*nat"])
    other.begin(["*nat"])
    finish([restorer, other])
    assert log(tmp_path)[-1] == log(tmp_path, "other-restore")[-1] == "*nat"


def test_a_program_on_its_way_has_ended_when_its_context_has(tmp_path):
    """Whether or not anybody asked what became of it."""
    with (
        pytest.raises(ValueError, match="something else"),
        Running("/bin/sh", given=f"sleep 0.1; touch {tmp_path}/made"),
    ):
        raise ValueError("something else")
    assert (tmp_path / "made").exists()


def test_what_a_program_on_its_way_refuses_is_told_with_its_line():
    """In its own words."""
    with (
        Running("/bin/sh", given="true\necho line 2 is bad >&2; exit 1\n") as program,
        pytest.raises(CommandError, match=r"sh refused: line 2 is bad \[echo"),
    ):
        program.finish()
