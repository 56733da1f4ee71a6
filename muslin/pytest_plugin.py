"""The pytest plugin: a `cluster` fixture, a real cluster per test.

    def test_web_reaches_api(cluster):
        cluster.apply("manifests/")
        assert cluster.probe("shop/web", "shop/api", "TCP", 8080).allowed

`@pytest.mark.cluster(nodes=3, topology="single")` chooses another shape. Where the machine cannot run live clusters the
test is skipped, and the reason says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from muslin.cluster import Cluster


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest about our marker."""
    config.addinivalue_line("markers", "cluster(topology, nodes, dataplane, encryption): the shape of `cluster`")


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of its own for this test, gone when the test ends."""
    from muslin.cluster import Cluster
    from reference.errors import EnvironmentLacksError

    marker = request.node.get_closest_marker("cluster")
    made = Cluster(**(marker.kwargs if marker else {}))
    try:
        made.start()
    except EnvironmentLacksError as error:
        pytest.skip(f"no live cluster here: {error}")
    try:
        yield made
    finally:
        made.close()
