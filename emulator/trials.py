"""Tries what the emulator needs of a kernel, inside a throwaway sandbox. Run as `python -m emulator.trials`.

Prints one JSON object per trial as it goes, so that a trial that ends the process costs only itself and the later
ones: its name, and "" or the error.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable

import msgspec

from emulator import namespaces, sandbox, sysctl
from emulator.dataplane import DATAPLANES
from emulator.netlink import Batch, RouteSocket
from emulator.pods import PodNetwork
from reference.endpoints import WorkloadEndpoint
from reference.errors import EnvironmentLacksError
from topologies import TOPOLOGIES
from topologies.fabric import Fabric

_NETLINK_NETFILTER = 12
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def main() -> None:
    """Enter a sandbox and try everything in it."""
    try:
        sandbox.enter("trial")
    except EnvironmentLacksError as error:
        _say("sandbox", str(error))
        return
    _say("sandbox", "")
    for name, trial in TRIALS.items():
        try:
            trial()
        except Exception as error:  # noqa: BLE001 - whatever a trial meets is its outcome
            _say(name, str(error) or type(error).__name__)
        else:
            _say(name, "")
    os._exit(0)


def _say(name: str, outcome: str) -> None:
    sys.stdout.write(msgspec.json.encode({name: outcome}).decode() + "\n")
    sys.stdout.flush()


def _pod_network() -> None:
    families = ("10.0.0.1", "fd00::1") if sysctl.has_ipv6() else ("10.0.0.1",)
    pod = WorkloadEndpoint(
        namespace="trial", pod="pod", node="n", interface="calitrial", addresses=families, labels={}, profiles=()
    )
    with namespaces.create() as node, namespaces.Worker(node) as worker:
        network = PodNetwork("n")
        worker.call(network.create, [pod])
        worker.call(network.close)


def _ipv6() -> None:
    if not sysctl.has_ipv6():
        raise EnvironmentLacksError("this kernel was booted without IPv6")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))


def _link(kind: str) -> None:
    batch = Batch()
    batch.link_add("trial0", kind, 5000)
    batch.link_delete(5000)
    with RouteSocket() as kernel:
        kernel.send(batch)


def _fabric() -> None:
    fabric = Fabric(TOPOLOGIES["single"](1))
    fabric.start()


def _nft(*blocks: str) -> None:
    """Load and delete a table of these sets and chains."""
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise EnvironmentLacksError(f"libnftables cannot be loaded: {error}") from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_buffer_error(context)
        text = "\n".join(("table inet trial {", *blocks, "}", "delete table inet trial\n"))
        if library.nft_run_cmd_from_buffer(context, text.encode()):
            words = library.nft_ctx_get_error_buffer(context).decode(errors="replace")
            raise EnvironmentLacksError(" ".join(words.split()) or "libnftables refused the rules")
    finally:
        library.nft_ctx_free(context)


def _nflog() -> None:
    _nft('chain c { type filter hook forward priority 0; log group 5 prefix "trial"; }')
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as listener:
        listener.bind((0, 0))


def _ebpf() -> None:
    DATAPLANES["ebpf"]().close()


def _packet_sockets() -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as probe:
        probe.bind(("lo", 0))


def _tun() -> None:
    device = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"trialtun0", _IFF_TUN | _IFF_NO_PI))
    finally:
        os.close(device)


TRIALS: dict[str, Callable[[], None]] = {
    "pod network": _pod_network,
    "IPv6": _ipv6,
    "bridge": lambda: _link("bridge"),
    "libnftables": lambda: _nft("set s { type ipv4_addr; flags interval; }", "chain c { ip saddr @s counter drop; }"),
    "conntrack and NAT": lambda: _nft(
        "chain c { type nat hook postrouting priority 100; ct state new masquerade; }",
        "chain d { ct state established,related accept; }",
    ),
    "NFLOG": _nflog,
    "rule trace": lambda: _nft("chain c { type filter hook prerouting priority -350; meta nftrace set 1; }"),
    "eBPF": _ebpf,
    "packet sockets": _packet_sockets,
    "kernel WireGuard": lambda: _link("wireguard"),
    "/dev/net/tun": _tun,
    "fabric": _fabric,
}


if __name__ == "__main__":
    main()
