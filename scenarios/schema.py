"""What a scenario file may say. One file is one lesson: a cluster, manifests, steps, and what must then be true.

`docs/scenarios.md` explains each field with an example; `json_schema()` is the same for editors.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from emulator.spec import DEFAULT_DATAPLANE, DEFAULT_NODES, DEFAULT_TOPOLOGY
from reference.endpoints import Family


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """Base of everything in a scenario file: unknown fields are refused."""


class Selection(Part, frozen=True):
    """Endpoints chosen by their labels."""

    selector: str = "all()"  # Calico's selector language (2c)
    namespace: str = ""  # empty: every namespace


Peer = str | Selection  # "shop/web", the name of a node or host, an address; or a selection of pods
Manifest = str | dict[str, Any]  # a path beside the scenario file, or a manifest itself


class Flow(Part, frozen=True):
    """Flows that are allowed, or denied: every pair of `from` and `to`, on every port."""

    from_: Peer = msgspec.field(name="from")
    to: Peer
    ports: tuple[str, ...] = ("80/TCP",)  # "80/TCP", "53/UDP", "80/SCTP", "ICMP"
    family: Family | None = None  # None: every family both ends have


class AllPairs(Part, frozen=True):
    """As the oracle says, for all pairs of pods, nodes and hosts."""

    ports: tuple[str, ...] = ("80/TCP",)
    family: Family | None = None


class Expectation(Part, frozen=True):
    """One thing that must be true. Exactly one field is given."""

    allow: Flow | None = None
    deny: Flow | None = None
    oracle: AllPairs | None = None
    encrypted: Flow | None = None  # allowed, and a capture on the fabric shows no such packet in clear
    clear: Flow | None = None  # allowed, and a capture on the fabric shows the packets in clear
    unreachable: Flow | None = None  # no answer and no drop: the way there is broken, whatever policy says


class Step(Part, frozen=True):
    """One step. Exactly one of the actions is given; `say` is for the reader and the report."""

    say: str = ""
    apply: tuple[Manifest, ...] | None = None
    delete: tuple[Manifest, ...] | None = None
    fail_node: str | None = None
    recover_node: str | None = None
    wait: float | None = None  # seconds; enforcement is always waited for, without this
    expect: tuple[Expectation, ...] | None = None


class Scenario(Part, frozen=True):
    """A scenario file."""

    name: str  # lower-case letters, digits, dashes: the file's name
    title: str
    lesson: str  # what the reader learns, in a sentence or two
    topology: str = DEFAULT_TOPOLOGY
    nodes: int = DEFAULT_NODES
    dataplane: str = DEFAULT_DATAPLANE  # or several joined by `+`, which the nodes take in turn
    encryption: Literal["", "wireguard"] = ""
    tags: tuple[str, ...] = ()
    fails: str = ""  # written to fail: why, and the tests prove that it does
    manifests: tuple[Manifest, ...] = ()  # applied before the first step
    steps: tuple[Step, ...] = ()
    expect: tuple[Expectation, ...] = ()  # checked after the last step


ACTIONS = ("apply", "delete", "fail_node", "recover_node", "wait", "expect")  # of a Step
EXPECTATIONS = ("allow", "deny", "oracle", "encrypted", "clear", "unreachable")  # of an Expectation


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a scenario file, for editors."""
    return msgspec.json.schema(Scenario)
