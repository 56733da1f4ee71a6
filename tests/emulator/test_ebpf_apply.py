"""What an apply does, and what it spares: looks at empty tables, programs nobody needs, maps that are large enough."""

import random
import sys
from pathlib import Path

import pytest
from immutables import Map

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, policy, program, rule

from emulator.dataplane.ebpf import adoption, conntrack
from emulator.dataplane.ebpf import dataplane as ebpf
from emulator.dataplane.ebpf.attach import HOST, WORKLOAD
from emulator.dataplane.ebpf.bench import Bench, lacking, make_devices
from emulator.dataplane.ebpf.generations import FullError
from emulator.dataplane.ebpf.kept import Account, Changes, KeptTable
from emulator.dataplane.ebpf.listing import listing
from emulator.dataplane.ebpf.pool import Pool
from emulator.dataplane.ebpf.sizes import SMALLEST, sizes_for
from emulator.nfnetlink import NetlinkError, attribute
from reference.program.types import HostEndpointProgram

live = pytest.mark.live
needs_root = pytest.mark.skipif(bool(lacking()), reason=lacking())
SIZES = {"flows": 64, "code": 64, "counts": 64}


@pytest.fixture
def as_user():
    """Only root may load eBPF programs."""
    return lambda command: command


class Kernel:
    """A kernel that says how many connections there are, and notes when it is asked to list them."""

    def __init__(self, statistics):
        self.statistics = statistics
        self.listed = 0

    def ask(self, _message):
        """How many there are."""
        if self.statistics is None:
            raise NetlinkError(1, 0, 1)
        return self.statistics

    def dump(self, _message):
        """None of them."""
        self.listed += 1
        return iter(())


@pytest.mark.parametrize(
    ("statistics", "listed"),
    [(attribute(1, bytes(4)), 0), (attribute(1, b"\0\0\0\3"), 1), (b"", 1), (None, 1)],
    ids=["none", "three", "it does not say", "it cannot say"],
)
def test_connections_are_listed_where_there_may_be_some(statistics, listed):
    """To list none takes the kernel as long as to list all that every namespace has."""
    kernel = Kernel(statistics)
    assert conntrack.connections(kernel) == []
    assert kernel.listed == listed


class Table:
    """A map that only notes what is written."""

    name, key_size, value_size = "some", 1, 1

    def __init__(self):
        self.entries = {b"o": b"0"}
        self.calls = []

    def put_all(self, entries):
        """As a map does."""
        self.calls.append("put")
        self.entries |= entries

    def remove_all(self, keys):
        """As a map does."""
        self.calls.append("remove")
        for key in keys:
            self.entries.pop(key, None)


def test_of_several_changes_of_a_key_the_last_one_counts():
    """They are made at once: a call for what goes, one for what comes, none for nothing."""
    table = Table()
    changes = Changes(KeptTable(table, Account()))
    changes.put({b"a": b"1", b"b": b"1", b"c": b"1"})
    changes.remove([b"a", b"o"])
    changes.put({b"b": b"2", b"o": b"3"})
    assert table.calls == []
    changes.flush()
    assert (table.entries, table.calls) == ({b"b": b"2", b"c": b"1", b"o": b"3"}, ["remove", "put"])
    changes.flush()
    assert len(table.calls) == 2


def programs_by_need():
    """The programs that are loaded: at first, with a host endpoint, in larger maps; and what interfaces miss then."""
    lab = Lab("ebpf")
    dataplane, said = lab.dataplane, []

    def loaded():
        beside = dataplane._hosts.programs if dataplane._hosts else {}
        return sorted(dataplane._object.programs), sorted(beside)

    said.append(loaded())
    lab.apply(program())
    said.append(loaded())
    base = program()
    shut = base.endpoints["cali1"].ingress
    guard = HostEndpointProgram(name="h", interface="up0", ingress=shut, egress=shut)
    guarded = program(host_endpoints=Map({"up0": guard}))
    lab.apply(guarded)
    said += [loaded(), dataplane.drift()]
    dataplane._renew({name: size * 2 for name, size in dataplane._sizes.items()}, program())
    said += [loaded(), dataplane.drift()]
    lab.apply(program())
    said.append(dataplane.drift())
    return said


@live
@needs_root
def test_the_programs_of_the_machines_own_interfaces_are_loaded_with_the_first_host_endpoint(sandboxed):
    """Half of the work of loading; they go along into larger maps, and nothing misses its programs."""
    without, both = (sorted(WORKLOAD), []), (sorted(WORKLOAD), sorted(HOST))
    assert [tuple(each) if isinstance(each, list) else each for each in sandboxed(programs_by_need)] == [
        (*without,), (*without,), (*both,), "", (*both,), "", "",
    ]  # fmt: skip


