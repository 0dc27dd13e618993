"""The relay between a real client and a real server: what goes in comes out, to one place only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector, web

from stromboli.relay.server import application


class Upstream:
    """An API that notes what reached it and answers in two pieces, the second when it is told to."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.go_on = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        response = web.StreamResponse(status=401 if "refused" in request.path else 200, headers={"request-id": "req_1"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"event: one\n\n")
        await self.go_on.wait()
        await response.write(b"event: two\n\n")
        return response


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    found = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield found, f"http://127.0.0.1:{runner.addresses[0][1]}/base/"
    await runner.cleanup()


@pytest.fixture
async def client(upstream: tuple[Upstream, str], tmp_path: Path) -> AsyncIterator[ClientSession]:
    async with application(upstream[1]) as app:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        async with ClientSession(connector=UnixConnector(str(tmp_path / "s"))) as session:
            yield session
        await runner.cleanup()


async def test_a_request_arrives_as_it_was_sent(upstream: tuple[Upstream, str], client: ClientSession) -> None:
    api, _ = upstream
    api.go_on.set()
    headers = {"x-api-key": "sk-1", "anthropic-beta": "a,b"}
    async with client.post("http://elsewhere/v1/messages?beta=true", data=b"{}", headers=headers) as answered:
        assert answered.headers["request-id"] == "req_1"
        await answered.read()
    [asked] = api.asked
    assert (asked.method, asked.path_qs, api.bodies) == ("POST", "/base/v1/messages?beta=true", [b"{}"])
    assert (asked.headers["x-api-key"], asked.headers["anthropic-beta"]) == ("sk-1", "a,b")
    assert asked.headers["Host"].startswith("127.0.0.1:"), "the place is the relay's to say"


async def test_an_answer_comes_piece_by_piece(upstream: tuple[Upstream, str], client: ClientSession) -> None:
    api, _ = upstream
    async with client.post("http://x/v1/messages", data=b"{}") as answered:
        assert await answered.content.readuntil(b"\n\n") == b"event: one\n\n", "it waits for no end"
        api.go_on.set()
        assert await answered.content.read() == b"event: two\n\n"


async def test_a_refusal_is_passed_on(upstream: tuple[Upstream, str], client: ClientSession) -> None:
    upstream[0].go_on.set()
    async with client.get("http://x/refused") as answered:
        assert answered.status == 401
