"""WireGuard's cross-platform configuration protocol, as wireguard-go speaks it on a Unix socket.

A request is lines of `key=value` and an empty line; the answer has the same form and ends with `errno`. A `set` is not
atomic: lines before a faulty one have been applied. Keys travel in hexadecimal.
"""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec

from encryption.keys import KEY_BYTES, PrivateKey, public_bytes
from encryption.peers import Peer

_PATIENCE = 5.0  # seconds for an answer


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A peer, as the device has it, and what it has seen of it."""

    address: str = ""
    port: int = 0
    allowed: tuple[str, ...] = ()  # sorted
    last_handshake: float = 0.0  # seconds since the epoch; 0 for never
    received: int = 0  # bytes
    sent: int = 0  # bytes


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a device is, read from itself. The private key is not in it; its public half is."""

    public_key: str = ""
    port: int = 0
    fwmark: int = 0
    peers: dict[str, PeerStatus] = {}


def request(path: Path, text: str) -> list[tuple[str, str]]:
    """Send a request and return the answer's lines.

    Raises:
        OSError: nobody listens, or the answer was an error.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        connection.connect(str(path))
        connection.sendall(text.encode())
        answer = b""
        while not answer.endswith(b"\n\n"):
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError("the WireGuard process hung up")
            answer += data
    lines = [(key, value) for key, _, value in (line.partition("=") for line in answer.decode().splitlines() if line)]
    code = next((int(value) for key, value in lines if key == "errno"), 0)
    if code:
        raise OSError(abs(code), f"WireGuard refused its configuration: {os.strerror(abs(code))}")
    return lines


def get(path: Path) -> DeviceStatus:
    """Read a device."""
    return parse(request(path, "get=1\n\n"))


def set_device(path: Path, key: PrivateKey, port: int, fwmark: int) -> None:
    """Give a device its key, port and mark."""
    request(path, f"set=1\nprivate_key={key.reveal().hex()}\nlisten_port={port}\nfwmark={fwmark}\n\n")


def set_peers(path: Path, changed: Iterable[Peer], removed: Iterable[str]) -> None:
    """Add or change some peers and remove others; the rest are not touched, and keep their sessions."""
    lines = [line for key in removed for line in (f"public_key={public_bytes(key).hex()}", "remove=true")]
    for peer in changed:
        lines += [f"public_key={public_bytes(peer.public_key).hex()}", f"endpoint={endpoint(peer.address, peer.port)}"]
        lines += ["replace_allowed_ips=true", *(f"allowed_ip={cidr}" for cidr in peer.allowed)]
    request(path, "\n".join(["set=1", *lines]) + "\n\n")


def set_keepalive(path: Path, keys: Iterable[str], seconds: int) -> None:
    """Have some peers sent a packet every so many seconds, 0 for never; to switch it on sends the first at once."""
    lines = [
        line
        for key in keys
        for line in (
            f"public_key={public_bytes(key).hex()}",
            "update_only=true",
            f"persistent_keepalive_interval={seconds}",
        )
    ]
    request(path, "\n".join(["set=1", *lines]) + "\n\n")


def endpoint(address: str, port: int) -> str:
    """An address and port in one text."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def parse(lines: Iterable[tuple[str, str]]) -> DeviceStatus:
    """The status in the lines of an answer to `get`."""
    device: dict[str, str] = {}
    peers: dict[str, dict[str, str]] = {}
    allowed: dict[str, list[str]] = {}
    current = ""
    for key, value in lines:
        if key == "public_key":
            current = _base64(value)
            peers[current], allowed[current] = {}, []
        elif key == "allowed_ip":
            allowed[current].append(value)
        else:
            (peers[current] if current else device)[key] = value
    secret = bytes.fromhex(device.get("private_key", ""))
    return DeviceStatus(
        public_key=PrivateKey.from_bytes(secret).public if secret not in {b"", bytes(KEY_BYTES)} else "",
        port=int(device.get("listen_port", 0)),
        fwmark=int(device.get("fwmark", "0"), 0),
        peers={key: _peer(values, allowed[key]) for key, values in peers.items()},
    )


def _peer(values: dict[str, str], allowed: list[str]) -> PeerStatus:
    address, _, port = values.get("endpoint", ":0").rpartition(":")
    seconds, nanoseconds = (int(values.get(f"last_handshake_time_{unit}", 0)) for unit in ("sec", "nsec"))
    return PeerStatus(
        address=address.strip("[]"),
        port=int(port),
        allowed=tuple(sorted(allowed)),
        last_handshake=seconds + nanoseconds / 1e9,
        received=int(values.get("rx_bytes", 0)),
        sent=int(values.get("tx_bytes", 0)),
    )