def first_apply(sample):
    """Of a large first program: how often programs were loaded, whether maps are as large as asked, what is decided.

    So many of its policies are looked at beforehand.
    """
    lab, loads, load = Lab("ebpf"), [], ebpf._load
    many = [rule("deny", n, protocol=6, destination_ports=(1000 + n,)) for n in range(20000)]
    large = program(ingress=[("default", "deny", ["np:shop/web"])], policies=[policy("np:shop/web", many)])
    wanted = sizes_for(large, SMALLEST, len(large.policies))
    ebpf.SAMPLE = sample
    ebpf._load = lambda *words, **more: (loads.append(1), load(*words, **more))[1]
    lab.apply(large)
    return [len(loads), lab.dataplane._sizes == wanted != SMALLEST, lab.tcp(1, 2, 20999)]


@live
@needs_root
@pytest.mark.parametrize("sample", [64, 0], ids=["looked at", "not looked at"])
def test_maps_are_as_large_as_a_first_program_needs(sandboxed, sample):
    """Where the first policies look like the others the programs are loaded ahead; where not, when they turn out so."""
    assert sandboxed(first_apply, sample) == [
        1,
        True,
        "deny by rule 19999 of np:shop/web (ingress, tier default) at cali2",
    ]


def looks_of_a_first_apply():
    """How often the kernel was asked for its connections, and its sockets, by the first apply of an idle machine."""
    lab, asked = Lab("ebpf"), []
    listed, sockets = conntrack._listed, adoption.open_sockets
    conntrack._listed = lambda kernel: (asked.append("connections"), listed(kernel))[1]
    adoption.open_sockets = lambda: (asked.append("sockets"), sockets())[1]
    lab.apply(program())
    return [asked.count("connections"), asked.count("sockets")]


@live
@needs_root
def test_an_idle_machine_has_no_connections_to_learn(sandboxed):
    """CT-3 costs nothing where there are none; it is asked before programs are attached, and after."""
    assert sandboxed(looks_of_a_first_apply) == [0, 2]


def rules_told():
    """Of a list that asks by turns for ports and for sources: what decides at each place, by reference and rule."""
    bench = Bench(make_devices())
    asked = [
        {"destination_ports": (1000 + at,)}
        if at % 2
        else {"destination_ports": (7,), "source_nets": (f"10.0.{at}.0/24",)}
        for at in range(200)
    ]
    rules = [rule("allow", at, protocol=6, **match) for at, match in enumerate(asked)]
    bench.apply(program(ingress=[("default", "deny", ["np:shop/a"])], policies=[policy("np:shop/a", rules)]))
    tables, found = bench.tables, []
    for span in [*tables.programmed.policies[0].values(), *tables.programmed.walks.values()]:
        for place, reference in tables.code.decisions(span):
            told = tables.rule_at(place)
            if told is not None:
                found.append((bench.references.rule(reference).rule, told.index))
    bench.close()
    return found


@live
@needs_root
def test_the_rule_at_a_place_is_the_one_that_decides_there(sandboxed):
    """Also where rules are written in another order than the policy's."""
    found = [tuple(each) for each in sandboxed(rules_told)]
    assert len(found) > 200
    assert all(decides == told for decides, told in found)
    assert [decides for decides, _ in found] != sorted(decides for decides, _ in found)


def _random_program(dice):
    """A few policies, each of one to six rules."""
    chosen = [f"np:shop/{name}" for name in dice.sample("abcdefgh", dice.randrange(1, 6))]
    made = [
        policy(
            id_,
            [rule("allow", n, protocol=6, destination_ports=(dice.randrange(3),)) for n in range(dice.randrange(7))],
        )
        for id_ in chosen
    ]
    return program(ingress=[("default", "deny", chosen)], policies=made)


def crowded():
    """Updates in a code map that is nearly full: how often new code lay in pieces, and what was not as it should be."""
    devices, dice, pieces, wrong = make_devices(), random.Random(7), [], []
    original = Pool.take

    def take(pool, length):
        start = original(pool, length)
        pieces.extend([1] * (start is None))
        return start

    Pool.take = take

    def node():
        return Bench(devices, {**SIZES, "policies": 1 << 10, "wide": 1 << 10})

    def listed(one):
        return listing(one.tables, str, lambda number: str(one.references.rule(number)))

    full, tight = 0, node()
    for _ in range(150):
        wanted, fresh = _random_program(dice), node()
        try:
            fresh.apply(wanted)
            tight.apply(wanted)
        except FullError:  # on a node, larger maps would follow
            full += 1
            tight.close()
            tight = node()
        else:
            wrong += [wanted] if listed(tight) != listed(fresh) else []
        fresh.close()
    return [len(pieces) > 10, full < 100, len(wrong)]


@live
@needs_root
def test_code_that_fits_in_no_one_piece_lies_in_several(sandboxed):
    """What decides is the same as on a machine that has this program and never had another."""
    assert sandboxed(crowded) == [True, True, 0]
