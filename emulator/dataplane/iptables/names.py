"""Names in the kernel, within the limits of xtables and ipset (IPT-1, IPT-6). Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache

from emulator.dataplane.blocks import UNION_PREFIX
from emulator.dataplane.contract import RuleRef
from reference.endpoints import Family
from reference.program.types import FlowDirection

CHAIN_LIMIT = 28
SET_LIMIT = 31
PREFIX_LIMIT = 63  # bytes of an NFLOG prefix, without the final NUL
COMMENT_LIMIT = 200  # of the kernel's 255, the hash included
WORKLOAD_PREFIX = "cali"
CHAIN_PREFIX = "cali-"
PROFILE_TIER = "__PROFILE__"
TAGS = "0123456789"  # what tells the names of a set apart, in the order they are taken
OWN_SET = re.compile(r"cali[46][0-9t]")
_UNQUOTABLE = re.compile(r"[^ -~]|[\"\\]")
_READABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


def digest(text: str, length: int) -> str:
    """A hash of the text in characters every name may have."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()[:length]


def rule_hash(text: str) -> str:
    """What a rule is known by: 16 characters, quicker to be had than a `digest`."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=65536)
def chain_name(prefix: str, suffix: str) -> str:
    """`prefix` and `suffix` as they are if that fits, else the prefix, an underscore and a hash (IPT-1)."""
    if len(prefix) + len(suffix) <= CHAIN_LIMIT and _READABLE.fullmatch(suffix):
        return prefix + suffix
    return f"{prefix}_{digest(suffix, CHAIN_LIMIT - len(prefix) - 1)}"


@lru_cache(maxsize=65536)
def policy_chain(policy: str, direction: FlowDirection) -> str:
    """`cali-pi-`, `cali-po-`, `cali-pri-` or `cali-pro-` and the policy: "cali-pi-np.shop/web", "cali-pro-kns.shop"."""
    kind, _, name = policy.partition(":")
    way = "i" if direction == "ingress" else "o"
    return chain_name(f"cali-pr{way}-", name) if kind == "pro" else chain_name(f"cali-p{way}-", f"{kind}.{name}")


def group_chain(policies: tuple[str, ...], direction: FlowDirection) -> str:
    """The chain of a group of policies, known by its content."""
    return f"cali-g{'i' if direction == 'ingress' else 'o'}-{digest(chr(0).join(policies), 18)}"


def block_chain(direction: FlowDirection, content: bytes) -> str:
    """The chain of a block of rules, known by its content."""
    return f"cali-b{'i' if direction == 'ingress' else 'o'}-{digest(content.decode(), 18)}"


def is_union_name(name: str) -> bool:
    """Whether a set holds the members of others, for the conditions of blocks; `name` is its first one."""
    return name[6:].startswith(UNION_PREFIX)


def walk_chain(walk: str, direction: FlowDirection) -> str:
    """To a workload (`cali-tw-`) or from one (`cali-fw-`), shared by all endpoints with the same walk."""
    return chain_name("cali-tw-" if direction == "ingress" else "cali-fw-", walk)


@lru_cache(maxsize=65536)
def set_name(base: str, family: Family) -> str:
    """The first name of a set: `cali40` or `cali60` and its id without the family digit."""
    if len(base) + 6 > SET_LIMIT:
        base = f"_{digest(base, SET_LIMIT - 7)}"
    return f"cali{family}0{base}"


def tagged(name: str, tag: str) -> str:
    """The name with another digit: `0` and `1` take turns, unless applies ended half-way; `t` is a temporary one."""
    return f"{name[:5]}{tag}{name[6:]}"


def log_prefix(ref: RuleRef) -> str:
    """The token a dropped or logged packet carries: equal for equal rules, short enough for the kernel."""
    if ref.guard:
        token = f"guard|{ref.guard}|{ref.direction}"
    else:
        token = f"{ref.direction}|{ref.tier}|{ref.policy}|{ref.rule}"
    if token.isascii() and len(token) <= PREFIX_LIMIT:
        return token
    return f"{ref.direction}|{digest(token, 22)}"


def comment(words: str) -> str:
    """Words for people that survive quoting."""
    plain = words.isascii() and words.isprintable() and '"' not in words and "\\" not in words
    return (words if plain else _UNQUOTABLE.sub("?", words))[:COMMENT_LIMIT]
