"""What comes over a connection to the HTTP API that is no proper request, or comes too slowly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stromboli.httpapi import body, connection
from tests.support.http_cluster import LIMIT, HttpCluster, http_cluster

HEAD = b"POST /run HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def opened(cluster: HttpCluster) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, which is broken off at the end of the block."""
    host, port = cluster.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer_to(cluster: HttpCluster, sent: bytes) -> tuple[int, dict[str, Any]]:
    """The status, and the JSON, of the only answer."""
    async with opened(cluster) as (reader, writer):
        writer.write(sent)
        found = await asyncio.wait_for(reader.read(), LIMIT)
    head, _, content = found.partition(b"\r\n\r\n")
    assert b"application/json" in head, found
    return int(head.split()[1]), json.loads(content)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
        HEAD + CHUNKED + b"5\r\nhello\r\nno size\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"no size\r\n",
    ],
)
async def test_what_is_no_request_is_answered_in_json(
    cluster: HttpCluster, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    with caplog.at_level(logging.ERROR):
        status, said = await answer_to(cluster, sent)
        await cluster.http.get("/health")  # whatever was still to be done for the other one is done
    assert (status, said["status"], said["reason"]) == (400, "error", "BadRequest")
    assert caplog.records == []


async def test_a_client_that_hangs_up_in_the_middle_of_its_request_is_no_error(
    cluster: HttpCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with opened(cluster) as (_, writer):
            # With a token: without one, it would also be too late to find out whose connection it was.
            writer.write(HEAD + b'Authorization: Bearer t\r\nContent-Length: 100\r\n\r\n{"prompt"')
            await writer.drain()
        await cluster.until(lambda: "POST /run 499" in caplog.text, "the call has ended")
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nHost: loc"])
async def test_a_connection_without_a_request_is_closed(
    cluster: HttpCluster, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connection, "ASKING", 0.2)
    async with opened(cluster) as (reader, writer):
        writer.write(begun)
        assert await asyncio.wait_for(reader.read(), LIMIT) == b""


async def test_a_body_has_to_come_to_its_end(cluster: HttpCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PATIENCE", 0.2)
    status, said = await answer_to(cluster, HEAD + b"Content-Length: 100\r\n\r\n{")
    assert status == 400
    assert "has not come whole" in said["error"]


async def test_bodies_have_room_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "ROOM", 200_000)
    room = body.Room()
    async with http_cluster(bodies=room) as cluster:
        async with opened(cluster) as (_, writer):
            writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 180_000)
            await cluster.until(lambda: room.taken == 180_000, "it is read")
            refused = await cluster.http.post("/run", content=b" " * 100_000)
            assert (refused.status_code, refused.json()["reason"]) == (503, "ServiceUnavailable")
            small = await cluster.http.post("/run", content=b"{}")
            assert small.json()["details"] == {"field": "prompt"}  # there is always room for it
        await cluster.until(lambda: room.taken == 0, "the other one is gone")
        assert (await cluster.http.post("/run", content=b" " * 100_000)).status_code == 400


async def test_there_are_only_so_many_connections(cluster: HttpCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST", 2)
    async with opened(cluster), opened(cluster) as (reader, writer), opened(cluster) as (refused, _):
        assert await asyncio.wait_for(refused.read(), LIMIT) == b""
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await asyncio.wait_for(reader.read(), LIMIT)


async def test_a_path_with_a_slash_too_many_is_not_served(cluster: HttpCluster) -> None:
    answer = await cluster.http.get("/jobs/")
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")


async def test_a_client_that_reads_nothing_is_given_up(cluster: HttpCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALLED", 0.2)
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with opened(cluster) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]

        async def asking() -> None:
            while True:
                writer.write(asked * 10)
                await writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(asking(), LIMIT)
