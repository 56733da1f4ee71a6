"""The bare kernel work of an apply: what it sent, or the text people would feed to the kernel for the same."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from benchmarks.dataplane.bed import Machine
from emulator.dataplane.ebpf import build
from emulator.dataplane.ebpf.attach import WORKLOAD, Attachments
from emulator.dataplane.ebpf.kept import KeptArray, KeptNumbers
from emulator.dataplane.ebpf.libbpf import Object, Table
from emulator.dataplane.iptables.dataplane import IptablesDataplane
from emulator.dataplane.libnftables import Libnftables
from emulator.nfnetlink import Message, NetfilterSocket
from reference.errors import MuslinError
from reference.program.types import NodeProgram

SENT_AGAIN = "the same netlink transactions"  # for information: what is fed is text, or maps
RESTORED = "iptables-restore of the same lines"
KERNEL = "the kernel's own part of it"
Replay = Callable[[], float]  # to be called in another node's namespace; the seconds it took
_Call = tuple[str, tuple[Any, ...]]


def watched_apply(name: str, machine: Machine, program: NodeProgram) -> tuple[float, Mapping[str, Replay]]:
    """The seconds a first apply took, and what does the same to the kernel without the dataplane."""
    return _WAYS[name](machine, program)


def timed(machine: Machine, program: NodeProgram) -> float:
    """The seconds an apply took."""
    start = time.perf_counter()
    machine.apply(program)
    return time.perf_counter() - start


def timed_with_kernel(machine: Machine, program: NodeProgram) -> tuple[float, float]:
    """The seconds an apply took, and those of them in which nf_tables was at work; 0 where it has no part in it."""
    within = 0.0
    original = NetfilterSocket.transact

    def transact(itself: NetfilterSocket, messages: Sequence[Message]) -> int:
        nonlocal within
        start = time.perf_counter()
        try:
            return original(itself, messages)
        finally:
            within += time.perf_counter() - start

    with patch.object(NetfilterSocket, "transact", transact):
        return timed(machine, program), within


def _nftables(machine: Machine, program: NodeProgram) -> tuple[float, Mapping[str, Replay]]:
    with _noted((NetfilterSocket, "transact")) as calls:
        seconds = timed(machine, program)
    text = machine.worker.call(_output, "nft", "--stateless", "list", "table", "inet", "muslin")

    def transactions() -> float:
        sock = NetfilterSocket()
        start = time.perf_counter()
        for _, (messages,) in calls:
            sock.transact(messages)
        seconds = time.perf_counter() - start
        sock.close()
        return seconds

    return seconds, {
        "nft -f of the listed table": lambda: _fed([(("nft", "-f", "-"), text)]),
        SENT_AGAIN: transactions,
    }


def _iptables(variant: str) -> Callable[[Machine, NodeProgram], tuple[float, Mapping[str, Replay]]]:
    def watched(machine: Machine, program: NodeProgram) -> tuple[float, Mapping[str, Replay]]:
        seconds = timed(machine, program)
        sets = machine.worker.call(_output, "ipset", "save")
        families = ("iptables", "ip6tables")
        texts = {name: machine.worker.call(_output, f"{name}-{variant}-save") for name in families}

        def restore() -> float:
            seconds = _fed([(("ipset", "restore"), sets)])
            return seconds + _fed([((f"{name}-{variant}-restore",), text) for name, text in texts.items()])

        return seconds, {"ipset restore and iptables-restore of the saved text": restore}

    return watched


def _ebpf(machine: Machine, program: NodeProgram) -> tuple[float, Mapping[str, Replay]]:
    writes = ((Table, "put"), (Table, "put_all"), (Table, "remove_all"))
    shared = ((KeptArray, "write"), (KeptNumbers, "put_all"))
    with (
        _noted(*shared) as memory,
        _noted(*writes, (Attachments, "attach"), (Libnftables, "run"), (Object, "__init__")) as calls,
    ):
        seconds = timed(machine, program)
    arrays = _contents(memory)
    loads = [words for name, words in calls if name == "__init__"]

    def maps() -> float:
        with Libnftables(json=True) as nft:  # a dataplane has it open, and to close it takes its time
            start = time.perf_counter()
            programs = Object(build.programs(), loads[-1][1] if loads else {}, None, WORKLOAD)
            if not loads:  # they were loaded before the apply
                start = time.perf_counter()
            attachments = Attachments()
            for name, content in arrays.items():
                programs.maps[name].memory[: len(content)] = content
            for name, words in calls:
                if name == "attach":
                    attachments.attach(words[0], words[1], programs.programs)
                elif name == "run":
                    nft.run(*words)
                elif name != "__init__":
                    table, *rest = words
                    getattr(programs.maps[table], name)(*rest)
            seconds = time.perf_counter() - start
        attachments.close()
        programs.close()
        return seconds

    return seconds, {"the same map writes and filters": maps}


def _contents(written: Iterable[_Call]) -> Mapping[str, bytes]:
    """What was written to memory that is shared with the kernel, in one piece for each map."""
    found: dict[str, bytearray] = {}
    for name, (table, what, *data) in written:
        if name == "write":
            pieces = {what: data[0]}
        else:
            pieces = {place * 8: number.to_bytes(8, sys.byteorder) for place, number in what.items()}
        content = found.setdefault(table, bytearray())
        for at, piece in pieces.items():
            content.extend(bytes(max(0, at + len(piece) - len(content))))
            content[at : at + len(piece)] = piece
    return {table: bytes(content) for table, content in found.items()}


def change_by_itself(name: str, machine: Machine, ring: Sequence[NodeProgram], turns: int) -> list[float]:
    """The seconds that iptables-restore takes for the lines of changes of rules, round a ring so many times.

    None for dataplanes that are fed by no such program.
    """
    if not name.startswith("iptables"):
        return []
    dataplane = machine.dataplane
    assert isinstance(dataplane, IptablesDataplane)
    texts = []
    for program in (*ring[1:], ring[0]):
        plans = machine.worker.call(dataplane.plan, program).plans
        texts.append({family: "\n".join([*made.rules, ""]) for family, made in plans.items()})
        machine.apply(program)
    variant = "legacy" if name.endswith("legacy") else "nft"
    programs = {4: f"iptables-{variant}-restore", 6: f"ip6tables-{variant}-restore"}
    return [
        machine.worker.call(_fed, [((programs[family], "--noflush"), lines) for family, lines in text.items()])
        for _ in range(turns)
        for text in texts
    ]


_WAYS: Mapping[str, Callable[[Machine, NodeProgram], tuple[float, Mapping[str, Replay]]]] = {
    "nftables": _nftables,
    "iptables": _iptables("nft"),
    "iptables-legacy": _iptables("legacy"),
    "ebpf": _ebpf,
}


@contextmanager
def _noted(*methods: tuple[type, str]) -> Iterator[list[_Call]]:
    """Note the calls of methods: the name, and the arguments; of a map, its name before them."""
    calls: list[_Call] = []
    originals = [(owner, name, getattr(owner, name)) for owner, name in methods]

    def noting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(itself: object, *words: object, **named: object) -> object:
            calls.append((name, (itself.name, *words) if isinstance(itself, Table | KeptArray) else words))
            return original(itself, *words, **named)

        return call

    for owner, name, original in originals:
        setattr(owner, name, noting(name, original))
    try:
        yield calls
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _fed(commands: Sequence[tuple[tuple[str, ...], str]]) -> float:
    """The seconds until all of these, run side by side, have read and done their text."""
    start = time.perf_counter()
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for command, _ in commands
    ]
    for process, (_, text) in zip(running, commands, strict=True):
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
    failed = [process.args for process in running if process.wait()]
    seconds = time.perf_counter() - start
    for process in running:
        assert process.stderr is not None
        process.stderr.close()
    if failed:
        raise MuslinError(f"the floor could not be measured: {failed} refused the text")
    return seconds
