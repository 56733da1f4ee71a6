"""What only the iptables dataplane has to prove in a kernel: neighbours, half-way applies, no hole, traces."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, nets, policy, ports, program, rule

pytestmark = pytest.mark.live


@pytest.fixture(params=["iptables", "iptables-legacy"])
def dataplane(request):
    """Both variants run these tests."""
    return request.param


def run(*command, given=None):
    """Run a program; its output."""
    return subprocess.run(command, input=given, check=True, capture_output=True, text=True).stdout


def tool(dataplane, name="iptables"):
    """The program of a variant."""
    return f"{name}-{'legacy' if dataplane == 'iptables-legacy' else 'nft'}"


A = policy("np:shop/a", [rule("allow", 0, source_sets=("n1",)), rule("log", 1, destination_port_sets=("p1",))])
B = policy("np:shop/b", [rule("deny", 0, protocol=6, destination_ports=(1, 9))])
TIERS = [("default", "deny", ["np:shop/a", "np:shop/b"])]
NAMED = ports("p1", "10.0.0.2,6,80", "10.0.0.2,132,80", "fd00::2,17,80")


def end():
    """Where all roads lead, made anew each time."""
    sets = [*nets("n1", "10.0.0.0/25", "10.0.0.128/32", "fd00::/127", "fd00::8/128"), *NAMED]
    return program(ingress=TIERS, policies=[A, B], sets=sets, nat_sources=frozenset({"10.0.0.0/8", "::/0"}))


STAGES = (
    lambda: program(),
    lambda: program(ingress=TIERS, policies=[A], pods=(1, 3), sets=[*nets("n1", "0.0.0.0/0", "::/0")]),
    lambda: program(ingress=TIERS, policies=[B, A], sets=nets("n2", "10.0.0.0/24"), pods=()),
    lambda: program(ingress=TIERS[:1], policies=[policy("np:shop/a", [rule("pass", 0)]), B], pods=(1, 2, 3)),
    lambda: program(egress=[("t", "pass", [f"np:shop/{n}" for n in range(40)])], policies=[A, B], to_host="accept"),
)


def histories(dataplane):
    """The same end by many roads, by an agent that died on the way, and after somebody meddled."""
    from emulator.dataplane import DATAPLANES

    walked = DATAPLANES[dataplane]()
    for stage in STAGES:
        walked.apply(stage())
    first, again = walked.apply(end()), walked.apply(end())
    by_steps = walked.read_back()
    walked.clean()
    fresh = DATAPLANES[dataplane]()
    empty = fresh.read_back()
    fresh.apply(end())
    at_once = fresh.read_back()
    taken_over = DATAPLANES[dataplane]().apply(end())
    found = {
        "path does not matter": by_steps == at_once and len(str(at_once)) > 3000,
        "sent": first.operations > 0,
        "sent again": [again.operations, again.bytes],
        "cleaned": empty == {},
        "sent by an agent that takes over": [taken_over.operations, taken_over.bytes],
    }
    for words, command in MEDDLING.items():
        run(tool(dataplane) if command[0] != "ipset" else "ipset", *command[command[0] == "ipset" :])
        meddled = DATAPLANES[dataplane]()
        changed = meddled.read_back() != at_once
        meddled.apply(end())
        found[words] = changed and meddled.read_back() == at_once
    for stage in STAGES:
        agent = DATAPLANES[dataplane]()  # each lives for one apply
        agent.apply(stage())
    DATAPLANES[dataplane]().apply(end())
    found["healed from anything"] = agent.read_back() == at_once
    return found


MEDDLING = {
    "a rule flushed": ("-F", "cali-FORWARD"),
    "a rule in the middle": ("-I", "cali-FORWARD", "2", "-j", "RETURN"),
    "a rule at the end": ("-A", "cali-to-wl-dispatch", "-j", "RETURN"),
    "our jump gone": ("-D", "FORWARD", "1"),
    "a member gone": ("ipset", "del", "cali40n1", "10.0.0.128"),
    "a set flushed": ("ipset", "flush", "cali60p1"),
    "a set of ours nobody reads": ("ipset", "create", "cali41n1", "hash:net"),
}


def test_history_does_not_matter(sandboxed, dataplane):
    """Invariant 28: one state, one kernel, by whatever road; the same twice sends nothing; meddling is mended."""
    found = sandboxed(histories, dataplane)
    assert found == {key: [0, 0] if key.startswith("sent ") else True for key in found}
    assert len(found) == 13


def in_pieces(dataplane):
    """The same with more chains than one transaction is to make."""
    from emulator.dataplane.iptables import dataplane as module

    module.PIECE = 3
    return histories(dataplane)


def test_history_does_not_matter_in_pieces(sandboxed):
    """New chains beforehand and old ones after, a few at a time, lead to the same kernel."""
    found = sandboxed(in_pieces, "iptables")
    assert found == {key: [0, 0] if key.startswith("sent ") else True for key in found}


def on_its_way(dataplane):
    """The same where texts are long enough to be on their way while the second family is planned."""
    from emulator.dataplane.iptables import dataplane as module

    module._LONG = 40
    return histories(dataplane)


def test_history_does_not_matter_with_texts_on_their_way(sandboxed, dataplane):
    """What is left of a plan that has begun is done after it, and in no case sent again."""
    found = sandboxed(on_its_way, dataplane)
    assert found == {key: [0, 0] if key.startswith("sent ") else True for key in found}


def neighbours(dataplane):
    """Other software's rules before, between and after."""
    from emulator.dataplane import DATAPLANES

    iptables, save = tool(dataplane), f"{tool(dataplane)}-save"
    run(iptables, "-N", "OTHER")
    run(iptables, "-A", "FORWARD", "-p", "udp", "-j", "OTHER")
    run(iptables, "-t", "nat", "-A", "POSTROUTING", "-o", "other0", "-j", "MASQUERADE")
    run("ipset", "create", "other", "hash:ip")

    def theirs():
        tables = "".join(run(save, "-t", table) for table in ("filter", "nat"))
        kept = [line for line in tables.splitlines() if "cali" not in line and not line.startswith(("#", ":"))]
        return [*kept, "create other" in run("ipset", "save")]

    before = theirs()
    lab = Lab(dataplane)
    lab.apply(end())
    run(iptables, "-I", "FORWARD", "1", "-j", "DROP")  # it gets before us until we look
    alone = lab.dataplane
    DATAPLANES[dataplane]().apply(end())
    first = run(iptables, "-S", "FORWARD").splitlines()[1]
    let_through = lab.tcp(1, 2, 80)
    run(iptables, "-D", "FORWARD", "-j", "DROP")
    during = theirs()
    alone.clean()
    left = "".join(run(save, "-t", table) for table in ("raw", "filter", "nat")) + run("ipset", "save")
    return {
        "untouched": before == during == theirs() and len(before) == 7,
        "ours is first": first.endswith("-j cali-FORWARD"),
        "let through": let_through,
        "nothing of ours is left": "cali" not in left,
    }


