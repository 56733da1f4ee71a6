"""One WireGuard device in the calling thread's network namespace: the kernel's, or wireguard-go's.

Both kinds have the same few methods, and both are configured by difference: what is already so is not sent again, so
sessions of peers that did not change live on.
"""

from __future__ import annotations

import base64
import shlex
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
from pyroute2 import IPRoute, WireGuard
from pyroute2.netlink.exceptions import NetlinkError

from encryption import uapi
from encryption.available import Flavour
from encryption.keys import PrivateKey
from encryption.peers import Peer
from encryption.uapi import DeviceStatus, PeerStatus
from reference.errors import EnvironmentLacksError

_START_SECONDS = 10.0
_POLL_SECONDS = 0.002
_STOP_SECONDS = 5.0


class Device(Protocol):
    """A WireGuard device."""

    name: str

    def status(self) -> DeviceStatus:
        """What it is now."""
        ...

    def set_device(self, key: PrivateKey, port: int, fwmark: int) -> None:
        """Give it its key, port and mark."""
        ...

    def set_peers(self, changed: Iterable[Peer], removed: Iterable[str]) -> None:
        """Add or change some peers, remove others by their key, leave the rest alone."""
        ...

    def kick(self, keys: Collection[str], keepalive: int) -> None:
        """Send some peers an empty packet now, which makes a handshake if there is no session, and then so often."""
        ...

    def close(self) -> None:
        """Remove it."""
        ...


class UserspaceDevice:
    """A wireguard-go process of our own, in the foreground, in the namespace of the thread that starts it.

    Its control socket has a fixed path, which the nodes of a cluster would share and fight over: the process gets a
    mount namespace with a /run of its own, and is reached through /proc. When that process ends, the device goes.
    """

    def __init__(self, name: str) -> None:
        """Start it and return when it can be configured.

        Raises:
            EnvironmentLacksError: it does not start; says what it said.
        """
        self.name = name
        own_run = "mount -t tmpfs none /run && mkdir /run/wireguard"
        command = f"{own_run} && exec env LOG_LEVEL=error wireguard-go -f {shlex.quote(name)}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        self._socket = Path(f"/proc/{self._process.pid}/root/run/wireguard/{name}.sock")
        self._await()

    def _await(self) -> None:
        # Before its own /run is mounted, the path leads to ours, where another process may have the name.
        ours = Path("/run").stat().st_dev
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError):
                if self._socket.parent.stat().st_dev != ours:
                    uapi.get(self._socket)
                    return
            time.sleep(_POLL_SECONDS)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        raise EnvironmentLacksError(f"wireguard-go did not make {self.name}: {said[-1] if said else 'it said nothing'}")

    @property
    def alive(self) -> bool:
        """Report whether the process still runs."""
        return self._process.poll() is None

    def status(self) -> DeviceStatus:
        """What the device is now."""
        return uapi.get(self._socket)

    def set_device(self, key: PrivateKey, port: int, fwmark: int) -> None:
        """Give the device its key, port and mark."""
        uapi.set_device(self._socket, key, port, fwmark)

    def set_peers(self, changed: Iterable[Peer], removed: Iterable[str]) -> None:
        """Add or change some peers, remove others, leave the rest alone."""
        uapi.set_peers(self._socket, changed, removed)

    def kick(self, keys: Collection[str], keepalive: int) -> None:
        """Send some peers an empty packet now, and then every so many seconds (0: never again)."""
        if keys:
            for seconds in (0, 1, keepalive):  # only switching it on sends one at once
                uapi.set_keepalive(self._socket, keys, seconds)

    def close(self) -> None:
        """End the process; the kernel removes its device."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()


class KernelDevice:
    """A device of the kernel's WireGuard, configured by netlink."""

    alive = True

    def __init__(self, name: str, netlink: IPRoute) -> None:
        """Make it, or take over one that is there.

        Raises:
            EnvironmentLacksError: the kernel refused.
        """
        self.name = name
        self._netlink = netlink
        try:
            if not netlink.link_lookup(ifname=name):
                netlink.link("add", ifname=name, kind="wireguard")
            self._wireguard = WireGuard()
        except NetlinkError as error:
            raise EnvironmentLacksError(f"the kernel did not make {name}: {error}") from error

    def status(self) -> DeviceStatus:
        """What the device is now."""
        status = DeviceStatus()
        for message in self._wireguard.info(self.name):  # peers come in several messages when there are many
            status = DeviceStatus(
                public_key=_text(message.get("WGDEVICE_A_PUBLIC_KEY")) or status.public_key,
                port=message.get("WGDEVICE_A_LISTEN_PORT") or status.port,
                fwmark=message.get("WGDEVICE_A_FWMARK") or status.fwmark,
                peers=status.peers | dict(map(_peer_status, message.get("WGDEVICE_A_PEERS") or [])),
            )
        return status

    def set_device(self, key: PrivateKey, port: int, fwmark: int) -> None:
        """Give the device its key, port and mark."""
        secret = base64.b64encode(key.reveal()).decode()
        self._wireguard.set(self.name, private_key=secret, listen_port=port, fwmark=fwmark)

    def set_peers(self, changed: Iterable[Peer], removed: Iterable[str]) -> None:
        """Add or change some peers, remove others, leave the rest alone."""
        for key in removed:
            self._wireguard.set(self.name, peer={"public_key": key, "remove": True})
        for peer in changed:
            settings = {
                "public_key": peer.public_key,
                "endpoint_addr": peer.address,
                "endpoint_port": peer.port,
                "replace_allowed_ips": True,
                "allowed_ips": list(peer.allowed),
            }
            self._wireguard.set(self.name, peer=settings)

    def kick(self, keys: Collection[str], keepalive: int) -> None:
        """Send some peers an empty packet now, and then every so many seconds (0: never again)."""
        for key in keys:
            for seconds in (0, 1, keepalive):  # only switching it on sends one at once
                peer = {"public_key": key, "update_only": True, "persistent_keepalive": seconds}
                self._wireguard.set(self.name, peer=peer)

    def close(self) -> None:
        """Remove the device."""
        self._wireguard.close()
        for index in self._netlink.link_lookup(ifname=self.name):
            self._netlink.link("del", index=index)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _peer_status(peer: object) -> tuple[str, PeerStatus]:
    get = peer.get  # type: ignore[attr-defined]
    end = get("WGPEER_A_ENDPOINT") or {}
    handshake = get("WGPEER_A_LAST_HANDSHAKE_TIME") or {}
    return _text(get("WGPEER_A_PUBLIC_KEY")), PeerStatus(
        address=_text(end.get("addr")),
        port=int(end.get("port") or 0),
        allowed=tuple(sorted(_text(allowed["addr"]) for allowed in get("WGPEER_A_ALLOWEDIPS") or [])),
        last_handshake=(handshake.get("tv_sec") or 0) + (handshake.get("tv_nsec") or 0) / 1e9,
        received=int(get("WGPEER_A_RX_BYTES") or 0),
        sent=int(get("WGPEER_A_TX_BYTES") or 0),
    )


