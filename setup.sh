#!/usr/bin/env bash
# Install what Muslin needs on Debian 12, Ubuntu 24.04 and their like: system packages through apt, then .venv.
# Runs in a second when everything is there. Exit code 3: something is missing that this user may not install.
set -euo pipefail
cd "$(dirname "$0")"

# package            needed for
packages=(
    nftables       # the nft command and libnftables: the nftables dataplane
    libnftables1
    mininet        # mnexec, which starts Mininet's hosts
    iptables       # iptables-restore and -save, legacy and nft variants: the iptables dataplane
    ipset          # the sets of the iptables dataplane
    bridge-utils   # brctl, which Mininet's LinuxBridge calls
    iproute2       # ip, which Mininet calls
    iputils-ping   # ping, for `muslin exec`
    net-tools      # ifconfig, which Mininet calls
    wireguard-go   # WireGuard where the kernel has none
    gcc            # builds python-iptables, which comes as source
    libc6-dev
    python3-dev
    clang          # compiles the eBPF dataplane's programs, once, below; not needed afterwards
    libbpf-dev     # their headers
    libbpf1        # loads them
    ca-certificates
)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done

python=
for candidate in python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || missing+=(python3 python3-venv)
if [ -n "$python" ] && ! "$python" -c 'import ensurepip' 2>/dev/null; then missing+=(python3-venv); fi

if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "setup: missing packages: ${missing[*]}" >&2
            echo "setup: ask an administrator to run: apt-get install --no-install-recommends ${missing[*]}" >&2
            exit 3
        fi
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    : "${python:=python3}"
fi

stamp=.venv/.installed-from
wanted=$(cat pyproject.toml setup.sh | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setup: installing muslin into .venv"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
    # the one warning is about folders named like our packages, which in a checkout are our packages
    PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --editable . --group dev
    echo "$wanted" >"$stamp"
fi

.venv/bin/python -m emulator.dataplane.ebpf.build