def test_other_software_is_left_alone(sandboxed, dataplane):
    """IPT-7: our jump is first in the kernel's chain; rules and sets of others stay, before, during and after."""
    assert sandboxed(neighbours, dataplane) == {
        "untouched": True,
        "ours is first": True,
        "let through": "allowed",
        "nothing of ours is left": True,
    }


def tracing(dataplane):
    """One packet of each family, with the rules it met."""
    from reference.packet import Packet

    lab = Lab(dataplane)
    lab.apply(end())
    found = {}
    for family in (4, 6):
        packet = Packet(
            source=lab.address(1, family),
            destination=lab.address(2, family),
            protocol=6,
            source_port=0,
            destination_port=9 if family == 4 else 80,
        )
        trace = lab.dataplane.trace("node-1", packet)
        lab.tcp(3, 2, 80, family)
        before = len(trace.steps())
        outcome = lab.tcp(1, 2, packet.destination_port, family)
        steps = trace.steps()
        trace.close()
        trace.close()
        named = [f"{step.chain}: {step.rule} {step.verdict}" for step in steps if step.rule]
        jumps = [step.verdict for step in steps if step.verdict.startswith(("jump cali-tw", "goto cali-tw"))]
        found[str(family)] = [before, outcome, named[:1], jumps[:1]]
    found["left"] = "TRACE" in run(f"{tool(dataplane)}-save", "-t", "raw")
    return found


