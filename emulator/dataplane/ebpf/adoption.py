"""What an agent that died left in the kernel: its filters go on deciding, with maps that its successor takes over.

Connections and fragments are taken over, where the layout is still the same; policy is written anew into maps of the
successor's own, which begin in the generation that the packets under way are marked with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from emulator.dataplane.ebpf.attach import Attachments
from emulator.dataplane.ebpf.layout import NUMBER
from emulator.dataplane.ebpf.libbpf import BpfError, maps_of, read

ADOPTED = ("flows", "fragments")


class Estate(NamedTuple):
    """Maps by name, and the epoch that decides; empty where nobody died."""

    maps: Mapping[str, int]
    epoch: int

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in self.maps.values():
            os.close(fd)


NOTHING = Estate({}, 0)


def estate(attachments: Attachments) -> Estate:
    """What the programs on this network namespace's interfaces use."""
    for program in attachments.programs():
        try:
            maps = maps_of(program)
        except BpfError:  # it went meanwhile, or this user may load programs but not reach those of others
            continue
        try:
            (epoch,) = NUMBER.unpack(read(maps["settings"], bytes(4), NUMBER.size))
            return Estate({name: os.dup(maps[name]) for name in ADOPTED if name in maps}, epoch)
        except (BpfError, KeyError):
            continue
        finally:
            for fd in maps.values():
                os.close(fd)
    return NOTHING
