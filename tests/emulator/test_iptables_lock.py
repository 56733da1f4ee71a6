"""The legacy variant's lock: others stay out, both of our programs are in, and it outlives an agent that dies."""

import fcntl
import os
import subprocess

import pytest

from emulator.dataplane.iptables import lock as lock_module
from emulator.dataplane.iptables.lock import lock_for
from emulator.dataplane.iptables.restorer import CommandError


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the lock is, instead of the machine's."""
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))
    return tmp_path / "xtables.lock"


@pytest.fixture
def program(tmp_path):
    """A program that can be told of another lock."""
    made = tmp_path / "restore"
    made.write_bytes(b"\x7fELF XTABLES_LOCKFILE\0")
    return str(made)


def is_free(path):
    """Whether another program would get the lock now."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_others_stay_out_until_the_last_of_ours_is_done(path, program):
    """Two hold it together; the first to be done does not let others in."""
    lock = lock_for(program)
    first, second = lock.held(), lock.held()
    first.__enter__()
    second.__enter__()
    assert not is_free(path)
    first.__exit__(None, None, None)
    assert not is_free(path)
    second.__exit__(None, None, None)
    assert is_free(path)
    lock.close()


def test_our_programs_are_told_of_another_file(path, program):
    """One that each process has for itself."""
    lock = lock_for(program)
    told = lock.environment["XTABLES_LOCKFILE"]
    assert told != str(path)
    held = f"flock --nonblock {told} true"
    with lock.held():
        script = f'flock --exclusive {told} sh -c "{held}"'
        assert subprocess.run(["sh", "-c", script], env=lock.environment, check=False).returncode == 0
    lock.close()


def test_it_is_held_as_long_as_a_program_of_a_dead_agent_is_at_it(path, program):
    """What an agent dies with goes on in the programs that inherited it, and ends with them."""
    lock = lock_for(program)
    with lock.held():
        left = subprocess.Popen(["sleep", "60"], pass_fds=[lock.descriptor])
        copy = os.dup(lock.descriptor)
        os.close(lock.descriptor)  # as the end of the process would, without a word to the lock
        os.close(copy)
        assert not is_free(path)
        left.kill()
        left.wait()
        assert is_free(path)
        lock.descriptor = os.open(path, os.O_RDONLY)
    lock.close()


def test_somebody_who_never_lets_go_is_an_error(path, program, monkeypatch):
    """After a while, in words that name the file."""
    monkeypatch.setattr(lock_module, "SECONDS", 0)
    lock = lock_for(program)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match=r"another program has held .*xtables\.lock"), lock.held():
            pass
    with lock.held():
        assert not is_free(path)
    lock.close()


@pytest.mark.usefixtures("path")
def test_a_program_that_knows_one_lock_only_takes_it_by_itself(tmp_path):
    """Holding it for such a program would keep it waiting for ever."""
    old = tmp_path / "old"
    old.write_bytes(b"\x7fELF /run/xtables.lock\0")
    assert lock_for(str(old)) is None
    assert lock_for(str(tmp_path / "missing")) is None
