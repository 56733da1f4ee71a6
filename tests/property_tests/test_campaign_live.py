"""A small live campaign: random clusters brought up for real, random packets sent for real."""

import pytest

from property_tests.campaigns import search


@pytest.mark.live
def test_oracle_and_kernel_agree() -> None:
    """On a dozen random clusters, every packet that gave evidence fared as the oracle says, allowed and denied ones."""
    found = search(60.0, seed=5, live=True, kernel_every=1, most_clusters=12)
    assert found.mismatches == (), found.mismatches[0].scenario
    assert found.clusters == 12
    assert found.kernel_packets > 300
    assert found.silent < found.kernel_packets / 5
