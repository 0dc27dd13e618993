"""What each call passes, before a cluster in memory."""

from __future__ import annotations

import httpx2

from tests.support.http_cluster import HttpCluster


async def test_health_needs_no_cluster(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()["status"], answer.json()["name"]) == (200, "ok", "stromboli")


async def test_what_is_not_served_is_said_as_every_error(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/nothing")
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
