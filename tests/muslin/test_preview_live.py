"""Staged policies in a running cluster: kept, previewed, explained, and enforced by nothing."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.live
SHOP, LOCK, STAGED = "scenarios/manifests/shop.yaml", "docs/examples/db-from-api-only.yaml", "docs/examples/staged.yaml"


def test_staged_policies_in_a_running_cluster(muslin, name):
    """Applied, they are there and change no program; the preview and the explanation of the cluster know of them."""
    assert muslin("up", "--name", name, "-f", SHOP, "-f", LOCK).code == 0
    try:
        rules = muslin("exec", "-N", name, "node-1", "--", "nft", "-s", "list", "ruleset").out
        assert muslin("preview", "-N", name).out.startswith("no policy is staged\n")
        applied = muslin("apply", "-N", name, "-f", STAGED)
        assert applied.out == (
            "StagedKubernetesNetworkPolicy shop/web created\nStagedNetworkPolicy shop/db created\n"
        )  # fmt: skip
        assert muslin("probe", "-N", name, "shop/web", "shop/db", "5432/TCP").code == 1
        assert muslin("exec", "-N", name, "node-1", "--", "nft", "-s", "list", "ruleset").out == rules
        assert "Set" in muslin("get", "-N", name, "snp", "-n", "shop").out

        previewed = muslin("preview", "-N", name)
        assert (previewed.code, previewed.err) == (1, "")
        assert "shop/web -> shop/db 5432/TCP: denied -> allowed" in previewed.out

        explained = muslin("explain", "-N", name, "shop/web", "shop/db", "5432/TCP").out
        assert "near misses\n    np:shop/db rule 0 (Allow) would have allowed it, but source" in explained
        assert "if staged policies were enforced: allowed\n    0|default|snp:shop/db|allow|0\n" in explained
        assert "model and kernel agree" in explained
    finally:
        muslin("down", name)
