"""Whether anybody changed tables or sets since somebody last looked, for much less than reading them.

The kernel numbers the generations of nf_tables; the legacy tables and the sets it hands out as they are, and they are
compared without being understood.
"""

from __future__ import annotations

from collections.abc import Hashable

from emulator.dataplane.dormancy import tables, waking
from emulator.dataplane.iptables.ipset import IpSets
from emulator.dataplane.iptables.parts import TABLES
from emulator.dataplane.iptables.xtables import LegacyTables
from emulator.nfnetlink import AF_INET, AF_INET6, SUBSYS_NFTABLES, Message, NetfilterSocket, attributes, string
from reference.endpoints import Family

_GET_RULE, _GET_GENERATION = (SUBSYS_NFTABLES << 8 | kind for kind in (7, 16))
_NUMBERS: dict[Family, int] = {4: AF_INET, 6: AF_INET6}


class Watch:
    """Looks at what one variant of iptables programs, and whether the other one's tables hold rules too."""

    def __init__(self, sets: IpSets, *, legacy: bool) -> None:
        """Open the sockets."""
        self._sets, self._legacy = sets, legacy
        self._socket = NetfilterSocket()
        self._tables = LegacyTables()
        self._rivals: tuple[int, list[str]] = 0, []  # rules of the nft variant, in which generation

    def state(self) -> Hashable:
        """Equal to what it was before if nobody changed anything in between."""
        return self._tables.state() if self._legacy else self._generation(), self._sets.state()

    def may_hold_rules(self, family: Family) -> bool:
        """Whether our four tables may hold any; asked before they are read, which takes several milliseconds."""
        if self._legacy:
            return any(self._tables.holds_rules(family, table) for table in TABLES)
        return any(name in TABLES for name, _ in tables(self._socket, _NUMBERS[family]))

    def asleep(self) -> dict[str, Message]:
        """Those of our tables that were put to sleep, so that nothing in them decides, and what wakes each."""
        if self._legacy:  # which knows no such thing
            return {}
        return {
            f"{'ip' if family == 4 else 'ip6'} {name}": waking(name, number)
            for family, number in _NUMBERS.items()
            for name, is_dormant in tables(self._socket, number)
            if is_dormant and name in TABLES
        }

    def wake(self) -> None:
        """Wake them."""
        if asleep := self.asleep():
            self._socket.transact([*asleep.values()])

    def conflict(self) -> str:
        """A line that names the tables in which the other variant has rules as well (IPT-7); "" if there are none."""
        rivals = self._nft_rules() if self._legacy else self._tables.rules()
        if not rivals:
            return ""
        mine, theirs = ("legacy", "nft") if self._legacy else ("nft", "legacy")
        return (
            f"both variants of iptables hold rules here: iptables-{theirs} has some in {', '.join(rivals)}, "
            f"beside those of iptables-{mine}; a packet must pass both"
        )

    def _generation(self) -> int:
        asked = Message(_GET_GENERATION, b"", family=0)
        return int.from_bytes(attributes(self._socket.ask(asked))[1], "big")

    def _nft_rules(self) -> list[str]:
        """Which tables of the nft variant hold rules; looked for only when nf_tables changed."""
        generation = self._generation()
        if generation != self._rivals[0]:
            found: dict[str, None] = {}
            for family, tool in ((AF_INET, "iptables"), (AF_INET6, "ip6tables")):
                for body in self._socket.dump(Message(_GET_RULE, b"", family=family)):
                    if (table := string(attributes(body)[1])) in TABLES:
                        found[f"{tool} {table}"] = None
            self._rivals = generation, list(found)
        return self._rivals[1]

    def close(self) -> None:
        """Close the sockets."""
        self._socket.close()
        self._tables.close()
