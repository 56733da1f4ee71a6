"""Tables of nf_tables that were put to sleep: a flag, and none of a table's rules decides anything."""

from __future__ import annotations

from collections.abc import Iterator

from emulator.nfnetlink import NFPROTO_INET, SUBSYS_NFTABLES, Message, NetfilterSocket, attributes, named, string, u32

_NEW_TABLE, _GET_TABLE = (SUBSYS_NFTABLES << 8 | kind for kind in (0, 1))
_NAME, _FLAGS = 1, 2
_DORMANT = 1


def tables(socket: NetfilterSocket, family: int) -> Iterator[tuple[str, bool]]:
    """(name, whether it is dormant) of every table of a family (NFPROTO_*)."""
    for body in socket.dump(Message(_GET_TABLE, b"", family=family)):
        found = attributes(body)
        yield string(found[_NAME]), bool(int.from_bytes(found.get(_FLAGS, b""), "big") & _DORMANT)


def is_dormant(socket: NetfilterSocket, table: str) -> bool:
    """Report whether a table of the family inet was put to sleep; one that is not there was not."""
    return dict(tables(socket, NFPROTO_INET)).get(table, False)


def told(table: str) -> str:
    """What is wrong with a table that was, in words; `table` with its family."""
    return f"table {table} is dormant, so that nothing in it decides"


def waking(table: str, family: int) -> Message:
    """What wakes a table, in a transaction."""
    return Message(_NEW_TABLE, named(table) + u32(_FLAGS, 0), family=family)
