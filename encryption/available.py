"""Which WireGuard this machine has: the kernel's, wireguard-go's, or none, and then why not (architecture rule 8).

The kernel is asked by making a device in a network namespace of its own, which is gone with the answer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal

from reference.errors import EnvironmentLacksError

Flavour = Literal["kernel", "wireguard-go"]
TUN = Path("/dev/net/tun")


@cache
def available() -> Flavour | None:
    """The WireGuard to use here, the kernel's first; None if there is none. Asked once per process."""
    if _kernel_has_it():
        return "kernel"
    return None if why_not_userspace() else "wireguard-go"


def why_not() -> str:
    """Why there is no WireGuard here, in one line; "" if there is."""
    if available() is not None:
        return ""
    return f"WireGuard is not available: the kernel has none, and {why_not_userspace()}"


def require() -> Flavour:
    """The WireGuard to use here.

    Raises:
        EnvironmentLacksError: there is none; says why.
    """
    flavour = available()
    if flavour is None:
        raise EnvironmentLacksError(why_not())
    return flavour


def _kernel_has_it() -> bool:
    """Report whether the kernel makes WireGuard devices; it loads its module for this if it may."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "ip", "link", "add", "name", "probe", "type", "wireguard"]
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def why_not_userspace(program: str = "wireguard-go", tun: Path = TUN) -> str:
    """Why wireguard-go cannot run here, and what to do; "" if it can."""
    if shutil.which(program) is None:
        return f"{program} is not installed (apt-get install wireguard-go)"
    try:
        os.close(os.open(tun, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"there is no {tun}, which {program} needs (load the tun module)"
    except OSError as error:
        return f"{program} may not open {tun}: {error.strerror} (run as root, or give read and write access to it)"
    return ""