def test_trace_names_rules(sandboxed, dataplane):
    """A trace shows the rules one kind of packet met, by name, and leaves nothing behind."""
    allowed = "cali-pi-np.shop/a: allow by rule 0 of np:shop/a (ingress, tier default) goto cali-allowed"
    entered = "goto cali-tw-ingress-_"
    found = sandboxed(tracing, dataplane)
    for family in ("4", "6"):
        before, outcome, named, jumps = found[family]
        assert [before, outcome] == [0, "allowed"]
        assert allowed in named or named[0].startswith("cali-pro"), named
        assert jumps[0].startswith("goto cali-tw-"), (jumps, entered)
    assert found["left"] is False


def library():
    """The rules and counters of the legacy tables as python-iptables reads them, beside the save command's."""
    import iptc

    lab = Lab("iptables-legacy")
    rules = [rule("allow", 0, protocol=6, source_sets=("n1",)), rule("deny", 1)]
    web = policy("np:shop/web", rules)
    members = nets("n1", "10.0.0.1/32", "fd00::1/128")
    lab.apply(program(ingress=[("default", "deny", ["np:shop/web"])], policies=[web], sets=members))
    outcomes = [lab.tcp(1, 2, 80), lab.tcp(3, 2, 80)[:7], lab.tcp(1, 2, 81), lab.tcp(1, 2, 80, 6)]
    for _ in range(10):  # neighbours talk in between
        read, saved = by_library(iptc), by_command(lab.dataplane)
        if read == saved:
            break
    ours = {ref.rule: seen.packets for ref, seen in lab.dataplane.counters().items() if ref.policy == "np:shop/web"}
    return {
        "outcomes": outcomes,
        "the same rules and counters": read == saved and len(read) > 80,
        "counted": sum(one[3] for one in read if one[2] == "cali-pi-np.shop/web"),
        "ours": {str(number): count for number, count in sorted(ours.items())},
    }


def by_library(iptc):
    """Every rule in a chain of ours; not those of the nat tables, for it cannot read IPv6 masquerading."""
    return sorted(
        [family, table, chain.name, *one.get_counters(), said(one)]
        for tables, family in ((iptc.Table, 4), (iptc.Table6, 6))
        for table in (tables.RAW, tables.MANGLE, tables.FILTER)
        for chain in fresh(tables(table)).chains
        if chain.name.startswith("cali-")
        for one in chain.rules
    )


def fresh(table):
    """It keeps tables."""
    table.refresh()
    return table


def by_command(dataplane):
    """The same by the save command."""
    return sorted(
        [family, one.table, one.chain, one.packets, one.bytes, one.hash]
        for family in (4, 6)
        for one, _, _ in dataplane.saved(family)
        if one.table != "nat"
    )


def said(rule):
    """The hash in the comment of a rule python-iptables has read."""
    comments = [match.parameters["comment"] for match in rule.matches if match.name == "comment"]
    return comments[0].removeprefix("cali:").partition(" ")[0]


def test_another_reader_sees_the_same(sandboxed):
    """python-iptables finds the same rules with the same counters in the legacy tables of both families."""
    found = sandboxed(library)
    assert found["outcomes"] == ["allowed", "unknown", "allowed", "allowed"]
    assert found["the same rules and counters"]
    assert found["ours"] == {"-1": 0, "0": 3, "1": 0}
    assert found["counted"] == 3  # what is allowed matches one rule


def half_way(dataplane):
    """A stream of new connections while random-looking updates are applied: both programs deny 81 and allow 80."""
    import select
    import socket
    import threading
    import time

    from emulator.namespaces import entered

    lab = Lab(dataplane)

    def of(number):
        sets = [*nets("a", "10.0.0.1/32", f"10.9.{number}.0/24"), *nets("b", "10.0.0.1/32", f"10.8.{number}.0/24")]
        extra = [rule("deny", n + 2, protocol=6, destination_ports=(1000 + n,)) for n in range(number % 4)]
        rules = [
            rule("deny", 0, protocol=17, destination_ports=(81,), source_sets=("b",)),
            rule("allow", 1, protocol=17, destination_ports=(80, 81), source_sets=("a",)),
            *extra,
        ]
        tiers = [("default", "deny", ["np:shop/web"])]
        return program(ingress=tiers, policies=[policy("np:shop/web", rules)], sets=sets)

    lab.apply(of(0))
    with entered(lab.hosts[2]):
        servers = {port: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in (80, 81)}
        for port, server in servers.items():
            server.bind((lab.address(2), port))
    stop, sent, got = threading.Event(), {80: 0, 81: 0}, {80: 0, 81: 0}

    def receive():
        for port, server in servers.items():
            while select.select([server], [], [], 0)[0]:
                server.recv(100)
                got[port] += 1

    def stream():
        with entered(lab.hosts[1]):
            until = time.monotonic() + 30
            while not stop.is_set() and time.monotonic() < until:
                receive()
                if sent[80] - got[80] > 50:  # what is lost stays lost, and the stream stops
                    continue
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:  # a new flow each time
                    for port in sent:
                        client.sendto(b"?", (lab.address(2), port))
                        sent[port] += 1

    sender = threading.Thread(target=stream)
    sender.start()
    for number in range(1, 40):
        lab.dataplane.apply(of(number))
    stop.set()
    sender.join()
    receive()
    return {"enough": sent[80] > 500, "lost": sent[80] - got[80], "let through": got[81]}


