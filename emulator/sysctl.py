"""Network sysctls, written by a thread inside the namespace they belong to.

`/proc/sys/net` shows the namespace of the *thread* that opens a file there, so no process and no remount is needed.
Every setting the emulator relies on is written out: a new namespace inherits IPv4 settings from the machine it runs
on, and nobody knows those (R0).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from reference.errors import EnvironmentLacksError

# A probe learns of a missing route from an ICMP error, so none may be held back. A type outside the mask is not counted
# against any rate, neither the one per destination nor the machine's own.
_ICMP_UNLIMITED = {"net/ipv4/icmp_ratemask": "0", "net/ipv6/icmp/ratemask": ""}

# Written once in a node's namespace. The defaults are what every workload interface made afterwards starts with, so
# that no file is written per pod (WL-2). rp_filter is off: the dataplane refuses spoofed sources by itself.
NODE: dict[str, str] = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/all/proxy_arp": "0",
    "net/ipv4/conf/all/route_localnet": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/default/route_localnet": "1",
    "net/ipv4/conf/default/proxy_arp": "1",
    "net/ipv4/conf/default/forwarding": "1",
    "net/ipv6/conf/all/disable_ipv6": "0",  # the default, and the devices that exist, follow
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
    "net/ipv6/conf/default/proxy_ndp": "1",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    **_ICMP_UNLIMITED,
}

# Written in every pod's namespace before its interface arrives: no duplicate address detection, no router
# solicitations, IPv6 on even where the machine turned it off.
POD: dict[str, str] = {
    "net/ipv6/conf/all/disable_ipv6": "0",  # the default, and the devices that exist, follow
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    **_ICMP_UNLIMITED,
}


@cache
def has_ipv6() -> bool:
    """Report whether this kernel speaks IPv6 at all (it does not when booted with `ipv6.disable=1`)."""
    return Path("/proc/sys/net/ipv6").is_dir()


def write(settings: Mapping[str, str]) -> None:
    """Write settings (`net/ipv4/ip_forward` -> `1`) in the calling thread's network namespace.

    IPv6 settings are passed over on a kernel without IPv6.

    Raises:
        EnvironmentLacksError: a setting does not exist or may not be written.
    """
    for name, value in settings.items():
        if name.startswith("net/ipv6/") and not has_ipv6():
            continue
        try:
            fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, value.encode() + b"\n")
            finally:
                os.close(fd)
        except OSError as error:
            raise EnvironmentLacksError(
                f"sysctl {name.replace('/', '.')} = {value!r} could not be set: {error.strerror}"
            ) from error


def read(name: str) -> str:
    """A setting's value in the calling thread's network namespace."""
    return Path("/proc/sys", name).read_text().strip()
