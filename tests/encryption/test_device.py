"""The configuration protocol, the difference that is sent, and the first handshake, without a device."""

import base64
import socket
import threading
import time

import pytest
from pyroute2.netlink.generic.wireguard import AsyncWireGuard, wgmsg

from encryption import uapi
from encryption.device import KernelDevice, update
from encryption.handshake import KEEPALIVE, PATIENCE, shake_hands
from encryption.keys import PrivateKey
from encryption.peers import Peer
from encryption.uapi import DeviceStatus, PeerStatus

OWN = PrivateKey.generate()
REMOTE = [PrivateKey.generate().public for _ in range(3)]


def peer(number: int, *allowed: str) -> Peer:
    """A peer."""
    return Peer(public_key=REMOTE[number], address=f"172.30.1.1{number}", port=51820, allowed=allowed)


class Fake:
    """A device in memory; a handshake succeeds when the peer answers."""

    name = "fake"

    def __init__(self, answers=()) -> None:
        self.sent: list[tuple] = []
        self.kicked: list[tuple] = []
        self.answers = answers
        self._key, self._port, self._mark = "", 0, 0
        self._peers: dict[str, PeerStatus] = {}

    def status(self) -> DeviceStatus:
        """What it is."""
        return DeviceStatus(public_key=self._key, port=self._port, fwmark=self._mark, peers=dict(self._peers))

    def set_device(self, key, port, fwmark) -> None:
        """Take settings."""
        self.sent.append(("device", key.public))
        self._key, self._port, self._mark = key.public, port, fwmark

    def set_peers(self, changed, removed) -> None:
        """Take peers."""
        changed, removed = list(changed), list(removed)
        self.sent.append(("peers", [p.public_key for p in changed], removed))
        for key in removed:
            del self._peers[key]
        for p in changed:
            self._peers[p.public_key] = PeerStatus(address=p.address, port=p.port, allowed=tuple(sorted(p.allowed)))

    def kick(self, keys, keepalive) -> None:
        """Begin a handshake."""
        self.kicked.append((sorted(keys), keepalive))
        for key in keys:
            if key in self.answers:
                self._peers[key] = PeerStatus(last_handshake=time.time())

    def close(self) -> None:
        """Nothing."""


def test_only_the_difference_is_sent():
    """A first update sends all, a second nothing, a changed peer only itself, a peer too many only its removal."""
    device = Fake()
    wanted = [peer(0, "10.0.0.0/26"), peer(1, "10.0.1.0/26")]

    first = update(device, OWN, 51820, 7, wanted)
    assert (first.count, first.sessionless) == (3, tuple(sorted(REMOTE[:2])))

    device.sent.clear()
    assert update(device, OWN, 51820, 7, reversed(wanted)).count == 0
    assert device.sent == []

    more = update(device, OWN, 51820, 7, [wanted[0], peer(1, "10.0.1.0/26", "10.0.2.5/32")])
    assert (device.sent, more.sessionless) == ([("peers", [REMOTE[1]], [])], ())

    device.sent.clear()
    update(device, OWN, 51820, 7, [wanted[0]])
    assert device.sent == [("peers", [], [REMOTE[1]])]


def test_a_new_own_key_ends_every_session():
    """When the device gets another key, every peer needs a new handshake, and no peer is sent again."""
    device = Fake()
    update(device, OWN, 51820, 7, [peer(0, "10.0.0.0/26")])
    device.sent.clear()
    fresh = PrivateKey.generate()

    assert update(device, fresh, 51820, 7, [peer(0, "10.0.0.0/26")]).sessionless == (REMOTE[0],)
    assert device.sent == [("device", fresh.public)]


def test_the_lower_key_begins_and_keeps_the_session():
    """Of a pair, only the side with the lower key begins, so that initiations do not cross."""
    low, high = sorted((peer(0), peer(1)), key=lambda p: p.public_key)
    lower, higher = Fake(answers=[high.public_key]), Fake(answers=[low.public_key])
    now = time.time()

    assert shake_hands(lower, low.public_key, [high], {high.public_key: now}) == set()
    assert lower.kicked == [([high.public_key], KEEPALIVE)]
    assert shake_hands(higher, high.public_key, [low], {low.public_key: now}) == set()
    assert higher.kicked == [([], KEEPALIVE), ([low.public_key], 0)]


def test_the_side_that_began_tries_once_more_with_the_peer_made_anew():
    """A peer that does not answer is made anew by the side with the lower key, which lets it begin again at once."""
    low, high = sorted((peer(0), peer(1)), key=lambda p: p.public_key)
    device = Fake()
    update(device, OWN, 51820, 7, [high])
    device.sent.clear()

    assert shake_hands(device, low.public_key, [high], {high.public_key: time.time()}) == {high.public_key}
    assert device.sent == [("peers", [], [high.public_key]), ("peers", [high.public_key], [])]
    assert device.kicked[-1] == ([high.public_key], KEEPALIVE)


def test_a_peer_that_is_down_is_not_waited_for():
    """Peers on failed nodes cost no time; those that should answer and do not cost a bounded one."""
    low, high = sorted((peer(0), peer(1)), key=lambda p: p.public_key)
    device = Fake()
    update(device, OWN, 51820, 7, [high])
    fresh = {high.public_key: time.time()}
    started = time.monotonic()

    assert shake_hands(device, low.public_key, [high], fresh, absent=fresh) == {high.public_key}
    assert time.monotonic() - started < PATIENCE
    assert shake_hands(device, low.public_key, [high], fresh) == {high.public_key}
    assert time.monotonic() - started < 10 * PATIENCE


