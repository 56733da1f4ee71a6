"""Small changes of the nft variant by one transaction, without the restore program, and as that would make them."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from nftables_lab import Lab, nets, policy, program, rule

pytestmark = pytest.mark.live

CONDITIONS = (
    "-g cali-x",
    "-m mark ! --mark 0x0/0x30000 -j RETURN",
    "! -i cali+ -o cali0123 -j cali-x",
    "-p 6 -i eth0 -j cali-x",
    "-j MARK --set-xmark 0x0/0x30000",
    "! -p 6 -s {a} -d {b} -j DROP",
    "-s {c} -d {d} -j cali-x",
    "-p 6 -m multiport --dports 80,90:99 -m set --match-set cali{f}0n src -j ACCEPT",
    "-p 17 -m multiport ! --sports 53 -m set ! --match-set cali{f}0p dst,dst "
    '-j NFLOG --nflog-group 1 --nflog-size 128 --nflog-prefix "ingress|default|np:shop/web|1"',
    "-m set --match-set cali{f}0s src,src -j RETURN",
)
NETS = {
    4: {"f": 4, "a": "10.0.0.0/8", "b": "192.0.2.1/32", "c": "10.0.0.0/9", "d": "10.1.2.0/23"},
    6: {"f": 6, "a": "fd00::/8", "b": "fd00::1/128", "c": "fd00::/9", "d": "2001:db8::/47"},
}


def run(*command, given):
    """Run a program."""
    subprocess.run(command, input=given, check=True, text=True)


def encodings():
    """Rules as the restore program writes them, and as they are written without it; what only the program knows."""
    from emulator.dataplane.iptables.ipset import IpSets
    from emulator.dataplane.iptables.transactions import Transactions
    from emulator.nfnetlink import Message, NetfilterSocket, attributes, text

    kinds = {"n": "hash:net", "p": "hash:ip,port", "s": "hash:net,iface"}
    for family in (4, 6):
        sets = [
            f"create cali{family}0{name} {kind} family inet{'' if family == 4 else 6}\n" for name, kind in kinds.items()
        ]
        run("ipset", "restore", given="".join(sets))

    def lines(chain, family):
        written = (rule.format(**NETS[family]) for rule in CONDITIONS)
        rules = [f'-A {chain} {rule} -m comment --comment "cali:0123456789abcdef words"' for rule in written]
        return ["*filter", f":{chain} - [0:0]", *rules, "COMMIT"]

    for family, tool in ((4, "iptables-nft-restore"), (6, "ip6tables-nft-restore")):
        run(tool, "--noflush", given="\n".join(["*filter", ":cali-x - [0:0]", *lines("cali-a", family)[1:], ""]))
    transactions = Transactions(IpSets())
    done = transactions.run({family: lines("cali-b", family) for family in (4, 6)})
    edited = transactions.run({4: ["*filter", "-R cali-x 1 -j DROP", "COMMIT"]})
    unknown = transactions.run({4: ["*filter", "-F cali-b", "-A cali-b -m conntrack --ctstate NEW -j DROP", "COMMIT"]})
    socket, found = NetfilterSocket(), {}
    for family in (4, 6):
        for chain in ("cali-a", "cali-b"):
            asked = Message(0xA07, text(1, "filter") + text(2, chain), family=2 if family == 4 else 10)
            found[family, chain] = [attributes(body)[4] for body in socket.dump(asked)]
    return {
        "done": [done, edited, unknown],
        "equal": [found[family, "cali-a"] == found[family, "cali-b"] for family in (4, 6)],
        "rules": [len(rules) for rules in found.values()],
    }


def test_rules_are_what_the_restore_program_makes_of_them(sandboxed):
    """Byte by byte; where something is not known, or not there to be changed, nothing is done: the program is asked."""
    count = len(CONDITIONS)
    assert sandboxed(encodings) == {"done": [True, False, False], "equal": [True, True], "rules": [count] * 4}


def one_by_one(dataplane):
    """The restore programs a change of one rule starts or feeds, and what is in force then."""
    from emulator.dataplane.iptables.restorer import Restorer

    def of(port):
        web = policy("np:shop/web", [rule("allow", 0, protocol=6, destination_ports=(port,), source_sets=("n1",))])
        return program(ingress=[("default", "deny", ["np:shop/web"])], policies=[web], sets=nets("n1", "10.0.0.0/8"))

    lab, fed = Lab(dataplane), []
    lab.apply(of(80))
    begin_text = Restorer.begin
    Restorer.begin = lambda self, lines: fed.append(lines) or begin_text(self, lines)
    lab.apply(of(81))
    return {"fed": len(fed), "outcomes": [lab.tcp(1, 2, 80)[:7], lab.tcp(1, 2, 81)], "drift": lab.dataplane.drift()}


@pytest.mark.parametrize("dataplane", ["iptables", "iptables-legacy"])
def test_a_small_change_needs_no_program_in_the_nft_variant(sandboxed, dataplane):
    """One transaction changes both families; the legacy variant has a program for each."""
    fed = 0 if dataplane == "iptables" else 2
    assert sandboxed(one_by_one, dataplane) == {"fed": fed, "outcomes": ["deny by", "allowed"], "drift": ""}
