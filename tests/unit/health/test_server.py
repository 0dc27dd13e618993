"""The server for probes: what it answers, and that nobody can keep it busy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from stromboli.errors import InvalidSettings
from stromboli.health import server
from stromboli.health.checks import Health

PROBLEMS: dict[str, str] = {}


@pytest.fixture
async def address() -> AsyncIterator[str]:
    PROBLEMS.clear()
    health = Health({"parts": lambda: PROBLEMS.get("parts")}, {"disk": lambda: PROBLEMS.get("disk")})
    async with server.serving(health, lambda: b"metrics\n", "127.0.0.1", 0) as where:
        yield where


async def get(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, f"http://{address}{path}") as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/healthz", 200, "ok\n"),
        ("/readyz", 503, "[-]disk failed: it is full, é\n[+]parts ok\nreadyz check failed\n"),
        ("/healthz?verbose", 200, "[+]parts ok\nhealthz check passed\n"),
        ("/healthz/parts", 200, "ok\n"),
        ("/readyz/disk", 503, "[-]disk failed: it is full, é\nreadyz check failed\n"),
        ("/readyz/parts?verbose=1", 200, "[+]parts ok\nreadyz check passed\n"),
        ("/healthz/disk", 404, "not found; there are /healthz, /readyz and /metrics\n"),
        ("/metrics", 200, "metrics\n"),
        ("/metrics?x=y", 200, "metrics\n"),
        ("/", 404, "not found; there are /healthz, /readyz and /metrics\n"),
        ("//[", 404, "not found; there are /healthz, /readyz and /metrics\n"),
    ],
)
async def test_answers(address: str, path: str, status: int, text: str) -> None:
    PROBLEMS["disk"] = "it is full, é"
    assert await get(address, path) == (status, text)


async def test_other_methods_are_refused(address: str) -> None:
    assert await get(address, "/healthz", "POST") == (405, "only GET\n")


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", b"\x16\x03\x01", b"GET /healthz HTTP/1.1\r\nA: " + b"a" * 100_000])
async def test_whatever_else_a_client_sends_is_harmless(
    address: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LIFE", 0.05)
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):  # it did not read all that was sent
            assert b"200" not in await reader.read()
    writer.close()
    assert await get(address, "/healthz") == (200, "ok\n")


async def test_many_idle_clients_do_not_stay(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LIFE", 0.2)
    host, _, port = address.rpartition(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(server.MOST)]
    async with asyncio.timeout(10):
        for reader, writer in idle:
            assert await reader.read() == b""
            writer.close()
    assert await get(address, "/healthz") == (200, "ok\n")


async def test_clients_that_keep_silent_make_room_for_a_probe(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LIFE", 60.0)
    host, _, port = address.rpartition(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(server.MOST + 10)]
    async with asyncio.timeout(10):
        for _ in range(3):
            assert await get(address, "/healthz") == (200, "ok\n")
        for early, _ in idle[:10]:
            with contextlib.suppress(ConnectionError):
                assert await early.read() == b""
    for _, writer in idle:
        writer.close()


async def test_an_address_that_is_taken_is_said(address: str) -> None:
    host, _, port = address.rpartition(":")
    with pytest.raises(InvalidSettings, match="cannot be bound") as caught:
        async with server.serving(Health({}, {}), bytes, host, int(port)):
            pass
    assert "STROMBOLI_HEALTH_ADDRESS" in str(caught.value)
