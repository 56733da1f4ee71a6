"""The nft program's JSON listing reduced to what a program determines. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_VOLATILE = frozenset({"handle", "index"})


def normalise(listing: str) -> dict[str, object]:
    """Chains with their rules in order, sets with their sorted members; no handles, no counts.

    An absent table is an empty mapping.
    """
    chains: dict[str, list[object]] = {}
    hooks: dict[str, object] = {}
    sets: dict[str, object] = {}
    objects: list[dict[str, Any]] = msgspec.json.decode(listing)["nftables"] if listing.strip() else []
    for entry in objects:
        (kind, body), *_ = entry.items()
        if kind == "chain":
            chains.setdefault(body["name"], [])
            if "hook" in body:
                hooks[body["name"]] = [body["type"], body["hook"], body["prio"], body["policy"]]
        elif kind == "rule":
            rule = {"expr": _without_counts(body["expr"]), "comment": body.get("comment", "")}
            chains.setdefault(body["chain"], []).append(rule)
        elif kind in ("set", "map"):
            members = sorted(_text(member) for member in body.get("elem", ()))
            sets[body["name"]] = {"type": body["type"], "flags": body.get("flags", []), "members": members}
    if not chains and not sets:
        return {}
    return {
        "chains": dict(sorted(chains.items())),
        "hooks": dict(sorted(hooks.items())),
        "sets": dict(sorted(sets.items())),
    }


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _without_counts(value: Any) -> Any:  # noqa: ANN401  # JSON
    if isinstance(value, Mapping):
        return {
            key: True if key == "counter" else _without_counts(inner)
            for key, inner in value.items()
            if key not in _VOLATILE
        }
    if isinstance(value, list):
        return [_without_counts(inner) for inner in value]
    return value
