"""The read API's route of a run's output: its parameters, its headers, and clients that do not read or go away."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from stromboli.api import logs
from stromboli.api.answers import errors_as_status
from stromboli.api.logs import LogRoutes
from stromboli.errors import ClusterUnavailable
from tests.unit.perform.test_logs_steps import SECRET, Bed

LIMIT = 10.0
WHERE = "/apis/agents.stromboli.dev/v1alpha1/namespaces/team/agentruns/a/log"
MASKED = "*" * len(SECRET)


class Server:
    """The route over plain HTTP, and a run behind it."""

    def __init__(self, bed: Bed, url: str, session: aiohttp.ClientSession, routes: LogRoutes) -> None:
        self.bed = bed
        self.url = url
        self.session = session
        self.routes = routes

    def get(self, query: str = "", where: str = WHERE) -> Any:
        return self.session.get(f"{self.url}{where}?{query}")

    async def failure(self, query: str, **more: str) -> tuple[int, str, str]:
        async with self.get(query, **more) as response:
            document = await response.json()
            assert (document["kind"], document["code"]) == ("Status", response.status)
            return response.status, document["message"], document["reason"]

    async def until_free(self) -> None:
        """Wait until nothing is served any more, and nothing is left of it."""
        async with asyncio.timeout(LIMIT):
            while self.routes._serving or len(self.bed.outputs._watches):  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.01)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    bed = Bed(tmp_path)
    bed.record()
    app = web.Application(middlewares=[errors_as_status])
    routes = LogRoutes(bed.outputs)
    routes.add_to(app.router)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    try:
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=1024) as session:
            yield Server(bed, str(site.name), session, routes)
    finally:
        await runner.cleanup()


async def test_an_output_comes_as_it_is_with_its_place_and_state(server: Server) -> None:
    server.bed.write(f"half \xc3 a character, a key {SECRET}, \x1b[2J\0\n".encode("latin-1"))
    async with server.get("offset=5") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.headers["Stromboli-Attempt"] == "1"
        assert response.headers["Stromboli-Offset"] == "5"
        assert response.headers["Stromboli-State"] == "running"
        assert await response.read() == f"\xc3 a character, a key {MASKED}, \x1b[2J\0\n".encode("latin-1")
    async with server.get("offset=6&limitBytes=4") as response:
        assert await response.read() == b" a c"


async def test_a_follower_gets_its_headers_at_once_and_each_line_as_it_is_written(server: Server) -> None:
    async with asyncio.timeout(LIMIT), server.get("follow=true") as response:
        assert response.headers["Stromboli-State"] == "running"
        for n in range(3):
            server.bed.write(b"line %d\n" % n)
            assert await response.content.readline() == b"line %d\n" % n
        server.bed.attempts(1, over=True)
        assert await response.content.read() == b""
    await server.until_free()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("offset=-1", "the parameter `offset` must be a whole number from 0 on, such as 1"),
        ("offset=1e9", "the parameter `offset` must be a whole number"),
        ("offset=", "the parameter `offset` must be a whole number"),
        ("offset=9007199254740992", "the parameter `offset` must be a whole number"),
        (f"offset={'9' * 5000}", "the parameter `offset` must be a whole number"),
        ("offset=%D9%A1", "the parameter `offset` must be a whole number"),
        ("limitBytes=0", "the parameter `limitBytes` must be a whole number from 1 on, such as 2"),
        ("attempt=0", "the parameter `attempt` must be a whole number from 1 on"),
        ("attempt=7", "the parameter `attempt` is 7; the run has the attempts 1"),
        ("follow=yes", "the parameter `follow` must be true or false"),
        ("step=agent.0", "it can be agent, stderr, supervisor, or a hook such as postStart[0]"),
    ],
)
async def test_bad_parameters_are_refused_with_what_would_be_right(server: Server, query: str, says: str) -> None:
    status, error, _ = await server.failure(query)
    assert status == 400
    assert says in error


async def test_what_cannot_be_served_is_said(server: Server) -> None:
    assert (await server.failure("uid=other"))[0::2] == (409, "Conflict")
    assert (await server.failure("", where=WHERE.replace("/a/", "/A/")))[0] == 404
    server.bed.folder.forget_given(f"{server.bed.folder.path.name}-1")
    status, error, reason = await server.failure("")
    assert (status, reason) == (410, "Withheld")
    assert "the node has restarted since the attempt began" in error
    server.bed.run = None
    assert (await server.failure(""))[0::2] == (404, "NotFound")


async def test_a_cluster_that_does_not_answer_is_503(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: str) -> None:
        raise ClusterUnavailable("the API server: connection refused")

    monkeypatch.setattr(server.bed.outputs, "_lookup", away)
    assert (await server.failure(""))[0] == 503


async def test_a_client_that_goes_away_from_a_quiet_output_leaves_nothing(server: Server) -> None:
    for _ in range(3):
        response = await server.get("follow=true")
        response.close()
    await server.until_free()


async def test_a_client_that_does_not_read_blocks_nobody_and_takes_little(server: Server) -> None:
    server.bed.write(b"x" * 15_000_000)
    async with server.get("follow=true"), server.get("follow=true") as other:
        async with asyncio.timeout(LIMIT):
            assert len(await other.content.readexactly(15_000_000)) == 15_000_000
            server.bed.write(b"more")
            assert await other.content.readexactly(4) == b"more"
        assert server.routes._serving == 2
    await server.until_free()


async def test_so_many_are_served_and_no_more(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST", 1)
    async with server.get("follow=true"):
        assert await server.failure("") == (
            503,
            "1 logs are being read from this node; try again",
            "ServiceUnavailable",
        )
    await server.until_free()
    async with server.get("") as response:
        assert response.status == 200


async def test_what_fails_in_the_middle_breaks_the_answer_off(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with server.get("follow=true") as response:
        server.bed.write(b"line\n")
        await response.content.readline()

        def broken(*_: object, **__: object) -> None:
            raise OSError("broken")

        monkeypatch.setattr("stromboli.perform.logs.steps._piece", broken)
        server.bed.write(b"line\n")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
    await server.until_free()
    assert "broken" in caplog.text
    gc.collect()
