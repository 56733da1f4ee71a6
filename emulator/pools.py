"""What an IP pool asks for that this fabric does not do yet, said aloud."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reference.resources import AnyResource, IPPool


def unencapsulated(resources: Iterable[AnyResource]) -> Iterator[str]:
    """A line for every pool that asks for encapsulation: between nodes its addresses are routed as they are."""
    for resource in resources:
        if isinstance(resource, IPPool):
            for field, mode in (("ipipMode", resource.spec.ipip_mode), ("vxlanMode", resource.spec.vxlan_mode)):
                if mode != "Never":
                    yield f"note: IPPool {resource.name}: {field} {mode} is not emulated; traffic is routed without it"
