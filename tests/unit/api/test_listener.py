"""How many connections the read API takes, and for how long, over real TLS."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from stromboli.api import address, listener
from stromboli.api.tokens import serving
from tests.unit.api.test_server import LIMIT, Bed, ask, client_of


class Caller(asyncio.Protocol):
    """Somebody who connects."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()


async def called(home: Path, stack: AsyncExitStack, *, tls: bool = True, says: bytes = b"") -> Caller:
    """A connection on which this is said, and no more, until the stack ends it."""
    found = address.read(home)
    port = int(found.url.rpartition(":")[2])
    context = ssl.create_default_context(cadata=found.authority) if tls else None
    transport, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port, ssl=context)

    async def end() -> None:
        transport.abort()
        await caller.gone.wait()

    stack.push_async_callback(end)
    transport.write(says)
    return caller


async def test_only_so_many_connections_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next waits outside of the operator, and is served when one of them has ended."""
    monkeypatch.setattr(listener, "MOST", 2)
    monkeypatch.setattr(listener, "IDLE", 3600.0)
    bed = Bed()
    async with asyncio.timeout(LIMIT), serving(**bed.parts(tmp_path)), AsyncExitStack() as idle:
        for _ in range(2):
            await called(tmp_path, idle)
        async with client_of(tmp_path) as client:
            asked = asyncio.create_task(ask(client))
            done, _ = await asyncio.wait([asked], timeout=0.2)
            assert not done
            await idle.aclose()
            assert (await asked)[0] == 200


async def test_connections_on_which_nothing_is_asked_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, with TLS or without, whoever asks something is served."""
    monkeypatch.setattr(listener, "MOST", 4)
    monkeypatch.setattr(listener, "IDLE", 0.1)
    monkeypatch.setattr(listener, "HANDSHAKE", 0.5)
    bed = Bed()
    async with asyncio.timeout(LIMIT), serving(**bed.parts(tmp_path)), AsyncExitStack() as stack:
        silent = [await called(tmp_path, stack, tls=False) for _ in range(12)]
        silent.append(await called(tmp_path, stack))
        async with client_of(tmp_path) as client:
            assert (await ask(client))[0] == 200
        for caller in silent:
            await caller.gone.wait()


async def test_a_request_that_never_ends_holds_no_place_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "LIFE", 0.1)
    async with asyncio.timeout(LIMIT), serving(**Bed().parts(tmp_path)), AsyncExitStack() as stack:
        caller = await called(tmp_path, stack, says=b"GET /apis HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        await caller.gone.wait()
