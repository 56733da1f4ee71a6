"""The matrix as a value: cells, text, JSON, differences."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from reference.analysis import Change, Counts, matrix
from reference.errors import InvalidInputError
from reference.loading import load_state
from reference.state import State

CLUSTER = """
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}},
 spec: {containers: [{name: c, image: i}]}, status: {podIPs: [{ip: 10.244.0.1}, {ip: "fd00:10:244::1"}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, labels: {app: db}},
 spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.244.0.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: six, labels: {app: six}},
 spec: {containers: [{name: c, image: i}]}, status: {podIP: "fd00:10:244::3"}}
"""
WEB, DB, SIX = "default/web", "default/db", "default/six"


def state_with(*ports: int) -> State:
    """Three pods; db takes these TCP ports from web."""
    rules = [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": port} for port in ports]}]
    policy: dict[str, Any] = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
        "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
                 "ingress": rules if ports else []},
    }  # fmt: skip
    return load_state(*yaml.safe_load_all(CLUSTER), policy)


def test_cells() -> None:
    """A cell is allowed, denied, or between two without a common family; a pod reaches itself."""
    table = matrix(state_with(5432), ["80", "5432/tcp", "icmp"])

    assert table.ports == ("80/TCP", "5432/TCP", "ICMP")
    assert table.sources == table.destinations == (DB, SIX, WEB)
    assert [table.row_text("80/TCP", name) for name in table.sources] == [".-.", "-..", "X.."]
    assert [table.row_text("5432/TCP", name) for name in table.sources] == [".-.", "-..", "..."]
    assert [table.row_text("ICMP", name) for name in table.sources] == [".-.", "-..", "X.."]
    assert table.allowed(WEB, DB, "5432/TCP")
    assert not table.allowed(WEB, DB, "80/TCP")
    assert not table.allowed(SIX, DB, "80/TCP")
    assert table.counts == Counts(allowed=19, denied=2, apart=6)
    assert table.counts.total == len(table) == len(list(table)) == 27


def test_iteration_is_the_cells() -> None:
    """Iterating gives every cell once, as `allowed` has it."""
    table = matrix(state_with(), ["80/TCP", "53/UDP"])

    assert [cell[3] for cell in table] == [table.allowed(*cell[:3]) for cell in table]


def test_chosen_ends() -> None:
    """Sources and destinations may be any names: pods, nodes, addresses."""
    table = matrix(state_with(), ["80/TCP"], sources=["web", "9.9.9.9", "node-1"], destinations=["db", "node-1"])

    assert [table.row_text("80/TCP", name) for name in table.sources] == ["XX", "X.", ".."]


def test_unknown_cell_says_what_there_is() -> None:
    """A cell that is not there is refused with what there is."""
    table = matrix(state_with(), ["80/TCP"])
    with pytest.raises(InvalidInputError, match="3 sources, 3 destinations, ports 80/TCP"):
        table.allowed(WEB, DB, "81/TCP")


def test_text() -> None:
    """The text names the destinations by number and gives a block of glyphs per port."""
    assert matrix(state_with(), ["80/TCP"]).text() == (
        "destinations, from left to right:\n"
        "   0  default/db\n   1  default/six\n   2  default/web\n"
        "\n80/TCP\n"
        "  default/db   .-.\n  default/six  -..\n  default/web  X..\n"
        "\n. allowed  X denied  - no common address family\n"
    )


def test_json() -> None:
    """The JSON holds names, rows of glyphs and counts, and nothing JSON cannot say."""
    data = matrix(state_with(), ["80/TCP"]).to_json()

    assert json.loads(json.dumps(data)) == {
        "sources": [DB, SIX, WEB],
        "destinations": [DB, SIX, WEB],
        "ports": {"80/TCP": [".-.", "-..", "X.."]},
        "counts": {"allowed": 6, "denied": 1, "apart": 2},
    }


def test_changes() -> None:
    """The difference of two matrices is the cells that changed."""
    before, after = matrix(state_with(), ["80/TCP"]), matrix(state_with(80), ["80/TCP"])

    assert list(before.changes(after)) == [Change(source=WEB, destination=DB, port="80/TCP", before="X", after=".")]
    assert list(before.changes(before)) == []
    assert [str(change) for change in after.changes(before)] == [f"{WEB} -> {DB} 80/TCP: allowed -> denied"]


def test_changes_of_different_ends() -> None:
    """Cells only one of the two has are changes too."""
    state = state_with()
    small, large = (matrix(state, ["80/TCP"], [WEB], ends) for ends in ([WEB], [WEB, DB]))

    assert [str(change) for change in small.changes(large)] == [f"{WEB} -> {DB} 80/TCP: absent -> denied"]


def test_empty_cluster() -> None:
    """A cluster without pods has an empty matrix."""
    table = matrix(load_state(), ["80/TCP"])

    assert (len(table), table.counts.total, list(table)) == (0, 0, [])
