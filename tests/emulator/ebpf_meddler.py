"""A foreign process that writes to the maps of the eBPF programs on this network namespace's interfaces."""

import ctypes
import sys

from emulator.dataplane.ebpf.attach import Attachments
from emulator.dataplane.ebpf.libbpf import maps_of
from emulator.dataplane.ebpf.library import library

KEYS = {"members": 24, "nets": 24, "sources": 24, "endpoints": 8, "code": 4, "policies": 4, "settings": 4, "locals": 20}


def meddle(name, what):
    """Delete the first entry of a map, change it, or add one."""
    attachments = Attachments()
    fd = maps_of(next(attachments.programs()))[name]
    key, value = ctypes.create_string_buffer(KEYS[name]), ctypes.create_string_buffer(64)
    if what == "add":
        key[0] = 33 if name == "nets" else 99
        value[0] = 3
    else:
        assert library().bpf_map_get_next_key(fd, None, key) == 0
        assert library().bpf_map_lookup_elem(fd, key, value) == 0
        value[0] = value[0][0] ^ 1
    if what == "delete":
        assert library().bpf_map_delete_elem(fd, key) == 0
    else:
        assert library().bpf_map_update_elem(fd, key, value, 0) == 0


meddle(*sys.argv[1:])
