"""A small nftables table beside the programs: what they cannot do from where they are.

It drops what comes from or goes to a workload interface that carries no program (POL-19): a pod that was attached a
moment ago, or one whose programs somebody took off. It drops what the programs let through to be forwarded and the host
would take for itself, should it have an address they did not know of (HEP-12). It keeps the kernel's own connection
tracking from what doNotTrack lists let in (HEP-4). And it translates addresses (NAT-1), for which that tracking is the
right place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress

import msgspec

from emulator.dataplane.dormancy import is_dormant, told
from emulator.dataplane.ebpf.layout import FAMILIES, MARK_FORWARD, MARK_SEEN, MARK_UNTRACKED
from emulator.dataplane.libnftables import Libnftables, NftError
from emulator.dataplane.nftables.normalise import normalise
from emulator.dataplane.nftables.operations import GET_GENERATION, message
from emulator.nfnetlink import NetfilterSocket
from reference.endpoints import Family
from reference.program.nets import widest

TABLE = "muslin_ebpf"
_LIST = f"list table inet {TABLE}"
_UNNAMED = ("metainfo", "rule")
_WORDS: dict[Family, str] = {4: "ip", 6: "ip6"}
_SETS = {
    "programmed": "type iface_index;",
    **{
        f"{name}{family}": f"type ipv{family}_addr; flags interval;"
        for name in ("nat_sources", "pools")
        for family in FAMILIES
    },
}
_CHAINS = {  # name: (where it is hooked in, its rules)
    "from_unprogrammed": (
        "type filter hook prerouting priority raw",
        (
            f'iifname "cali*" meta mark & {MARK_SEEN:#x} == 0 counter drop',
            f"meta mark & {MARK_UNTRACKED:#x} != 0 notrack",
        ),
    ),
    "to_unprogrammed": (
        "type filter hook forward priority filter",
        ('oifname "cali*" oif != @programmed counter drop',),
    ),
    "to_host": (
        "type filter hook input priority filter",
        (f'iifname "cali*" meta mark & {MARK_FORWARD:#x} != 0 counter drop',),
    ),
    "nat_outgoing": (
        "type nat hook postrouting priority 110",
        tuple(
            f"{word} saddr @nat_sources{family} {word} daddr != @pools{family} counter masquerade"
            for family, word in _WORDS.items()
        ),
    ),
}


def _written_over() -> str:
    """Everything but the members of sets, whatever was there of it.

    The sets stay: a packet that is among the old rules would find new ones empty.
    """
    lines = [f"add table inet {TABLE}"]
    for name, kind in _SETS.items():
        lines += [f"add set inet {TABLE} {name} {{ {kind} }}", f"flush set inet {TABLE} {name}"]
    for name, (hook, rules) in _CHAINS.items():
        lines.append(f"add chain inet {TABLE} {name} {{ {hook}; policy accept; }}")
        lines.append(f"flush chain inet {TABLE} {name}")
        lines += [f"add rule inet {TABLE} {name} {rule}" for rule in rules]
    return "\n".join(lines)


class Guard:
    """The table in one network namespace. Every change is one transaction."""

    def __init__(self) -> None:
        """Nothing is written before the first `update`."""
        self._there = False
        self._sets: dict[str, frozenset[str]] = {}
        self._listing: Mapping[str, object] = {}  # of the table as it was written
        self._generation = b""  # the kernel's, when the table was last seen to be as written
        self._kernel = NetfilterSocket()
        self._open = ExitStack()
        # Kept: before one is closed, the kernel lets go of whatever was replaced last, and that takes milliseconds.
        self._nft = self._open.enter_context(Libnftables(json=True))

    def update(self, programmed: Iterable[int], nat_sources: Iterable[str], pools: Iterable[str]) -> int:
        """Make the table be so; returns how many members were written.

        Raises:
            NftError: the kernel cannot do it; nothing was changed.
        """
        wanted = {"programmed": frozenset(map(str, programmed))}
        for family in FAMILIES:
            wanted[f"nat_sources{family}"] = frozenset(widest(nat_sources, family))
            wanted[f"pools{family}"] = frozenset(widest(pools, family))
        commands: list[str] = []
        changed = 0
        for name, members in wanted.items():
            before = self._sets.get(name, frozenset())
            for verb, some in (("delete", before - members), ("add", members - before)):
                if some:
                    commands.append(f"{verb} element inet {TABLE} {name} {{ {', '.join(sorted(some))} }}")
                    changed += len(some)
        if commands or not self._there:
            self._listing = normalise(self._run(commands) if self._there else self._write_anew(commands))
        self._there, self._sets = True, wanted
        return changed

    def _write_anew(self, members: list[str]) -> str:
        """Write over what there may be; where that is something else than ours, make the table anew."""
        whole = [_written_over(), *members]
        with suppress(NftError):
            text = self._run(whole)
            if _is_ours_alone(text):
                return text
        return self._run([f"add table inet {TABLE}", f"delete table inet {TABLE}", *whole])

    def _run(self, commands: Iterable[str]) -> str:
        """As one transaction; how the table is listed then."""
        self._nft.run("\n".join(commands) + "\n")
        self._generation = self._kernel.ask(message(GET_GENERATION))
        return self._nft.run(_LIST)

    def drift(self) -> str:
        """What is wrong with the table, in a line; "" if nothing is. Looks only when somebody changed any table."""
        generation = self._kernel.ask(message(GET_GENERATION))
        if not self._there or generation == self._generation:
            return ""
        if is_dormant(self._kernel, TABLE):
            return told(f"inet {TABLE}")
        found = self._listed()
        if found == self._listing:
            self._generation = generation
            return ""
        return f"table inet {TABLE} " + ("is not as it was written" if found else "is gone")

    def forget(self) -> None:
        """Write the table anew at the next update."""
        self._there, self._sets = False, {}

    def close(self) -> None:
        """Close the sockets; the table stays."""
        self._kernel.close()
        self._open.close()

    def _listed(self) -> Mapping[str, object]:
        """Nothing of a dormant table: libnftables 1.0.6 looks for its flags where they are not."""
        if is_dormant(self._kernel, TABLE):
            return {}
        try:
            return normalise(self._nft.run(_LIST))
        except NftError:
            return {}

    def read_back(self) -> Mapping[str, object]:
        """The members of the address translation's sets, as the kernel has them."""
        listing = self._nft.run(_LIST) if self._there and not is_dormant(self._kernel, TABLE) else ""
        found: dict[str, object] = {}
        for entry in msgspec.json.decode(listing)["nftables"] if listing else ():
            if "set" in entry and entry["set"]["name"] != "programmed":  # indices differ between equal programs
                members = entry["set"].get("elem", [])
                found[entry["set"]["name"]] = sorted(msgspec.json.encode(member).decode() for member in members)
        return found

    def clean(self) -> None:
        """Remove the table: first its chains, as a packet among them would otherwise find the sets empty."""
        if self._listed():
            chains = [f"chain inet {TABLE} {name}\n" for name in _CHAINS]
            self._nft.run("".join(f"flush {chain}delete {chain}" for chain in chains))
        self._nft.run(f"add table inet {TABLE}\ndelete table inet {TABLE}\n")
        self._there, self._sets = False, {}


def _is_ours_alone(listing: str) -> bool:
    """Report whether a table that was written over holds nothing that was there before."""
    entries = msgspec.json.decode(listing)["nftables"]
    found = {(kind, entry[kind]["name"]) for entry in entries for kind in entry if kind not in _UNNAMED}
    return found == {("table", TABLE), *(("set", name) for name in _SETS), *(("chain", name) for name in _CHAINS)}
