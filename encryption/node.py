"""WireGuard on one node: makes its devices, peers, tables and rules be what the state says (2i).

Every method runs in the thread that lives in the node's network namespace, always the same one. It compares wanted
with actual and sends the difference, so a second `apply` of the same state sends nothing.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from encryption import routing
from encryption.available import require
from encryption.device import Changes, Device, KernelDevice, UserspaceDevice, open_device, update
from encryption.handshake import shake_hands
from encryption.keys import PrivateKey
from encryption.peers import (
    DEVICES,
    FWMARK,
    DeviceSpec,
    Peer,
    TableRoute,
    encrypting_nodes,
    node_address,
    peers,
    wireguard_routes,
)
from encryption.uapi import DeviceStatus
from reference.endpoints import Family
from reference.errors import EnvironmentLacksError, RefusedError
from reference.state import State

_LOOSE = "2"  # rp_filter: the answer to a decrypted packet may leave by another device than it came in by
_Wanted = tuple[str, tuple[Peer, ...], tuple[TableRoute, ...]]  # public key, peers, routes


class NodeEncryption:
    """The WireGuard of one node."""

    def __init__(self, node: str, key: PrivateKey) -> None:
        """Nothing is made before the first `apply`."""
        self._node = node
        self._keys = {key.public: key}
        self._netlink: IPRoute | None = None
        self._inputs: tuple[object, ...] = ()  # the parts of the state that the last apply was about
        self._devices: dict[Family, UserspaceDevice | KernelDevice] = {}
        self._applied: dict[Family, _Wanted] = {}
        self._sessionless: dict[Family, dict[str, float]] = {}  # peers to shake hands with, and since when
        self._clear: set[Family] = set()  # where nothing of ours is known to be left

    def add_key(self, key: PrivateKey) -> None:
        """Have one more key ready; it is used once the state says that the node published it (rotation)."""
        self._keys[key.public] = key
        self._inputs = ()

    def prepare(self, state: State) -> int:
        """Make the devices and peers, and route nothing to them yet; returns how many things were changed.

        With every node prepared before the first one routes, no packet meets a node that does not know its sender.

        Raises:
            EnvironmentLacksError: there is no WireGuard here, or it refused.
            RefusedError: the node published a key whose private half is not here.
        """
        changes = sum(self._device(spec, state) for spec in DEVICES.values())
        if changes:
            self._inputs = ()
        return changes

    def apply(self, state: State) -> int:
        """Make the node's WireGuard be what the state says; returns how many things were changed.

        Raises:
            EnvironmentLacksError: there is no WireGuard here, or it refused.
            RefusedError: the node published a key whose private half is not here.
        """
        inputs = state.encryption, state.public_keys, state.hosts, state.blocks, state.endpoints
        alive = all(device.alive for device in self._devices.values())
        if alive and self._inputs and all(a is b for a, b in zip(self._inputs, inputs, strict=True)):
            return 0
        self._inputs = ()
        changes = self.prepare(state)
        changes += sum(self._route(spec, state) for spec in DEVICES.values())
        self._inputs = inputs
        return changes

    def status(self) -> dict[Family, DeviceStatus]:
        """What the devices are now, read from themselves, with what they have seen of each peer."""
        return {family: device.status() for family, device in self._devices.items()}

    def clean(self) -> None:
        """Remove the rules, tables and devices: everything is in clear again (WG-9)."""
        self._inputs = ()
        if self._netlink is not None:
            for spec in DEVICES.values():
                self._remove(spec)
            self._netlink.close()
            self._netlink = None

    # -- one family ------------------------------------------------------------------------------------------------

    @property
    def _ipr(self) -> IPRoute:
        if self._netlink is None:
            self._netlink = IPRoute()
        return self._netlink

    def _wanted(self, spec: DeviceSpec, state: State) -> _Wanted | None:
        if self._node not in encrypting_nodes(state, spec.family):
            return None
        public = state.public_keys[self._node]
        if public not in self._keys:
            raise RefusedError(
                f"{self._node} published the WireGuard key {public}, whose private half is not here; "
                "have the node publish a new key"
            )
        return public, peers(state, self._node, spec.family), wireguard_routes(state, self._node, spec.family)

    def _device(self, spec: DeviceSpec, state: State) -> int:
        wanted = self._wanted(spec, state)
        device = self._devices.get(spec.family)
        if wanted is None or (device is not None and device.alive and self._applied.get(spec.family) == wanted):
            return 0
        made = 0
        if device is None or not device.alive:
            device = self._open(spec, state)
            made = 1
        public, wanted_peers, _ = wanted
        since = time.time()
        changes = _configure(device, self._keys[public], spec, wanted_peers)
        fresh = self._sessionless.setdefault(spec.family, {})
        fresh.update(dict.fromkeys(changes.sessionless, since))
        return made + changes.count

    def _route(self, spec: DeviceSpec, state: State) -> int:
        wanted = self._wanted(spec, state)
        if wanted is None:
            return self._remove(spec)
        if self._applied.get(spec.family) == wanted:
            return 0
        self._greet(spec, state, wanted)
        (index,) = self._ipr.link_lookup(ifname=spec.name)
        changes = routing.set_table(self._ipr, spec, index, wanted[2])
        changes += routing.add_rules(self._ipr, spec)
        self._applied[spec.family] = wanted
        return changes

    def _greet(self, spec: DeviceSpec, state: State, wanted: _Wanted) -> None:
        """Shake hands with new peers before pods' packets go to them."""
        public, wanted_peers, _ = wanted
        current = {peer.public_key for peer in wanted_peers}
        fresh = {key: since for key, since in self._sessionless.pop(spec.family, {}).items() if key in current}
        if fresh:
            down = [state.public_keys[name] for name in state.failed_nodes if name in state.public_keys]
            absent = fresh if self._node in state.failed_nodes else down
            shake_hands(self._devices[spec.family], public, wanted_peers, fresh, absent)

    def _open(self, spec: DeviceSpec, state: State) -> UserspaceDevice | KernelDevice:
        self._applied.pop(spec.family, None)
        self._clear.discard(spec.family)
        if (dead := self._devices.pop(spec.family, None)) is not None:
            dead.close()
        device = open_device(spec.name, require(), self._ipr)
        self._devices[spec.family] = device
        mtu = routing.fabric_mtu(self._ipr, node_address(state, self._node, spec.family) or "")
        (index,) = self._ipr.link_lookup(ifname=spec.name)
        try:
            self._ipr.link("set", index=index, mtu=mtu - spec.overhead, state="up")
        except NetlinkError as error:
            raise EnvironmentLacksError(f"{spec.name} on {self._node} cannot be brought up: {error}") from error
        with suppress(OSError):  # an IPv6 device has no such switch
            Path(f"/proc/sys/net/ipv4/conf/{spec.name}/rp_filter").write_text(_LOOSE)
        return device

    def _remove(self, spec: DeviceSpec) -> int:
        """Leave nothing of ours, the first time not even what an earlier agent of this node may have left."""
        if spec.family in self._clear:
            return 0
        changes = routing.remove_rules(self._ipr, spec)
        changes += routing.set_table(self._ipr, spec, 0, ())
        if (device := self._devices.pop(spec.family, None)) is not None:
            device.close()
        for index in self._ipr.link_lookup(ifname=spec.name):
            with suppress(NetlinkError):  # it may be going away by itself just now
                self._ipr.link("del", index=index)
        self._applied.pop(spec.family, None)
        self._clear.add(spec.family)
        return changes + (device is not None)


def _configure(device: Device, key: PrivateKey, spec: DeviceSpec, wanted: tuple[Peer, ...]) -> Changes:
    try:
        return update(device, key, spec.port, FWMARK, wanted)
    except (OSError, NetlinkError) as error:
        raise EnvironmentLacksError(f"{spec.name} cannot be configured: {error}") from error
