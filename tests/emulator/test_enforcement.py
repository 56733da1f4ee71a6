"""Exchanging a machine's dataplane, rehearsed with dataplanes that only note what they are told."""

import pytest

from emulator.enforcement import Enforcement
from reference.errors import EnvironmentLacksError, MuslinError

OLD, NEW = "P1", "P2"  # programs, as far as these dataplanes look into them


class Source:
    """A listener; of all of them only one may listen."""

    listening = 0

    def __init__(self):
        Source.listening += 1
        assert Source.listening == 1, "two listeners"

    def close(self):
        """Stop listening."""
        Source.listening -= 1


class Noted:
    """A dataplane that notes what it is told, and fails where it is asked to."""

    def __init__(self, name, notes, fails):
        if (name, "make") in fails:
            raise EnvironmentLacksError(f"{name} needs root")
        self.name, self._notes, self._fails = name, notes, fails

    def _note(self, what):
        if (self.name, what.split()[0]) in self._fails:
            raise MuslinError(f"{self.name} cannot {what}")
        self._notes.append(f"{self.name}: {what}")

    def apply(self, program):
        """Program."""
        self._note(f"apply {program}")

    def drops(self, _machine):
        """Listen."""
        self._note("listen")
        return Source()

    def drift(self):
        """There always is some."""
        return "a rule is gone"

    def forget(self):
        """Forget."""

    def clean(self):
        """Remove."""
        self._note("clean")

    def close(self):
        """Let go."""
        self._note("close")


@pytest.fixture
def fails():
    """(dataplane, what it cannot do); may be changed on the way."""
    return set()


@pytest.fixture
def notes():
    """What was done, in order."""
    return []


@pytest.fixture
def enforcement(notes, fails):
    """One that is under way with the old program in a."""
    Source.listening = 0
    made = Enforcement("node-1", "a", {name: lambda name=name: Noted(name, notes, fails) for name in "abc"})
    made.enforce("a", OLD)
    notes.clear()
    return made


def test_the_next_is_in_force_before_the_old_one_goes(enforcement, notes):
    """The next dataplane gets what is in force now; the old one goes; then comes the new program."""
    enforcement.enforce("b", NEW)
    assert notes == [f"b: apply {OLD}", "b: listen", "a: clean", "a: close", f"b: apply {NEW}"]
    assert enforcement.dataplane == "b"


def test_what_is_prepared_is_exchanged_at_once(enforcement, notes):
    """After preparing, both are in force and the old one reports; enforcing only takes the old one away."""
    enforcement.prepare("b")
    assert (enforcement.dataplane, notes) == ("a", [f"b: apply {OLD}"])
    assert enforcement.mend() == ""  # two dataplanes in one kernel are no drift
    enforcement.enforce("b", OLD)
    assert notes[1:] == ["b: listen", "a: clean", "a: close", f"b: apply {OLD}"]
    assert enforcement.mend() == "a rule is gone"


def test_what_is_prepared_is_taken_back(enforcement, notes):
    """Preparing the present dataplane, or another one, takes the prepared one out of the kernel."""
    enforcement.prepare("b")
    enforcement.prepare("c")
    enforcement.prepare("a")
    assert notes == [f"b: apply {OLD}", "b: clean", "b: close", f"c: apply {OLD}", "c: clean", "c: close"]
    assert enforcement.dataplane == "a"


@pytest.mark.parametrize(
    ("what", "undone"), [("make", []), ("apply", ["b: clean", "b: close"])]
)  # fmt: skip
def test_a_dataplane_that_cannot_be_had_leaves_the_old_one(enforcement, notes, fails, what, undone):
    """Whatever fails before the exchange, the old one is in force, reports, and goes on."""
    fails.add(("b", what))
    with pytest.raises(MuslinError, match="b "):
        enforcement.enforce("b", NEW)
    assert (enforcement.dataplane, notes, Source.listening) == ("a", undone, 1)
    enforcement.enforce("a", NEW)
    assert notes[len(undone) :] == [f"a: apply {NEW}"]


def test_a_dataplane_that_cannot_report_leaves_the_old_one(enforcement, notes, fails):
    """If nobody can listen to the next one, the old one is listened to again."""
    fails.add(("b", "listen"))
    with pytest.raises(MuslinError, match="b cannot listen"):
        enforcement.enforce("b", NEW)
    assert (enforcement.dataplane, Source.listening) == ("a", 1)
    assert "a: clean" not in notes


def test_what_would_not_go_is_tried_again(enforcement, notes, fails):
    """An old dataplane that cannot be cleaned is cleaned with the next change, and the new one decides meanwhile."""
    fails.add(("a", "clean"))
    with pytest.raises(MuslinError, match="a cannot clean"):
        enforcement.enforce("b", NEW)
    assert enforcement.dataplane == "b"
    fails.clear()
    enforcement.enforce("b", NEW)
    assert notes[-3:] == ["a: clean", "a: close", f"b: apply {NEW}"]
