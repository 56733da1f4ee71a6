"""The first handshake of two nodes, made before any pod needs it, and made to succeed.

A WireGuard node that gets no answer to an initiation tries again only after five seconds, and two initiations that
cross spoil each other. Pods that talk both ways at once, as probes do, would so lose their first five seconds, and
again whenever a session has died of silence. Therefore one side of each pair begins, the one with the lower key; the
other one helps if nothing comes of that; then the first tries once more. The one that began keeps the session alive
(WG-7 leaves keepalive open).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from encryption.device import Device
from encryption.peers import Peer

KEEPALIVE = 25  # seconds; a session dies after 180 without a packet
PATIENCE = 0.2  # seconds each attempt gets
_POLL = 0.002


def shake_hands(
    device: Device, own: str, peers: Iterable[Peer], fresh: Mapping[str, float], absent: Iterable[str] = ()
) -> set[str]:
    """Have a session with each fresh peer, and return those there is still none with.

    `fresh` says since when (seconds since the epoch) a handshake is missing, by public key. `absent` peers are not
    waited for: their node is down.
    """
    absent = set(absent)
    device.kick([key for key in fresh if own < key], KEEPALIVE)
    missing = _wait(device, fresh, absent)
    if missing - absent:
        device.kick([key for key in missing if own > key], 0)
        missing = _wait(device, fresh, absent)
    if again := [peer for peer in peers if peer.public_key in missing - absent and own < peer.public_key]:
        # Lost, or spoiled by one that crossed it: a peer made anew may begin again at once.
        keys = [peer.public_key for peer in again]
        device.set_peers((), keys)
        device.set_peers(again, ())
        device.kick(keys, KEEPALIVE)
        missing = _wait(device, fresh, absent)
    return missing


def _wait(device: Device, fresh: Mapping[str, float], absent: set[str]) -> set[str]:
    until = time.monotonic() + PATIENCE
    while True:
        seen = device.status().peers
        missing = {key for key, since in fresh.items() if key not in seen or seen[key].last_handshake < since}
        if not missing - absent or time.monotonic() > until:
            return missing
        time.sleep(_POLL)
