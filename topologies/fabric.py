"""A topology built for real: Mininet machines on Linux bridges, joined by a Linux router.

Build it inside a sandbox: the bridges live in the network namespace of the process that calls. The order of work is
Mininet's (machines, switches, links, start); the commands are gathered into one batch per machine.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from reference.errors import EnvironmentLacksError, InvalidInputError
from topologies.description import Place, Topology

FABRIC_INTERFACE = "eth0"  # every machine's one interface; the router has one per subnet, `to-SUBNET`
_FORWARDING = 3  # a bridge port's state
_PATIENCE = 10.0  # seconds a port may take to forward

# Written out, never inherited (R0). A file that a kernel does not have is passed over.
_MACHINE_SYSCTLS = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/*/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/*/send_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/*/accept_redirects": "0",
    "net/ipv4/conf/*/proxy_arp": "0",
    "net/ipv4/icmp_ratemask": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/*/accept_dad": "0",
    "net/ipv6/conf/*/accept_ra": "0",
    "net/ipv6/icmp/ratemask": "",
}
_SWITCH_SYSCTLS = {f"net/bridge/bridge-nf-call-{table}tables": "0" for table in ("arp", "ip", "ip6")}


class Fabric:
    """The machines, switches and router of a topology, running."""

    def __init__(self, topology: Topology) -> None:
        """Nothing is built before `start`."""
        self.topology = topology
        self._network: Any = None
        self._machines: dict[str, Any] = {}
        self._block_routes: dict[str, str] | None = {}  # None: not known

    # -- building --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Build everything; returns once every port forwards.

        Raises:
            EnvironmentLacksError: a program is missing, or the kernel refused a command.
        """
        from topologies.machines import Cable, Network, silence  # Mininet, only where it runs

        log = silence()
        Cable.commands = []
        try:
            self._network = Network()
            self._add_machines()
            self._add_links()
            _run_ip(Cable.commands + self._switch_commands())
            self._configure()
            self._network.built = True
            self._network.start()
        except EnvironmentLacksError:
            raise
        except Exception as error:
            raise EnvironmentLacksError(f"the fabric could not be built: {error} {' '.join(log.lines)}") from error
        self._await_forwarding([_port(place.name) for place in self.topology.places] + self._router_ports())

    def _add_machines(self) -> None:
        for place in self.topology.places:
            self._machines[place.name] = self._network.addHost(place.name)
        router = self.topology.router.name
        self._machines[router] = self._network.addHost(router)
        for number, subnet in enumerate(self.topology.subnets, 1):
            self._network.addSwitch(_switch(subnet.name), dpid=str(number))

    def _add_links(self) -> None:
        for place in self.topology.places:
            self._network.addLink(
                _switch(place.subnet), place.name, intfName1=_port(place.name), intfName2=FABRIC_INTERFACE
            )
        for subnet in self.topology.subnets:
            self._network.addLink(
                _switch(subnet.name),
                self.topology.router.name,
                intfName1=_router_port(subnet.name),
                intfName2=f"to-{subnet.name}",
            )

    def _router_ports(self) -> list[str]:
        return [_router_port(subnet.name) for subnet in self.topology.subnets]

    def _switch_commands(self) -> list[str]:
        """Bridges and their ports. No spanning tree and no snooping: a port forwards all, at once."""
        commands = [
            f"link add {_switch(subnet.name)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
            for subnet in self.topology.subnets
        ]
        commands += [f"link set {_switch(subnet.name)} addrgenmode none up" for subnet in self.topology.subnets]
        ports = [(_port(place.name), place.subnet) for place in self.topology.places]
        ports += [(_router_port(subnet.name), subnet.name) for subnet in self.topology.subnets]
        commands += [f"link set {port} addrgenmode none master {_switch(subnet)} up" for port, subnet in ports]
        return commands

    def _configure(self) -> None:
        """Sysctls, addresses and routes of every machine, all machines at the same time."""
        _write_sysctls(_SWITCH_SYSCTLS)
        waiting = [
            self._send(place.name, self._place_commands(place), {"net/ipv4/ip_forward": str(int(place.is_node))})
            for place in self.topology.places
        ]
        forwarding = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}
        waiting.append(self._send(self.topology.router.name, self._router_commands(), forwarding))
        for machine, script in waiting:
            _refuse(machine.name, machine.waitOutput())
            script.unlink()

    def _place_commands(self, place: Place) -> list[str]:
        gateways = self.topology.router.gateways(place.subnet)
        return [
            "link set lo up",
            f"link set {FABRIC_INTERFACE} up",
            *(_address_add(interface, FABRIC_INTERFACE) for interface in place.interfaces),
            *(f"route add default via {gateway}" for gateway in gateways),
        ]

    def _router_commands(self) -> list[str]:
        commands = ["link set lo up"]
        for subnet, interfaces in self.topology.router.interfaces.items():
            commands.append(f"link set to-{subnet} up")
            commands += [_address_add(interface, f"to-{subnet}") for interface in interfaces]
        return commands

    def _send(self, name: str, commands: Sequence[str], sysctls: Mapping[str, str] | None = None) -> tuple[Any, Path]:
        """Start a machine on commands of `ip`, after sysctls if there are any; the caller waits for the output."""
        settings = {} if sysctls is None else {**_MACHINE_SYSCTLS, **sysctls}
        lines = [
            f'for f in /proc/sys/{name}; do [ -e "$f" ] && printf "%s\\n" "{value}" >"$f"; done'
            for name, value in settings.items()
        ]
        lines += ["ip -batch - <<'END'", *commands, "END"]
        with tempfile.NamedTemporaryFile("w", prefix="machine-", suffix=".sh", delete=False) as script:
            script.write("\n".join(lines) + "\n")
        machine = self._machines[name]
        machine.sendCmd(f". {script.name}")
        return machine, Path(script.name)

    # -- the running fabric ----------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Every node and outside host, nodes first, and the router."""
        return tuple(self._machines)

    def pid(self, name: str) -> int:
        """A process that lives in a machine's network namespace.

        Raises:
            InvalidInputError: there is no machine of that name.
        """
        if name not in self._machines:
            raise InvalidInputError(f"there is no {name!r} on the fabric; there are {', '.join(self._machines)}")
        return int(self._machines[name].pid)

    def set_block_routes(self, owners: Mapping[str, str]) -> None:
        """Tell the router where each block of pod addresses is: CIDR -> its node, by name or by address.

        Nodes and outside hosts reach it by their default route. Only what changed is sent.

        Raises:
            EnvironmentLacksError: the kernel refused a route.
        """
        wanted = {}
        for cidr, owner in owners.items():
            via = self._address_of(owner, cidr)
            if via is not None:
                wanted[cidr] = via
        held = self._block_routes
        commands = []
        if held is None:  # a call before this one failed half way
            held = {}
            commands = ["route flush root 0.0.0.0/0 proto 80", "route flush root ::/0 proto 80"]
        commands += [f"route del {cidr} proto 80" for cidr in sorted(held.keys() - wanted.keys())]
        changed = {cidr: via for cidr, via in wanted.items() if held.get(cidr) != via}
        commands += [f"route replace {cidr} via {via} proto 80" for cidr, via in sorted(changed.items())]
        if commands:
            self._block_routes = None
            machine, script = self._send(self.topology.router.name, commands)
            output = machine.waitOutput()
            script.unlink()
            _refuse(machine.name, output)
        self._block_routes = wanted

    def _address_of(self, owner: str, cidr: str) -> str | None:
        try:
            return str(ip_address(owner))
        except ValueError:
            return self.topology.address(owner, ip_network(cidr).version)

    def fail(self, name: str) -> None:
        """Pull a machine's cable: its port on the switch goes down. Its own routes stay, as with a real cable."""
        self.pid(name)
        _run_ip([f"link set {_port(name)} down"])

    def recover(self, name: str) -> None:
        """Plug the cable in again; returns once the port forwards."""
        self.pid(name)
        _run_ip([f"link set {_port(name)} up"])
        self._await_forwarding([_port(name)])

    def stop(self) -> None:
        """End every machine and remove the switches. The end of the sandbox does the same."""
        if self._network is None:
            return
        self._network.stop()
        _run_ip([f"link delete {_switch(subnet.name)}" for subnet in self.topology.subnets])
        self._network = None
        self._machines = {}
        self._block_routes = {}

    def _await_forwarding(self, ports: Sequence[str]) -> None:
        """Wait until the switches forward on these ports. Asking for the carrier makes the kernel look at it now."""
        deadline = time.monotonic() + _PATIENCE
        waiting = list(ports)
        while waiting := [port for port in waiting if not _is_forwarding(port)]:
            if time.monotonic() > deadline:
                raise EnvironmentLacksError(
                    f"ports {', '.join(waiting)} of the fabric did not start to forward within {_PATIENCE:.0f} s"
                )
            time.sleep(0.001)


def _switch(subnet: str) -> str:
    return f"br-{subnet}"


def _port(name: str) -> str:
    return f"p-{name}"


def _router_port(subnet: str) -> str:
    return f"r-{subnet}"


def _address_add(interface: str, device: str) -> str:
    return f"addr add {interface} dev {device}" + (" nodad" if ":" in interface else "")


def _is_forwarding(port: str) -> bool:
    device = Path("/sys/class/net", port)
    try:
        (device / "carrier").read_text()
        return int((device / "brport/state").read_text()) == _FORWARDING
    except OSError:  # the carrier of a link that is down cannot be read
        return False


def _write_sysctls(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        file = Path("/proc/sys", name)
        if file.exists():  # the bridge's own appear when its netfilter part is there
            file.write_text(value)


def _run_ip(commands: Sequence[str]) -> None:
    """One batch of `ip` in this process's namespace."""
    done = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(commands) + "\n", capture_output=True, text=True, check=False
    )
    _refuse("the switches", done.stderr)


def _refuse(whose: str, output: str) -> None:
    if output.strip():
        raise EnvironmentLacksError(f"configuring {whose} failed: {output.strip()}")