def test_no_hole_and_no_hiccup(sandboxed, dataplane):
    """New flows during 39 updates of rules and sets: what both sides of an update allow arrives, the rest never."""
    assert sandboxed(half_way, dataplane) == {"enough": True, "lost": 0, "let through": 0}


def set_back(dataplane):
    """Somebody puts back what was there before the last apply."""
    from emulator.dataplane import DATAPLANES

    lab, other = Lab(dataplane), DATAPLANES[dataplane]()
    lab.apply(STAGES[0]())
    said = [lab.dataplane.drift()]
    lab.apply(end())
    other.apply(STAGES[0]())
    said.append(lab.dataplane.drift())
    lab.dataplane.forget()
    lab.apply(end())
    return [bool(words) for words in (*said, lab.dataplane.drift())]


def test_an_old_program_is_drift(sandboxed, dataplane):
    """What was right before the last apply is not right after it."""
    assert sandboxed(set_back, dataplane) == [False, True, False]


def both_variants(dataplane):
    """Somebody programs the other variant; what is said about it, look after look."""
    lab = Lab(dataplane)
    lab.apply(end())
    other = "iptables-nft" if dataplane == "iptables-legacy" else "iptables-legacy"
    said = [lab.dataplane.drift()]
    run(other, "-S")
    said.append(lab.dataplane.drift())
    run(other, "-A", "INPUT", "-j", "ACCEPT")
    said += [lab.dataplane.drift(), lab.dataplane.drift()]
    run(other, "-F")
    said.append(lab.dataplane.drift())
    run(other.replace("ip", "ip6", 1), "-t", "raw", "-A", "OUTPUT", "-j", "ACCEPT")
    said.append(lab.dataplane.drift())
    return said


def test_rules_of_the_other_variant_are_told_once(sandboxed, as_user, dataplane):
    """IPT-7: tables of the other variant are told while they hold rules, once each time; empty ones are no matter.

    Which legacy tables there are only root may know.
    """
    mine, other = ("legacy", "nft") if dataplane == "iptables-legacy" else ("nft", "legacy")
    words = "both variants of iptables hold rules here: iptables-{} has some in {}, beside those of iptables-{}; {}"
    filtered, raw = (
        words.format(other, t, mine, "a packet must pass both") for t in ("iptables filter", "ip6tables raw")
    )
    blind = mine == "nft" and as_user(["id"]) != ["id"]
    expected = [""] * 6 if blind else ["", "", filtered, "", "", raw]
    assert sandboxed(both_variants, dataplane) == expected


def quiet(dataplane):
    """Looks while nobody changes anything but counters, and after changes that leave every number as it was."""
    from emulator.dataplane.iptables.commands import Commands

    saves = []
    listed = Commands.save
    Commands.save = lambda self, *given, **more: saves.append(given) or listed(self, *given, **more)
    lab = Lab(dataplane)
    lab.apply(end())
    said = [lab.dataplane.drift()]
    lab.tcp(1, 2, 80)
    lab.tcp(1, 2, 80, 6)
    said += [lab.dataplane.drift() for _ in range(3)]
    looked = len(saves)
    run("ipset", "restore", given="del cali40n1 10.0.0.128\nadd cali40n1 10.0.0.129\n")
    said.append(lab.dataplane.drift())
    lab.dataplane.forget()
    lab.apply(end())
    said.append(lab.dataplane.drift())
    rule = run(tool(dataplane), "-S", "cali-wl-to-host").splitlines()[-1]
    run("sh", "-c", f"{tool(dataplane)} -R cali-wl-to-host 1 {rule.partition('cali-wl-to-host')[2]}")
    said.append(lab.dataplane.drift())
    return {"said": said, "looked": looked}


