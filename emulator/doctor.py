"""What this machine can do: each capability tried, none inferred from a version (architecture rule 8).

Programs are run. What concerns the kernel is tried in a throwaway sandbox (`emulator.trials`), so nothing here
touches the machine.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

_ROOMS = ("muslin", "reference", "emulator", "topologies", "encryption", "scenarios", "property_tests", "reports")
_TRIAL_SECONDS = 30.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One capability: whether it is there, what it is for, and how to get it."""

    name: str
    found: bool
    detail: str  # what was seen, or the error
    needed_for: str
    remedy: str
    required: bool = True  # without it no live cluster runs


class Report(msgspec.Struct, frozen=True):
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def able(self) -> bool:
        """Report whether live clusters can run here."""
        return all(finding.found for finding in self.findings if finding.required)

    def found(self, name: str) -> bool:
        """Report whether a capability is there, by the name of its finding."""
        return any(finding.name == name and finding.found for finding in self.findings)


class _Program(msgspec.Struct, frozen=True):
    arguments: tuple[str, ...]
    needed_for: str
    package: str
    required: bool = True


_PROGRAMS = (
    _Program(("ip", "-V"), "building fabrics", "iproute2"),
    _Program(("mnexec", "-v"), "Mininet's machines", "mininet"),
    _Program(("bash", "--version"), "Mininet's machines", "bash"),
    _Program(("nft", "--version"), "looking at the nftables dataplane by hand", "nftables", required=False),
    _Program(("iptables-nft", "--version"), "the iptables dataplane", "iptables", required=False),
    _Program(("iptables-legacy", "--version"), "the iptables-legacy dataplane", "iptables", required=False),
    _Program(("ipset", "--version"), "both iptables dataplanes", "ipset", required=False),
    _Program(("wireguard-go", "--version"), "encryption where the kernel has no WireGuard", "wireguard-go", False),
    _Program(("wg", "--version"), "looking at WireGuard by hand", "wireguard-tools", required=False),
    _Program(("tcpdump", "--version"), "looking at traffic by hand", "tcpdump", required=False),
)


class _Trial(msgspec.Struct, frozen=True):
    name: str
    needed_for: str
    remedy: str
    required: bool = True


_NAMESPACES_REMEDY = (
    "run as root, or allow unprivileged user namespaces "
    "(sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"
)
_TRIALS = (
    _Trial("sandbox", "every live cluster", _NAMESPACES_REMEDY),
    _Trial("pod network", "pods (network namespaces joined by veth)", "a kernel with CONFIG_VETH"),
    _Trial("IPv6", "dual-stack clusters", "boot without ipv6.disable=1", required=False),
    _Trial("bridge", "switches of the fabric", "a kernel with CONFIG_BRIDGE; modprobe bridge"),
    _Trial("fabric", "nodes, switches and routers", "apt install mininet iproute2"),
    _Trial("libnftables", "the nftables dataplane", "apt install libnftables1, and a kernel with CONFIG_NF_TABLES"),
    _Trial("conntrack and NAT", "established flows and natOutgoing", "a kernel with CONFIG_NFT_CT and CONFIG_NFT_MASQ"),
    _Trial("NFLOG", "naming the rule that dropped a packet", "a kernel with CONFIG_NFT_LOG and nfnetlink_log"),
    _Trial("rule trace", "explaining a packet rule by rule", "a kernel with nftables tracing", required=False),
    _Trial("eBPF", "the ebpf dataplane", "run as root; setup.sh compiles the programs with clang", required=False),
    _Trial("packet sockets", "crafted packets and captures", "a kernel with CONFIG_PACKET"),
    _Trial(
        "kernel WireGuard", "encryption (the faster way)", "modprobe wireguard, or use wireguard-go", required=False
    ),
    _Trial(
        "/dev/net/tun",
        "encryption by wireguard-go",
        "modprobe tun; an ordinary user also needs: chmod 0666 /dev/net/tun",
        required=False,
    ),
)


def diagnose() -> Report:
    """Try everything; takes about half a second."""
    return Report((_python(), _shadowing(), *(_program(one) for one in _PROGRAMS), *_kernel()))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        name="Python",
        found=sys.version_info >= (3, 11),
        detail=version,
        needed_for="everything",
        remedy="apt install python3 (3.11 or newer)",
    )


def _shadowing() -> Finding:
    """Our packages have everyday names; one of the same name that comes first on the path would be imported instead."""
    home = Path(__file__).resolve().parent.parent
    strangers = []
    for name in _ROOMS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parent.parent != home:
            strangers.append(f"{name} ({spec.origin if spec else 'not importable'})")
    return Finding(
        name="Python packages",
        found=not strangers,
        detail=f"not ours: {', '.join(strangers)}" if strangers else "all rooms are ours",
        needed_for="everything",
        remedy="remove the packages of the same name, or install Muslin into a virtual environment of its own",
    )


def _program(program: _Program) -> Finding:
    name = program.arguments[0]
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    detail = "not on PATH"
    found = False
    if path is not None:
        try:
            done = subprocess.run(
                [path, *program.arguments[1:]], capture_output=True, text=True, timeout=10, check=False
            )
            found = done.returncode == 0
            words = (done.stdout + done.stderr).strip().splitlines()
            detail = f"{path}: {words[0]}" if words else path
        except (OSError, subprocess.TimeoutExpired) as error:
            detail = f"{path} does not run: {error}"
    return Finding(
        name=name,
        found=found,
        detail=detail,
        needed_for=program.needed_for,
        remedy=f"apt install {program.package}",
        required=program.required,
    )


def _kernel() -> tuple[Finding, ...]:
    outcomes, failure = _run_trials()
    return tuple(
        Finding(
            name=trial.name,
            found=outcomes.get(trial.name, failure) == "",
            detail=outcomes.get(trial.name, failure) or "works",
            needed_for=trial.needed_for,
            remedy=trial.remedy,
            required=trial.required,
        )
        for trial in _TRIALS
    )


def _run_trials() -> tuple[dict[str, str], str]:
    """The outcome of each trial ("" is success), and what to say of one that has none."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "emulator.trials"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"not known: the trials did not end within {_TRIAL_SECONDS:.0f} s"
    outcomes: dict[str, str] = {}
    for line in done.stdout.splitlines():
        outcomes |= msgspec.json.decode(line, type=dict[str, str])
    words = done.stderr.decode(errors="replace").strip().splitlines()
    return outcomes, f"not tried: {outcomes.get('sandbox') or (words[-1] if words else 'the trials ended early')}"
