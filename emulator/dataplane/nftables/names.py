"""Names in the kernel: readable where the nft program can read them back, else shortened with a hash. Pure."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from emulator.dataplane.blocks import UNION_PREFIX
from emulator.dataplane.contract import RuleRef
from reference.program.types import FlowDirection, Walk

TABLE = "muslin"
LIMIT = 96  # far below the kernel's 255, so that a listing stays readable
PREFIX_LIMIT = 120  # the kernel cuts log prefixes at 127
COMMENT_LIMIT = 127  # bytes, the nft program's limit less the final NUL
WORKLOAD_PREFIX = "cali"
PROFILE_TIER = "__PROFILE__"
_UNION = f"s-{UNION_PREFIX}"
_READABLE = re.compile(r"[A-Za-z][A-Za-z0-9/_.-]*")


@lru_cache(maxsize=65536)
def kernel_name(prefix: str, name: str) -> str:
    """A chain or set name: `prefix` and `name` as they are if nft can read that, else cleaned and hashed."""
    wanted = f"{prefix}{name}"
    if len(wanted) <= LIMIT and _READABLE.fullmatch(wanted):
        return wanted
    cleaned = re.sub(r"[^A-Za-z0-9/_.-]", "_", wanted)
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    return f"{cleaned[: LIMIT - 17]}_{digest}"


@lru_cache(maxsize=65536)
def policy_chain(policy: str, direction: FlowDirection) -> str:
    """`pi-`, `po-`, `pri-` or `pro-` and the policy: "pi-np.shop/web", "pro-kns.shop" (IPT-1)."""
    kind, _, name = policy.partition(":")
    way = "i" if direction == "ingress" else "o"
    return kernel_name(f"pr{way}-", name) if kind == "pro" else kernel_name(f"p{way}-", f"{kind}.{name}")


def walk_chain(walk: Walk) -> str:
    """`walk-in-` or `walk-out-` and the walk's id."""
    return walk_chain_by_id(walk.id, walk.direction)


def walk_chain_by_id(walk: str, direction: FlowDirection) -> str:
    """The chain of a walk known by its id."""
    return kernel_name("walk-in-" if direction == "ingress" else "walk-out-", walk)


def set_name(set_id: str) -> str:
    """The kernel set of an IPSet id, which ends in the family digit."""
    return kernel_name("s-", set_id)


def is_programs(name: str) -> bool:
    """Whether a kernel set is one of the program's, and not a literal of rules."""
    return name.startswith("s-")


def is_union_name(name: str) -> bool:
    """Whether a kernel set holds the members of others, for the conditions of blocks."""
    return name.startswith(_UNION)


def log_prefix(ref: RuleRef) -> str:
    """The token a dropped or logged packet carries: equal for equal rules, short enough for the kernel."""
    if ref.guard:
        token = f"guard|{ref.guard}|{ref.direction}"
    else:
        token = f"{ref.direction}|{ref.tier}|{ref.policy}|{ref.rule}"
    if (token.isascii() and len(token) <= PREFIX_LIMIT) or len(token.encode()) <= PREFIX_LIMIT:
        return token
    digest = hashlib.sha256(token.encode()).hexdigest()[:16]
    return f"{token.encode()[: PREFIX_LIMIT - 17].decode(errors='ignore')}#{digest}"


def comment(words: str) -> str:
    """A rule comment cut to what nft allows."""
    if words.isascii():
        return words[:COMMENT_LIMIT]
    return words.encode()[:COMMENT_LIMIT].decode(errors="ignore")
