"""Every dataplane keeps the contract. For the type checker: nobody imports this, for dataplanes are loaded by name."""

from emulator.dataplane.contract import Dataplane
from emulator.dataplane.ebpf.dataplane import EbpfDataplane
from emulator.dataplane.iptables.dataplane import IptablesDataplane, LegacyIptablesDataplane
from emulator.dataplane.nftables.dataplane import NftablesDataplane

NFTABLES: type[Dataplane] = NftablesDataplane
EBPF: type[Dataplane] = EbpfDataplane
IPTABLES: type[Dataplane] = IptablesDataplane
LEGACY: type[Dataplane] = LegacyIptablesDataplane