def open_device(name: str, flavour: Flavour, netlink: IPRoute) -> UserspaceDevice | KernelDevice:
    """Make a device in the calling thread's namespace."""
    return KernelDevice(name, netlink) if flavour == "kernel" else UserspaceDevice(name)


class Changes(msgspec.Struct, frozen=True):
    """What an update did."""

    count: int  # keys, ports, marks and peers written or removed
    sessionless: tuple[str, ...]  # keys of the peers that lost their session, or never had one


def update(device: Device, key: PrivateKey, port: int, fwmark: int, wanted: Iterable[Peer]) -> Changes:
    """Make a device have this key, port, mark and peers, and tell it only what it does not have yet."""
    now = device.status()
    by_key = {peer.public_key: peer for peer in wanted}
    fresh = set(by_key) if now.public_key != key.public else set(by_key) - set(now.peers)
    settings = int((now.public_key, now.port, now.fwmark) != (key.public, port, fwmark))
    if settings:
        device.set_device(key, port, fwmark)
    changed = [peer for peer in by_key.values() if not _is_so(peer, now.peers.get(peer.public_key))]
    removed = sorted(now.peers.keys() - by_key.keys())
    if changed or removed:
        device.set_peers(changed, removed)
    return Changes(settings + len(changed) + len(removed), tuple(sorted(fresh)))


def _is_so(peer: Peer, status: PeerStatus | None) -> bool:
    return status is not None and (status.address, status.port, status.allowed) == (
        peer.address,
        peer.port,
        tuple(sorted(peer.allowed)),
    )
