"""Host endpoints, the policies that speak to them, and what configures them; valid by construction."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from property_tests.strategies.addresses import HOST_ADDRESSES, cidr
from property_tests.strategies.choices import Choices
from property_tests.strategies.policies import global_network_policy
from property_tests.strategies.vocabulary import POD_LABELS, PORT_NAMES, labels
from reference.endpoints import Family
from reference.resources import (
    AnyResource,
    FelixConfiguration,
    GlobalNetworkPolicy,
    HostEndpoint,
    KubeControllersConfiguration,
    Metadata,
)
from reference.resources.hosts import (
    DEFAULT_ALLOW_PROFILE,
    AutoHostEndpoint,
    Controllers,
    FailsafePorts,
    FelixConfigurationSpec,
    HostEndpointPort,
    HostEndpointSpec,
    KubeControllersConfigurationSpec,
    NodeController,
    ProtoPort,
)

_INTERFACES = ("eth0", "eth0", "*", "*", "", "eth1", "lo")
_PROFILES = ((), (), (DEFAULT_ALLOW_PROFILE,), ("extra",), ("nobody-made-this", DEFAULT_ALLOW_PROFILE))
_FAMILIES: tuple[Family, ...] = (4, 6)
FAILSAFE_PORTS = (22, 53, 80, 81)


def hosts(choices: Choices, tiers: Sequence[str]) -> list[AnyResource]:
    """Some host endpoints with policies of every variant, and perhaps settings of Felix and automatic endpoints."""
    found: list[AnyResource] = [host_endpoint(choices, f"hep-{number}") for number in range(choices.integer(1, 3))]
    found += [host_policy(choices, f"host-{number}", tiers) for number in range(choices.integer(0, 3))]
    if choices.chance(50):
        found.append(felix_configuration(choices, "default"))
    if choices.chance(20):
        found.append(felix_configuration(choices, f"node.{choices.pick(tuple(HOST_ADDRESSES))}"))
    if choices.chance(20):
        found.append(automatic_host_endpoints())
    return found


def host_endpoint(choices: Choices, name: str) -> HostEndpoint:
    """An endpoint of a node or of the host outside: by interface, by address, or for all the rest (HEP-1)."""
    machine = choices.pick(tuple(HOST_ADDRESSES))
    interface = choices.pick(_INTERFACES)
    addresses = tuple(HOST_ADDRESSES[machine][family] for family in _FAMILIES)
    expected = addresses if not interface or choices.chance(60) else ()
    ports = (HostEndpointPort(name=choices.pick(PORT_NAMES), protocol="TCP", port=choices.pick((80, 8080))),)
    return HostEndpoint(
        metadata=Metadata(name=name, labels=labels(choices, POD_LABELS)),
        spec=HostEndpointSpec(
            node=machine,
            interface_name=interface,
            expected_ips=expected[: choices.integer(1, 2)],
            profiles=choices.pick(_PROFILES),
            ports=ports if choices.chance(40) else (),
        ),
    )


def host_policy(choices: Choices, name: str, tiers: Sequence[str]) -> GlobalNetworkPolicy:
    """A global policy that is likely to select host endpoints, in one of their four lists (POL-9)."""
    policy = global_network_policy(choices, name, tiers)
    place = choices.pick(("normal", "forward", "pre_dnat", "untracked"))
    spec = replace(
        policy.spec,
        selector=choices.pick(("", "has(app)", "has(role)")),
        namespace_selector="",
        service_account_selector="",
        types=("Ingress",) if place == "pre_dnat" else policy.spec.types,
        egress=() if place == "pre_dnat" else policy.spec.egress,
        do_not_track=place == "untracked",
        pre_dnat=place == "pre_dnat",
        apply_on_forward=place != "normal",
    )
    return replace(policy, spec=spec)


def felix_configuration(choices: Choices, name: str) -> FelixConfiguration:
    """Endpoint-to-host action and failsafe ports, each given or left to its default."""
    return FelixConfiguration(
        metadata=Metadata(name=name),
        spec=FelixConfigurationSpec(
            allow_ipip_packets_from_workloads=choices.pick((None, None, True, False)),
            allow_vxlan_packets_from_workloads=choices.pick((None, None, True, False)),
            vxlan_port=choices.pick((None, None, 80)),
            default_endpoint_to_host_action=choices.pick((None, "Drop", "ACCEPT", "Return")),
            failsafe_inbound_host_ports=_failsafes(choices),
            failsafe_outbound_host_ports=_failsafes(choices),
        ),
    )


def _failsafes(choices: Choices) -> FailsafePorts:
    match choices.pick(("default", "none", "some", "some")):
        case "default":
            return None
        case "none":
            return "none" if choices.chance(50) else ()
        case _:
            return tuple(_failsafe(choices) for _ in range(choices.integer(1, 3)))


def _failsafe(choices: Choices) -> ProtoPort:
    net = cidr(choices, choices.pick(_FAMILIES)) if choices.chance(40) else ""
    return ProtoPort(port=choices.pick(FAILSAFE_PORTS), protocol=choices.pick(("tcp", "UDP")), net=net)


def automatic_host_endpoints() -> KubeControllersConfiguration:
    """Every node gets a host endpoint (HEP-8)."""
    node = NodeController(host_endpoint=AutoHostEndpoint(auto_create="Enabled"))
    return KubeControllersConfiguration(
        metadata=Metadata(name="default"),
        spec=KubeControllersConfigurationSpec(controllers=Controllers(node=node)),
    )
