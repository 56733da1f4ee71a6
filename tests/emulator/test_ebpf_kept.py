"""Maps that are read in parts: whatever others do to one is found at the next look, and repaired."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import nets, program

from emulator.dataplane.ebpf import kept, sets
from emulator.dataplane.ebpf.bench import Bench, lacking, make_devices
from emulator.dataplane.ebpf.generations import FullError

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
PART = 100
MEMBERS = 1000


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


def looked_at(table):
    """Damage of each kind, in a set of several parts: whether it was found, and repaired."""
    kept.PART = PART
    node = Bench(make_devices())
    cidrs = [f"10.{n >> 8}.{n & 255}.{'1/32' if table == 'members' else '0/24'}" for n in range(MEMBERS)]
    node.apply(program(sets=nets("n1", *cidrs)))
    raw = node.object.maps[table]
    whole = dict(raw.items())
    keys = list(whole)
    damage = {
        "nothing": lambda: None,
        "first gone": lambda: raw.remove_all(keys[:1]),
        "last gone": lambda: raw.remove_all(keys[-1:]),
        "one in the middle changed": lambda: raw.put(keys[500], bytes(raw.value_size)),
        "one more": lambda: raw.put(keys[500][:-4] + b"\1\2\3\4", whole[keys[500]]),
        "all gone": lambda: raw.remove_all(keys),
    }
    found = {}
    for rounds in ("at first", "later"):  # at first nothing is known to be right
        for what, do in damage.items():
            do()
            wrong = node.tables.wrong()
            node.tables.repair(tracing=False)
            found[f"{what}, {rounds}"] = [wrong == [table], dict(raw.items()) == whole]
            if rounds == "later":
                assert node.tables.wrong() == []
    node.close()
    return found


@pytest.mark.parametrize("table", ["members", "nets"])
def test_damage_is_found_at_the_next_look(sandboxed, table):
    """In whatever part of the map it is; nothing is found where nothing was done."""
    for what, (was_found, is_repaired) in sandboxed(looked_at, table).items():
        assert was_found is not what.startswith("nothing"), what
        assert is_repaired, what


class Clock:
    """Goes on when it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        """The time."""
        return self.now


def large_map(reading):
    """Damage to a map of which a look takes so long: after how many seconds it is found, and what a doubt does."""
    kept.LARGE, kept.time = 10, (clock := Clock())
    node = Bench(make_devices())
    node.apply(program(sets=nets("n1", *(f"10.0.{n}.1/32" for n in range(100)))))
    raw = node.object.maps["members"]
    key, _ = next(raw.items())
    part = kept.Table.part

    def slow(table, *words):
        clock.now += reading * (table.name == "members")
        return part(table, *words)

    kept.Table.part = slow
    said, begun = [node.tables.wrong()], clock.now
    for _ in range(2):
        raw.remove_all([key])
        while not node.tables.wrong():
            clock.now += 0.01
        said.append(round(clock.now - begun, 1))
        node.tables.repair(tracing=False)
        said.append(node.tables.wrong())
        begun = clock.now
    raw.put(key, bytes(raw.value_size))
    said.append(node.tables.wrong())
    node.tables.look_anew()
    return [*said, node.tables.wrong()]


@pytest.mark.parametrize(("reading", "found"), [(0.03, 0.6), (0.2, 2.0)], ids=["large", "very large"])
def test_a_large_map_is_looked_at_so_often_that_it_takes_a_tenth_of_the_time(sandboxed, reading, found):
    """And what is wrong with it is found within a second, unless a look takes longer than that; at once in doubt."""
    assert sandboxed(large_map, reading) == [[], found, [], found, [], [], ["members"]]


def array():
    """A word changed within what was written, and one beyond it."""
    node = Bench(make_devices())
    node.apply(program())
    memory = node.object.maps["code"].memory
    before, said = memory[:256], [node.tables.wrong()]
    memory[4096 * 8] ^= 1
    said.append(node.tables.wrong())
    memory[9] ^= 1
    said.append(node.tables.wrong())
    node.tables.repair(tracing=False)
    said += [node.tables.wrong(), memory[:256] == before]
    node.close()
    return said


def test_code_is_compared_as_far_as_it_is_used(sandboxed):
    """Another instruction is damage; what lies where there is no code is not."""
    assert sandboxed(array) == [[], [], ["code"], [], True]


def large_set(at_once, room=1 << 12):
    """What is in the maps of a new set that is written in parts of a size, and what of it is wrong; or "full"."""
    sets.AT_ONCE = at_once
    node = Bench(make_devices(), {"members": room})
    cidrs = [f"10.{n >> 8}.{n & 255}.{'0/24' if n % 10 == 9 else '1/32'}" for n in range(MEMBERS)]
    try:
        node.apply(program(sets=nets("n1", *cidrs)))
        entries = [
            [key.hex(), value.hex()] for name in ("members", "nets") for key, value in node.object.maps[name].items()
        ]
        return [sorted(entries), node.tables.wrong()]
    except FullError:
        return "full"
    finally:
        node.close()


def test_a_large_set_is_written_while_it_is_taken_apart(sandboxed):
    """In whatever parts, the maps become the same, and are known as they are."""
    entries, wrong = sandboxed(large_set, 10 * MEMBERS)
    assert [len(entries), wrong] == [MEMBERS, []]
    assert sandboxed(large_set, PART) == [entries, []]


@pytest.mark.parametrize("at_once", [PART, 10 * MEMBERS])
def test_a_large_set_that_finds_no_room_is_told_of(sandboxed, at_once):
    """The caller goes on with larger maps."""
    assert sandboxed(large_set, at_once, 256) == "full"
