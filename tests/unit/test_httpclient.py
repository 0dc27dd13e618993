"""HTTP calls to a server on a socket that answers, or not, as a test says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from stromboli.errors import HttpFailed, HttpSilent, PodmanError
from stromboli.httpclient import Http
from stromboli.podman import connection as podman
from stromboli.podman.connection import Connection

KEPT = 3
LIMIT = 20.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"

Handle = Callable[["Server", str, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server that reads requests and leaves the answers to `handle`, which is given the head of each."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.handle: Handle = answer(OK)
        self.heads: list[str] = []
        self.body = b""
        self.open: set[asyncio.StreamWriter] = set()
        self.connections = 0
        self.waiting = 0
        self.go_on = asyncio.Event()
        self._ended = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                if length := re.search(r"(?i)content-length: (\d+)", head):
                    self.body = await reader.readexactly(int(length[1]))
                self.heads.append(head)
                await self.handle(self, head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            async with self._ended:
                self.open.discard(writer)
                self._ended.notify_all()

    async def until_open(self, count: int) -> None:
        """Wait until so many connections are open."""
        async with asyncio.timeout(LIMIT), self._ended:
            await self._ended.wait_for(lambda: len(self.open) == count)


def answer(content: bytes) -> Handle:
    async def handle(_: Server, __: str, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return handle


def once_there_are(count: int) -> Handle:
    """Answers once so many calls are there at the same time."""

    async def handle(server: Server, _: str, writer: asyncio.StreamWriter) -> None:
        server.waiting += 1
        if server.waiting == count:
            server.go_on.set()
        await server.go_on.wait()
        writer.write(OK)

    return handle


async def hangs_up(_: Server, __: str, writer: asyncio.StreamWriter) -> None:
    """After a part of the answer, if one has been written."""
    writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "s")
    async with await asyncio.start_unix_server(server.serve, server.socket):
        yield server
        for writer in tuple(server.open):
            writer.close()
        await server.until_open(0)


@pytest.fixture
async def http(server: Server) -> AsyncIterator[Http]:
    http = Http("http://x", partial(aiohttp.UnixConnector, str(server.socket)), kept=KEPT, connect=LIMIT)
    yield http
    await http.close()


async def ask(http: Http, method: str = "GET", *, short: bool = True, silence: float | None = LIMIT) -> bytes:
    async with http.stream(method, "/", short=short, silence=silence) as found:
        return await found.read()


async def test_a_short_call_s_connection_is_used_again(server: Server, http: Http) -> None:
    assert [await ask(http) for _ in range(3)] == [b"ok"] * 3
    assert server.connections == 1


async def test_another_call_s_is_closed_after_it(server: Server, http: Http) -> None:
    assert [await ask(http, short=False) for _ in range(3)] == [b"ok"] * 3
    assert server.connections == 3
    await server.until_open(0)


async def test_no_call_waits_for_another_and_few_connections_are_kept(server: Server, http: Http) -> None:
    calls = 4 * KEPT
    server.handle = once_there_are(calls)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(ask(http) for _ in range(calls)))
    await server.until_open(KEPT)


async def test_an_answer_that_was_not_read_ends_its_connection(server: Server, http: Http) -> None:
    server.handle = answer(ENDLESS)
    async with http.stream("GET", "/", short=True) as found:
        assert await anext(found.chunks) == b"begun"
    await server.until_open(0)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_kept_connection_that_the_server_closes_is_no_failure(server: Server, http: Http, method: str) -> None:
    async def second_hangs_up(server: Server, _: str, writer: asyncio.StreamWriter) -> None:
        await (hangs_up if len(server.heads) == 2 else answer(OK if method != "HEAD" else OK[:-2]))(server, "", writer)

    server.handle = second_hangs_up
    assert await ask(http, method) == await ask(http, method)
    assert len(server.heads) == 3


async def test_a_new_connection_that_the_server_closes_is_one(server: Server, http: Http) -> None:
    server.handle = hangs_up
    for _ in range(2):
        with pytest.raises(HttpFailed):
            await ask(http)
    assert len(server.heads) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
async def test_what_may_have_taken_effect_is_sent_once(server: Server, http: Http, method: str) -> None:
    await ask(http, method)
    server.handle = hangs_up
    with pytest.raises(HttpFailed):
        await ask(http, method)
    assert len(server.heads) == 2


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", ENDLESS])
async def test_a_silent_server(server: Server, http: Http, begun: bytes) -> None:
    server.handle = answer(begun)
    with pytest.raises(HttpSilent, match="no answer within 0 s"):
        await asyncio.wait_for(ask(http, silence=0.1), LIMIT)


async def test_a_server_that_stops_reading(tmp_path: Path) -> None:
    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    over = asyncio.Event()
    http = Http("http://x", partial(aiohttp.UnixConnector, str(tmp_path / "s")), kept=KEPT, connect=0.1)
    async with await asyncio.start_unix_server(deaf, tmp_path / "s", limit=1024), asyncio.timeout(LIMIT):
        with pytest.raises(HttpSilent):
            async with http.stream("POST", "/", body=b"x" * 10_000_000, silence=0.1):
                pass
        over.set()
        await http.close()


@pytest.mark.parametrize("content", [ENDLESS, b"", b"HTTP/1.1 200 OK\r\nConte", b"what is no HTTP\r\n\r\n"])
async def test_an_answer_that_breaks_off(server: Server, http: Http, content: bytes) -> None:
    async def handle(server: Server, head: str, writer: asyncio.StreamWriter) -> None:
        await answer(content)(server, head, writer)
        await hangs_up(server, head, writer)

    server.handle = handle
    with pytest.raises(HttpFailed):
        await ask(http)


async def test_nobody_listens(tmp_path: Path) -> None:
    http = Http("http://x", partial(aiohttp.UnixConnector, str(tmp_path / "s")), kept=KEPT, connect=LIMIT)
    with pytest.raises(HttpFailed, match=r"^\[Errno 2\] No such file or directory$"):
        await ask(http)
    await http.close()


async def test_a_header_that_cannot_be_sent(http: Http) -> None:
    with pytest.raises(HttpFailed) as refused:
        async with http.stream("GET", "/", headers={"Authorization": "Bearer a\nsecret"}):
            pass
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("body", [b"{}", bytes(range(256)) * 10_000], ids=["small", "large"])
async def test_a_body_arrives_whole(server: Server, http: Http, body: bytes) -> None:
    async with http.stream("PUT", "/", headers={"Content-Type": "text/x"}, body=body, silence=LIMIT) as found:
        assert found.status == 200
    [head] = server.heads
    assert "Content-Type: text/x\r\n" in head
    assert server.body == body


async def test_paths_and_queries_arrive_as_they_are_meant(server: Server, http: Http) -> None:
    async with http.stream("GET", "/a%2Fb/../c%20d:e", query={"path": "/ä b+%2F&", "changes": ["x=1", "y"]}) as found:
        await found.read()
    [head] = server.heads
    target = "/a%2Fb/../c%20d:e?path=%2F%C3%A4%20b%2B%252F%26&changes=x%3D1&changes=y"
    assert head.startswith(f"GET {target} HTTP/1.1\r\n")


async def test_neither_redirected_nor_decompressed_and_with_long_headers(server: Server, http: Http) -> None:
    long = b"x" * 100_000
    server.handle = answer(
        b"HTTP/1.1 307 Elsewhere\r\nLocation: /y\r\nContent-Encoding: gzip\r\nX-Long: %b\r\nContent-Length: 2\r\n\r\nok"
        % long
    )
    async with http.stream("GET", "/") as found:
        assert (found.status, found.headers["x-long"], await found.read()) == (307, long.decode(), b"ok")


async def test_lines(server: Server, http: Http) -> None:
    async def handle(_: Server, __: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for piece in (b"a\nb", b"\xe2\x80", b"\xa8c\n\n", b"x" * 50_000, b"\nend"):
            writer.write(piece)
            await writer.drain()
        writer.close()

    server.handle = handle
    async with http.stream("GET", "/") as found:
        lines = [line async for line in found.lines(LONG)]
    assert lines == [b"a", b"b\xe2\x80\xa8c", b"", b"x" * 50_000, b"end"]


LONG = 100_000


async def test_a_line_without_an_end_is_not_read_to_its_end(server: Server, http: Http) -> None:
    server.handle = endless
    async with http.stream("GET", "/") as found:
        [line] = [line async for line in found.lines(LONG)]
    assert LONG < len(line) < 10 * LONG


async def endless(_: Server, __: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b"x" * 10_000)
        await writer.drain()


async def test_an_answer_of_podman_s_that_is_too_large_is_not_read_to_its_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podman, "LONGEST", LONG)
    server.handle = endless
    connection = Connection(server.socket)
    with pytest.raises(PodmanError, match=r"answer to GET /info is too large: at most 100000 bytes"):
        await connection.request("GET", "/info")
    await connection.close()