ANSWER = f"""private_key={OWN.reveal().hex()}
listen_port=51820
fwmark=2097152
public_key={uapi.public_bytes(REMOTE[0]).hex()}
preshared_key={bytes(32).hex()}
protocol_version=1
endpoint=[fd30::12]:51821
last_handshake_time_sec=100
last_handshake_time_nsec=500000000
tx_bytes=11
rx_bytes=22
persistent_keepalive_interval=25
allowed_ip=fd00::/122
allowed_ip=10.0.0.0/26
public_key={uapi.public_bytes(REMOTE[1]).hex()}
errno=0

"""


def answering(tmp_path, answer: str):
    """A socket that answers one request; returns its path and the list the request will be in."""
    path, heard = tmp_path / "s", []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as connection:
            heard.append(connection.recv(65536).decode())
            connection.sendall(answer.encode())

    thread = threading.Thread(target=serve)
    thread.start()
    return path, heard, thread


def test_a_status_shows_everything_but_the_private_key(tmp_path):
    """Reading a device gives its public key, settings, peers and counters; the secret is in none of it."""
    path, _, thread = answering(tmp_path, ANSWER)
    status = uapi.get(path)
    thread.join()

    assert (status.public_key, status.port, status.fwmark) == (OWN.public, 51820, 0x200000)
    assert status.peers == {
        REMOTE[0]: PeerStatus(
            address="fd30::12",
            port=51821,
            allowed=("10.0.0.0/26", "fd00::/122"),
            last_handshake=100.5,
            received=22,
            sent=11,
        ),
        REMOTE[1]: PeerStatus(),
    }
    for secret in (OWN.reveal().hex(), base64.b64encode(OWN.reveal()).decode(), repr(OWN.reveal())):
        assert secret not in repr(status)


def test_peers_are_written_one_by_one_and_never_replaced_together(tmp_path):
    """A change names the peers it is about, removals first; `replace_peers` would end every session."""
    path, heard, thread = answering(tmp_path, "errno=0\n\n")
    uapi.set_peers(path, [peer(0, "10.0.0.0/26", "10.0.9.9/32")], [REMOTE[1]])
    thread.join()

    assert heard[0].splitlines() == [
        "set=1",
        f"public_key={uapi.public_bytes(REMOTE[1]).hex()}",
        "remove=true",
        f"public_key={uapi.public_bytes(REMOTE[0]).hex()}",
        "endpoint=172.30.1.10:51820",
        "replace_allowed_ips=true",
        "allowed_ip=10.0.0.0/26",
        "allowed_ip=10.0.9.9/32",
        "",
    ]


@pytest.mark.parametrize("answer", ["errno=-22\n\n", "errno=22\n\n"])
def test_a_refusal_is_an_error_without_the_secret(tmp_path, answer):
    """When the device refuses, the error says why in words, and not what was sent."""
    path, _, thread = answering(tmp_path, answer)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        uapi.set_device(path, OWN, 51820, 7)
    thread.join()

    assert OWN.reveal().hex() not in str(caught.value)


def test_a_process_that_hangs_up_is_an_error(tmp_path):
    """An answer that breaks off is an error, not an empty device."""
    path, _, thread = answering(tmp_path, "listen_port=1\n")
    with pytest.raises(ConnectionResetError):
        uapi.get(path)
    thread.join()


class FakeKernel:
    """pyroute2's WireGuard without a kernel: it tells what it was told to set, by way of the wire format."""

    def __init__(self) -> None:
        self.told: list[dict] = []

    def set(self, interface, **settings) -> None:
        """Remember."""
        self.told.append({"interface": interface, **settings})

    def info(self, interface) -> list:
        """One message with everything that was set, encoded and decoded."""
        message = wgmsg()
        message["header"]["type"] = 30
        message["attrs"].append(["WGDEVICE_A_IFNAME", interface])
        message["attrs"].append(["WGDEVICE_A_PUBLIC_KEY", OWN.public])
        for one in self.told:
            if "listen_port" in one:
                message["attrs"].append(["WGDEVICE_A_LISTEN_PORT", one["listen_port"]])
                message["attrs"].append(["WGDEVICE_A_FWMARK", one["fwmark"]])
            elif "allowed_ips" in one["peer"]:
                writer = AsyncWireGuard.__new__(AsyncWireGuard)
                writer._wg_set_peer(message, one["peer"])
        message.encode()
        decoded = wgmsg(message.data)
        decoded.decode()
        return [decoded]


def test_the_kernels_device_is_read_as_it_was_written():
    """What is set through netlink is read back the same, so that a second update sends nothing."""
    device = KernelDevice.__new__(KernelDevice)
    device.name, device._wireguard = "wireguard.cali", FakeKernel()
    wanted = [peer(0, "10.0.0.0/26", "10.0.9.9/32")]

    assert update(device, OWN, 51820, 0x200000, wanted).count == 2
    told = len(device._wireguard.told)
    assert update(device, OWN, 51820, 0x200000, wanted).count == 0
    assert told == len(device._wireguard.told)
    assert device.status().peers[REMOTE[0]].allowed == ("10.0.0.0/26", "10.0.9.9/32")


def test_the_kernels_device_is_kicked_by_switching_keepalive_on():
    """A kick goes through 0 to an interval, since only switching keepalive on sends a packet at once."""
    device = KernelDevice.__new__(KernelDevice)
    device.name, device._wireguard = "wireguard.cali", FakeKernel()
    device.kick([REMOTE[0]], 25)

    assert [one["peer"]["persistent_keepalive"] for one in device._wireguard.told] == [0, 1, 25]
    assert all(one["peer"]["update_only"] for one in device._wireguard.told)