def test_looking_costs_nothing_while_nothing_changes(sandboxed, dataplane):
    """Only the first look reads the tables; a member or a rule put in another's place is found."""
    assert sandboxed(quiet, dataplane) == {
        "said": ["", "", "", "", "set cali40n1 has other members", "", "chain filter cali-wl-to-host has other rules"],
        "looked": 2,
    }


def members():
    """Single members, by netlink and as the ipset program then prints them; and refusals."""
    from emulator.dataplane.iptables.ipset import IpSets
    from emulator.dataplane.iptables.restorer import CommandError

    sets = IpSets()
    run("ipset", "restore", given="create n4 hash:net\ncreate p6 hash:ip,port family inet6\ncreate i4 hash:net,iface\n")
    states = [sets.state()]
    sets.run(["add n4 10.0.0.0/24", "add n4 10.9.0.7/32", "add p6 fd00::1,6:80", "add p6 fd00::2,132:81"])
    states.append(sets.state())
    sets.run(["add i4 10.0.0.1,cali1", "del n4 10.9.0.7/32"])
    said = []
    for line in ("add n4 10.0.0.0/24", "del p6 fd00::3,6:80", "add none 10.0.0.0/8"):
        try:
            sets.run([line])
        except CommandError as error:
            said.append(str(error))
    states += [sets.state(), sets.state()]
    saved = sorted(line for line in run("ipset", "save").splitlines() if line.startswith("add"))
    return {"saved": saved, "said": said, "states": [states.index(one) for one in states]}


SETS = """create n4 hash:net family inet maxelem 1048576
add n4 10.0.0.0/24
add n4 10.9.0.7/32
create n6 hash:net family inet6 hashsize 4096 maxelem 1048576
add n6 fd00::/64
create p4 hash:ip,port family inet maxelem 1048576
add p4 10.0.0.1,6:80
add p4 10.0.0.1,132:81
create i6 hash:net,iface family inet6 maxelem 1048576
add i6 fd00::1,cali1
create spare hash:net family inet maxelem 1048576
add spare 192.0.2.0/24
swap spare n4
del n4 192.0.2.0/24
destroy spare
"""


def whole_sets():
    """The same lines by netlink and by the program; then a refusal among many lines."""
    from emulator.dataplane.iptables.ipset import IpSets
    from emulator.dataplane.iptables.restorer import CommandError

    def saved():
        return sorted(re.sub(r" (bucketsize|initval) \S+", "", line) for line in run("ipset", "save").splitlines())

    run("ipset", "restore", given=SETS)
    by_program = saved()
    run("ipset", "destroy")
    sets = IpSets()
    sets.run(SETS.splitlines())
    by_netlink = saved()
    said = ""
    try:
        sets.run(
            [*(f"add n4 10.1.{n}.0/24" for n in range(250)), "create n4 hash:net family inet", "add n4 10.2.0.0/16"]
        )
    except CommandError as error:
        said = str(error)
    return {"alike": by_program == by_netlink, "lines": len(by_netlink), "said": said, "then": len(saved())}


def test_whole_sets_need_no_program(sandboxed):
    """What is made by netlink is what the program makes of the same lines; what is refused is named."""
    assert sandboxed(whole_sets) == {
        "alike": True,
        "lines": 8,
        "said": "the kernel refused `create n4 hash:net family inet`: there is such a set already",
        "then": 8 + 251,
    }


def test_single_members_need_no_program(sandboxed):
    """What is added by netlink is what ipset prints; what is there already or not there is refused."""
    assert sandboxed(members) == {
        "saved": ["add i4 10.0.0.1,cali1", "add n4 10.0.0.0/24", "add p6 fd00::1,tcp:80", "add p6 fd00::2,sctp:81"],
        "said": [
            "the kernel refused `add n4 10.0.0.0/24`: it is there already, or it is not there",
            "the kernel refused `del p6 fd00::3,6:80`: it is there already, or it is not there",
            "the kernel refused `add none 10.0.0.0/8`: there is no such set",
        ],
        "states": [0, 1, 2, 2],
    }
