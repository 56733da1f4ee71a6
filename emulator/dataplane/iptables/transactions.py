"""Small changes of the nft variant without its restore program: both families in one transaction of nf_tables.

After a transaction that removed a rule the kernel waits until no packet can be among what was removed, some 16 ms. The
next transaction with an extension of x_tables in it, as all of our rules have, is held up until then. Two programs, one
for each family, pay that at every change; one transaction pays it only when the last change was just before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emulator.dataplane.iptables.encoding import UnknownHereError, encoded
from emulator.dataplane.iptables.ipset import IpSets
from emulator.nfnetlink import (
    AF_INET,
    AF_INET6,
    NLM_F_APPEND,
    NLM_F_CREATE,
    SUBSYS_NFTABLES,
    Message,
    NetfilterSocket,
    NetlinkError,
    attribute,
    attributes,
    text,
)
from reference.endpoints import Family

MOST = 200  # lines; the program is as quick with more
_NEW_CHAIN, _DELETE_CHAIN, _NEW_RULE, _GET_RULE, _DELETE_RULE = (
    SUBSYS_NFTABLES << 8 | kind for kind in (3, 5, 6, 7, 8)
)
_REPLACE = 0x100
_HANDLE = 3
_FAMILIES: dict[Family, int] = {4: AF_INET, 6: AF_INET6}


class Transactions:
    """Of the network namespace of the thread that makes it."""

    def __init__(self, sets: IpSets) -> None:
        """Open the socket."""
        self._sets = sets
        self._socket = NetfilterSocket()

    def run(self, texts: Mapping[Family, Sequence[str]]) -> bool:
        """Do what the lines say, all at once; False if nothing was done: the restore program knows how, or why not."""
        if sum(map(len, texts.values())) > MOST:
            return False
        try:
            self._socket.transact(
                [message for family, lines in texts.items() for message in self._messages(family, lines)]
            )
        except (UnknownHereError, NetlinkError):
            return False
        return True

    def _messages(self, family: Family, lines: Sequence[str]) -> Iterator[Message]:
        table = ""
        handles: dict[str, list[bytes]] = {}
        for line in lines:
            if line.startswith("*"):
                table, handles = line[1:], {}
            elif line != "COMMIT":
                yield self._message(_FAMILIES[family], family, table, line, handles)

    def _message(
        self, protocol: int, family: Family, table: str, line: str, handles: dict[str, list[bytes]]
    ) -> Message:
        """One line, given the handles of the rules of each chain as they are before it; they become those after it."""
        verb, chain, *rest = line.split(" ", 2)
        if verb.startswith(":"):
            return Message(_NEW_CHAIN, text(1, table) + text(3, verb[1:]), NLM_F_CREATE, family=protocol)
        if verb == "-X":
            return Message(_DELETE_CHAIN, text(1, table) + text(3, chain), family=protocol)
        place = text(1, table) + text(2, chain)
        if verb == "-F":
            return Message(_DELETE_RULE, place, family=protocol)
        if verb == "-A":
            rule = encoded(rest[0], family, self._sets.index)
            return Message(_NEW_RULE, place + rule, NLM_F_CREATE | NLM_F_APPEND, family=protocol)
        number, _, words = rest[0].partition(" ")
        if verb not in ("-R", "-D") or not number.isdigit():
            raise UnknownHereError(line)
        if chain not in handles:
            handles[chain] = self._handles(protocol, place)
        at = int(number) - 1
        if at >= len(handles[chain]):
            raise UnknownHereError(line)
        if verb == "-D":
            return Message(_DELETE_RULE, place + attribute(_HANDLE, handles[chain].pop(at)), family=protocol)
        rule = attribute(_HANDLE, handles[chain][at]) + encoded(words, family, self._sets.index)
        return Message(_NEW_RULE, place + rule, _REPLACE, family=protocol)

    def _handles(self, protocol: int, place: bytes) -> list[bytes]:
        """The handles of a chain's rules, in order."""
        return [attributes(body)[_HANDLE] for body in self._socket.dump(Message(_GET_RULE, place, family=protocol))]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
