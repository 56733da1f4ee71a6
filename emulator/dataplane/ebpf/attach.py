"""The programs on their interfaces: clsact and its two TC filters, which outlive the agent and show in `tc filter`."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from emulator.dataplane.ebpf.libbpf import program_id
from emulator.netlink import Batch, RouteSocket
from emulator.netlink import messages as m
from emulator.netlink.socket import NetlinkError

WORKLOAD = ("from_workload", "to_workload")  # the programs' names in policy.bpf.c: for what is received, and sent
HOST = ("from_host_interface", "to_host_interface")
_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 44, 45, 46
_HOOKS = (0xFFFFFFF2, 0xFFFFFFF3)  # what an interface receives, and what it sends
_OPTIONS = 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION = 1
_ENTRIES = 2  # of a hook with one filter: the kernel lists the priority, then the filter
_ARPHRD_NONE = 0xFFFE
_PEER_NAMESPACE = 37  # IFLA_LINK_NETNSID: where the other end of a veth is, if not here
_OF_INTEREST = frozenset({_PEER_NAMESPACE, m.IFLA_LINKINFO})
_WITHOUT_STATISTICS = m.number(29, 1 << 3)  # IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS
_PRIORITY_1_ALL = 1 << 16 | socket.htons(3)  # ETH_P_ALL
_THERE_ALREADY = frozenset({errno.EEXIST})
_NONE: frozenset[int] = frozenset()
_GONE = frozenset({errno.ENODEV, errno.EINVAL, errno.ENOENT})


class Attachments:
    """The interfaces of one network namespace that carry the programs."""

    def __init__(self) -> None:
        """Open the sockets, in the calling thread's network namespace."""
        self._kernel = RouteSocket()
        self._meanwhile = RouteSocket()  # of the other thread
        self._other = ThreadPoolExecutor(1, "prepare interfaces")
        self._placed: Future[frozenset[int]] | None = None  # which got their place since programs were last attached

    def prepare(self, interfaces: Iterable[int]) -> None:
        """In another thread, give interfaces their place for programs, which the next `attach` will find.

        The kernel takes longer for the place than for the programs, so it is made while their code is made out.
        """
        self._placed = self._other.submit(self._place, frozenset(interfaces))

    def _place(self, interfaces: frozenset[int]) -> frozenset[int]:
        """Those that have their place now; for others `attach` makes it, and tells what is wrong."""
        places = Batch()
        for index in interfaces:
            places.clsact_add(index, tolerated=_THERE_ALREADY)
        try:
            self._meanwhile.send(places)
        except NetlinkError:
            return _NONE
        return interfaces

    def attach(self, interfaces: Mapping[str, int], names: tuple[str, str], programs: Mapping[str, int]) -> None:
        """Put the programs on interfaces; where there are some, they are replaced with no packet between.

        Raises:
            NetlinkError: the kernel refused.
        """
        if not interfaces:
            return
        placed, self._placed = self._placed.result() if self._placed else _NONE, None
        hooks = [
            (program, hook, _filter(program, programs[program])) for program, hook in zip(names, _HOOKS, strict=True)
        ]
        batch = Batch()
        for name, index in interfaces.items():
            if index not in placed:
                batch.clsact_add(index, tolerated=_THERE_ALREADY)
            for program, hook, what in hooks:
                body = m.TRAFFIC.pack(0, index, 1, hook, _PRIORITY_1_ALL) + what
                batch.add(_RTM_NEWTFILTER, m.NLM_F_CREATE, body, f"filter replace dev {name} {program}")
        self._kernel.send(batch)

    def detach(self, indices: Mapping[str, int]) -> None:
        """Take the programs off; an interface that is gone has none.

        The empty clsact stays: to remove it, the kernel stops the interface for a moment, and packets are lost.
        """
        batch = Batch()
        for name, index in indices.items():
            for hook in _HOOKS:
                body = m.TRAFFIC.pack(0, index, 0, hook, _PRIORITY_1_ALL)
                batch.add(_RTM_DELTFILTER, 0, body, f"filter del dev {name}", _GONE)
        if len(batch):
            self._kernel.send(batch)

    def bare(self, interfaces: Mapping[str, int], names: tuple[str, str], programs: Mapping[str, int]) -> list[str]:
        """The interfaces on which one of the programs is not, or not alone; one that is gone needs none.

        Programs of the same name that another agent loaded are others.
        """
        if not interfaces:
            return []
        there = set(self._kernel.links().values())
        hooks = [(program_id(programs[program]), hook) for program, hook in zip(names, _HOOKS, strict=True)]
        return [
            name
            for name, index in interfaces.items()
            if index in there and not all(self._carries(index, program, hook) for program, hook in hooks)
        ]

    def _carries(self, index: int, program: int, hook: int) -> bool:
        found = self._filters(index, hook)
        return len(found) == _ENTRIES and any(program in _program_ids(one) for one in found)

    def _filters(self, index: int, hook: int) -> list[bytes]:
        try:
            return [
                data[start:end]
                for data, start, end in self._kernel.dump(_RTM_GETTFILTER, m.TRAFFIC.pack(0, index, 0, hook, 0))
            ]
        except NetlinkError:  # there is no clsact
            return []

    def programs(self) -> Iterator[int]:
        """The ids of programs of this name that interfaces carry for what they receive, whoever attached them."""
        ours = [m.text(_BPF_NAME, f"muslin_{names[0]}") for names in (WORKLOAD, HOST)]
        for index in self._kernel.links().values():
            for found in self._filters(index, _HOOKS[0]):
                if any(name in found for name in ours):
                    yield from _program_ids(found)

    def addresses(self) -> list[m.Address]:
        """The host's own addresses, link-local ones left out."""
        return [address for address in self._kernel.addresses() if not address.is_link_local]

    def without_link_header(self) -> frozenset[int]:
        """The interfaces whose packets begin with the network header: tunnels."""
        return frozenset(index for index, kind in self._kernel.link_types().items() if kind == _ARPHRD_NONE)

    def leading_into_pods(self) -> frozenset[int]:
        """The interfaces whose other end is in another network namespace: what they send is received there at once."""
        veths = m.link() + m.attribute(m.IFLA_LINKINFO, m.text(m.IFLA_INFO_KIND, "veth")) + _WITHOUT_STATISTICS
        found = set()
        for data, start, end in self._kernel.dump(m.RTM_GETLINK, veths):
            parts = dict(m.attributes(data, start + m.LINK.size, end, _OF_INTEREST))
            if _PEER_NAMESPACE in parts and _kind(parts) == b"veth":
                found.add(m.LINK.unpack_from(data, start)[2])
        return frozenset(found)

    def close(self) -> None:
        """Close the sockets; what is attached stays."""
        self._other.shutdown()
        self._kernel.close()
        self._meanwhile.close()


def _filter(program: str, fd: int) -> bytes:
    """What the filter that runs a program is, wherever it is put."""
    options = m.number(_BPF_FD, fd) + m.text(_BPF_NAME, f"muslin_{program}") + m.number(_BPF_FLAGS, _DIRECT_ACTION)
    return m.text(m.TCA_KIND, "bpf") + m.attribute(_OPTIONS, options)


def _program_ids(answer: bytes) -> Iterator[int]:
    """The program in a filter's description."""
    for kind, options in m.attributes(answer, m.TRAFFIC.size, len(answer)):
        if kind == _OPTIONS:
            for option, data in m.attributes(options, 0, len(options)):
                if option == _BPF_ID:
                    yield int.from_bytes(data, "little")


def _kind(link: Mapping[int, bytes]) -> bytes:
    info = link.get(m.IFLA_LINKINFO, b"")
    return dict(m.attributes(info, 0, len(info))).get(m.IFLA_INFO_KIND, b"").rstrip(b"\0")
