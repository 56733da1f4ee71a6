"""Rules of policies as iptables-nft writes them to nf_tables, from the text its restore program reads. Pure.

Only what changes often is known here: verdicts, marks, log messages, interfaces, protocols, addresses, ports, sets.
Whatever else a rule says, the restore program is there for. What it writes and what is written here is the same, byte
by byte; a test holds the two against each other.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from ipaddress import ip_network

from emulator.dataplane.iptables.names import CHAIN_PREFIX
from emulator.dataplane.nftables import expressions as e
from emulator.nfnetlink import attribute, nested, text, u32
from reference.endpoints import Family

_EXPRESSIONS, _COMPAT = 4, 5  # attributes of a rule
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_VERDICTS = {"ACCEPT": e.ACCEPT, "DROP": e.DROP, "RETURN": e.RETURN}


_META_MARK = e.meta(e.MARK)
_INTERFACES = {"-i": e.meta(e.IIFNAME), "-o": e.meta(e.OIFNAME)}


class UnknownHereError(Exception):
    """The text says something that only the restore program knows."""


def encoded(line: str, family: Family, set_index: Callable[[str], int]) -> bytes:
    """The attributes of a rule without table and chain. `set_index` is the kernel's number of a set.

    Raises:
        UnknownHereError: the text says something else than rules of policies do.
    """
    return _Rule(line, family, set_index).attributes()


class _Rule:
    """One line on its way from words to expressions."""

    def __init__(self, line: str, family: Family, set_index: Callable[[str], int]) -> None:
        self._words = [quoted or plain for quoted, plain in _WORD.findall(line)][::-1]
        self._family, self._set_index = family, set_index
        self._options = dict.fromkeys(("-i", "-o", "-p", "-s", "-d"), b"")  # in the order of the program
        self._matches = b""
        self._action = b""
        self._compat = b""

    def attributes(self) -> bytes:
        while self._words:
            inverted, word = self._maybe_not()
            if word == "-m":
                self._match(self._words.pop())
            elif word in ("-j", "-g"):
                self._act(word, self._words.pop())
            elif word == "-p":
                self._protocol(int(self._words.pop()), inverted)
            elif word in _INTERFACES:
                self._options[word] = _interface(_INTERFACES[word], self._words.pop(), inverted)
            elif word in self._options:
                self._options[word] = self._address(word, self._words.pop(), inverted)
            else:
                raise UnknownHereError(word)
        expressions = b"".join(self._options.values()) + self._matches + e.counter() + self._action
        return nested(_EXPRESSIONS, expressions) + self._compat

    def _maybe_not(self) -> tuple[bool, str]:
        word = self._words.pop()
        return (True, self._words.pop()) if word == "!" else (False, word)

    def _protocol(self, number: int, inverted: bool) -> None:
        self._options["-p"] = e.protocol_is(number, equal=not inverted)
        self._compat = nested(_COMPAT, u32(1, number), u32(2, 2 if inverted else 0))

    def _address(self, option: str, word: str, inverted: bool) -> bytes:
        """As many whole bytes as the prefix has, and a mask where it ends within one."""
        net = ip_network(word)
        whole, rest = divmod(net.prefixlen, 8)
        length = e.ADDRESS_LENGTH[self._family] if rest else whole
        load = e.payload(e.NETWORK, e.ADDRESS_AT[self._family, option == "-s"], length)
        cut = e.bitwise(net.netmask.packed, bytes(length)) if rest else b""
        return load + cut + e.compared(net.network_address.packed[:length], equal=not inverted)

    def _match(self, name: str) -> None:
        inverted, _ = option = self._maybe_not()
        if option == (False, "--comment"):
            self._matches += _compat_match("comment", 0, self._words.pop().encode().ljust(256, b"\0"))
        elif name == "mark" and option[1] == "--mark":
            value, mask = (struct.pack("=I", int(part, 16)) for part in self._words.pop().split("/"))
            self._matches += _META_MARK + e.bitwise(mask, bytes(4)) + e.compared(value, equal=not inverted)
        elif name == "multiport" and option[1] in ("--sports", "--dports"):
            self._matches += _compat_match("multiport", 1, _multiport(option[1], self._words.pop(), inverted))
        elif name == "set" and option[1] == "--match-set":
            index = self._set_index(self._words.pop())
            self._matches += _compat_match("set", 4, _set(index, self._words.pop().split(","), inverted))
        else:
            raise UnknownHereError(name)

    def _act(self, how: str, target: str) -> None:
        if target in _VERDICTS:
            self._action = e.verdict(_VERDICTS[target])
        elif target == "MARK" and self._words.pop() == "--set-xmark":
            data = struct.pack("=II", *(int(part, 16) for part in self._words.pop().split("/")))
            self._action = e.expression("target", text(1, target), u32(2, 2), attribute(3, data))
        elif target == "NFLOG":
            self._action = self._log()
        elif target.startswith(CHAIN_PREFIX):
            self._action = e.verdict(e.JUMP if how == "-j" else e.GOTO, target)
        else:
            raise UnknownHereError(target)

    def _log(self) -> bytes:
        given = {}
        while self._words and self._words[-1].startswith("--nflog-"):
            option = self._words.pop()
            given[option] = self._words.pop()
        group, size = int(given["--nflog-group"]), int(given["--nflog-size"])
        return e.expression(
            "log", text(2, given["--nflog-prefix"]), attribute(1, struct.pack("!H", group)), u32(3, size)
        )


def _interface(load: bytes, name: str, inverted: bool) -> bytes:
    """A whole name ends with a zero; what ends with "+" is the beginning of a name."""
    data = name[:-1].encode() if name.endswith("+") else name.encode() + b"\0"
    return load + e.compared(data, equal=not inverted)


def _compat_match(name: str, revision: int, data: bytes) -> bytes:
    return e.expression("match", text(1, name), u32(2, revision), attribute(3, data))


def _multiport(option: str, words: str, inverted: bool) -> bytes:
    """xt_multiport_v1: source or destination, then ports, with a flag for each that a range begins with."""
    ports = [0] * 15
    flags = [0] * 15
    count = 0
    for entry in words.split(","):
        ends = entry.split(":")
        flags[count] = len(ends) - 1
        for port in ends:
            ports[count] = int(port)
            count += 1
    return struct.pack("=BB15H15BB", option == "--dports", count, *ports, *flags, inverted)


def _set(index: int, sides: list[str], inverted: bool) -> bytes:
    """xt_set_info_match_v4: the set, how many dimensions, a flag for each that is the source's; no counters."""
    flags = inverted | sum(2 << at for at, side in enumerate(sides) if side == "src")
    return struct.pack("=HBB44x", index, len(sides), flags)
