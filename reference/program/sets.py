"""Which sets rules refer to: what each stands for, and its stable id (SEL-8, RULE-6, RULE-8, RULE-12)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache

from reference.program.backends import of_service
from reference.program.types import SetKind
from reference.selectors import Selector

_ID_LENGTH = 24  # base64 characters of a digest: 144 bits, short enough for every kernel's set names


@dataclass(frozen=True, slots=True)
class SetSpec:
    """The meaning of a set, apart from who its members are. `id` is the base id, without the family."""

    id: str
    kind: SetKind
    selector: Selector
    port: str = ""  # the name of the port, for `ports`
    protocol: int | None = None  # of the port; None: any
    of_slices: bool = False  # the selector is one of EndpointSlices, not of endpoints and network sets


@lru_cache(maxsize=16384)
def address_set(selector: Selector) -> SetSpec:
    """The addresses of all endpoints and network sets a selector matches (RULE-8)."""
    return SetSpec("n" + selector.unique_id.removeprefix("s:")[:_ID_LENGTH], "nets", selector)


@lru_cache(maxsize=16384)
def port_set(selector: Selector, port: str, protocol: int | None) -> SetSpec:
    """The (address, protocol, port) of every matching endpoint that declares a port of that name (RULE-6)."""
    return SetSpec("p" + _digest(selector.unique_id, port, str(protocol)), "ports", selector, port, protocol)


@lru_cache(maxsize=4096)
def service_set(namespace: str, name: str, kind: SetKind) -> SetSpec:
    """The backends of a service: their addresses alone, or each with every port it serves (RULE-12)."""
    return SetSpec("v" + _digest(namespace, name, kind), kind, of_service(namespace, name), of_slices=True)


def _digest(*parts: str) -> str:
    digest = hashlib.sha224("\0".join(parts).encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:_ID_LENGTH]
