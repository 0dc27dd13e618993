"""The HTTP API before a cluster in memory, for all tests here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.support.http_cluster import HttpCluster, http_cluster


@pytest.fixture
async def cluster() -> AsyncIterator[HttpCluster]:
    """The cluster; calls that have no token act as the local user, in the namespace `ns`."""
    async with http_cluster() as made:
        yield made


@pytest.fixture
def client(cluster: HttpCluster) -> httpx2.AsyncClient:
    """Calls the HTTP API before `cluster` as the local user: `await client.get("/jobs")`."""
    return cluster.http
