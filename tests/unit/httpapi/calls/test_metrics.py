"""What the gateway counts of its calls: by route, and never by path."""

from __future__ import annotations

import asyncio
import json

import httpx2

from stromboli.reasons import Reason
from tests.support.builders import at
from tests.support.http_cluster import HttpCluster, http_cluster
from tests.unit.httpapi.test_stream import HELLO, created


async def values(cluster: HttpCluster) -> dict[str, float]:
    answer = await cluster.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def call(route: str, method: str, status: int) -> str:
    return f'stromboli_http_requests_total{{method="{method}",route="{route}",status="{status}"}}'


async def test_calls_are_counted_by_route_and_status(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    await client.get("/jobs/secret-name")
    await client.get("/jobs/another-one")
    await client.get("/nothing/of/the/kind")
    await client.request("BREW", "/jobs")
    found = await values(cluster)
    assert found[call("/jobs/{id}", "GET", 404)] == 2
    assert found[call("other", "GET", 404)] == 1
    assert found[call("/jobs", "other", 405)] == 1
    assert found['stromboli_http_request_duration_seconds_count{method="GET",route="/jobs/{id}"}'] == 2
    assert not [name for name in found if "secret-name" in name or "nothing" in name]
    assert (await values(cluster))[call("/metrics", "GET", 200)] == 1


async def test_prometheus_needs_no_token() -> None:
    async with http_cluster(local=False) as cluster:
        assert "process_resident_memory_bytes" in await values(cluster)


async def test_a_call_that_waits_for_its_run(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    waiting = asyncio.ensure_future(client.post("/run", content=json.dumps(HELLO)))
    await cluster.until(lambda: bool(cluster.api.objects), "the run is there")
    assert (await values(cluster))["stromboli_http_requests_waiting"] == 2, "it, and the one that asks"
    cluster.progress(created(cluster), at(Reason.Completed))
    assert (await waiting).status_code == 200
    found = await values(cluster)
    assert found["stromboli_http_requests_waiting"] == 1
    assert found[call("/run", "POST", 200)] == 1


async def test_streams_that_are_open(client: httpx2.AsyncClient, cluster: HttpCluster) -> None:
    async with client.stream("POST", "/run/stream", content=json.dumps(HELLO)) as answer:
        assert answer.status_code == 200
        found = await values(cluster)
        assert (found["stromboli_http_streams_open"], found["stromboli_http_requests_waiting"]) == (1, 1)
    # The caller has hung up, which the gateway notices by itself.
    async with asyncio.timeout(20):
        while (await values(cluster))["stromboli_http_streams_open"]:  # noqa: ASYNC110 - of which nothing here is told
            await asyncio.sleep(0.01)
