"""Maps that are looked at in parts: whatever others do to one is found within a round, and repaired."""

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
    """Damage of each kind, in a set of several parts: looks until it was found, and whether it was repaired."""
    kept.ENTRIES_A_LOOK = PART
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
            looks = next((n for n in range(1, 3 * MEMBERS // PART) if node.tables.wrong() == [table]), 0)
            node.tables.repair(tracing=False)
            found[f"{what}, {rounds}"] = [bool(looks), looks <= 2 * MEMBERS // PART + 2, dict(raw.items()) == whole]
            if rounds == "later":
                for _ in range(MEMBERS // PART + 1):
                    assert node.tables.wrong() == []
    node.close()
    return found


@pytest.mark.parametrize("table", ["members", "nets"])
def test_damage_is_found_within_two_rounds(sandboxed, table):
    """A look that is half way round needs another one; nothing is found where nothing was done."""
    for what, (was_found, in_time, is_repaired) in sandboxed(looked_at, table).items():
        assert was_found is not what.startswith("nothing"), what
        assert in_time, what
        assert is_repaired, what


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
