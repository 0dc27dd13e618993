"""How many connections are taken, and what ends one, over real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from stromboli import tlslistener
from stromboli.keys import contexts, sign
from stromboli.keys.certificates import Leaf
from stromboli.tlslistener import Limits, Listener, bound

LIMIT = 20.0
ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
AUTHORITY = sign.authority(datetime.now(UTC))


def leaf() -> Leaf:
    now = datetime.now(UTC)
    made = sign.leaf({"authority": AUTHORITY, "common": "both", "hosts": ["localhost"], "client": True}, now)
    return Leaf(made["chain"], now, now)


def server_context() -> ssl.SSLContext:
    return contexts.server(leaf(), AUTHORITY["certificate"], required=False)


@asynccontextmanager
async def serving(handler: Callable[[web.Request], object], limits: Limits) -> AsyncIterator[int]:
    listener, context = Listener(lambda: context, limits), server_context()
    app = web.Application(middlewares=[listener.middleware])
    app.router.add_get("/", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    assert runner.server is not None
    async with asyncio.timeout(LIMIT), bound("127.0.0.1", 0) as server:
        async with listener.accepting(server, runner.server):
            yield server.getsockname()[1]
        await runner.cleanup()


class Caller:
    """A client with one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connected(cls, port: int, stack: AsyncExitStack, *, known: bool = False) -> Caller:
        """With a certificate of its own if it is `known`."""
        if known:
            context = contexts.client(leaf(), AUTHORITY["certificate"])
        else:
            context = ssl.create_default_context(cadata=AUTHORITY["certificate"])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")

        async def close() -> None:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        stack.push_async_callback(close)
        return cls(reader, writer)

    async def asks(self, text: bytes = ASKED) -> bytes:
        """The status line, and all that comes with it."""
        self._writer.write(text)
        line = await self._reader.readline()
        while (await self._reader.readline()).strip():
            pass
        return line

    def says(self, text: bytes) -> None:
        self._writer.write(text)

    async def gone(self) -> bool:
        """Whether the server ends the connection, and says nothing."""
        try:
            return await self._reader.read() == b""
        except ConnectionError:
            return True


async def hello(request: web.Request) -> web.Response:
    return web.Response()


async def test_only_so_many_are_taken_and_others_wait() -> None:
    async with serving(hello, Limits(2, 60.0)) as port, AsyncExitStack() as stack:
        async with AsyncExitStack() as idle:
            for _ in range(2):
                await Caller.connected(port, idle)
            third = asyncio.create_task(Caller.connected(port, stack))
            done, _ = await asyncio.wait([third], timeout=0.2)
            assert not done
        assert b"200" in await (await third).asks()


async def test_strangers_leave_room_for_those_with_a_certificate() -> None:
    async with serving(hello, Limits(6, 60.0, strangers=3)) as port, AsyncExitStack() as stack:
        first = await Caller.connected(port, stack, known=True)
        assert b"200" in await first.asks()
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]  # not even a handshake
        strangers = [await Caller.connected(port, stack) for _ in range(20)]
        others = [await Caller.connected(port, stack, known=True) for _ in range(2)]
        for known in (first, *others):
            assert b"200" in await known.asks()
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        for early in strangers[:-3]:
            assert await early.gone()
        assert b"200" in await strangers[-1].asks(), "the others made room for two handshakes"


async def test_an_idle_one_is_ended_before_and_after_a_request() -> None:
    async with serving(hello, Limits(4, 0.2)) as port, AsyncExitStack() as stack:
        silent, other = await Caller.connected(port, stack), await Caller.connected(port, stack)
        assert b"200" in await other.asks()
        assert await silent.gone()
        assert await other.gone()


async def test_a_request_that_never_ends_is_no_request() -> None:
    async with serving(hello, Limits(4, 0.3)) as port, AsyncExitStack() as stack:
        slow = await Caller.connected(port, stack)
        slow.says(ASKED[:-2])
        assert await slow.gone()
    async with serving(hello, Limits(4, 60.0)) as port, AsyncExitStack() as stack:
        long = await Caller.connected(port, stack)
        long.says(ASKED[:-2] + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 4000) for n in range(100)))
        assert await long.gone()


async def test_an_answer_may_last() -> None:
    go_on = asyncio.Event()

    async def lasting(request: web.Request) -> web.Response:
        await go_on.wait()
        return web.Response()

    async with serving(lasting, Limits(4, 0.1)) as port, AsyncExitStack() as stack:
        caller = await Caller.connected(port, stack)
        asking = asyncio.create_task(caller.asks())
        done, _ = await asyncio.wait([asking], timeout=0.5)
        assert not done
        go_on.set()
        assert b"200" in await asking


async def test_who_stops_reading_is_cut_off_and_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlslistener, "STALLED", 0.3)
    written = 0
    over = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 8192)
                written += 8192
        finally:
            over.set()

    async with serving(endless, Limits(4, 60.0)) as port, AsyncExitStack() as stack:
        caller = await Caller.connected(port, stack)
        assert b"200" in await caller.asks()
        await over.wait()
        assert written < 16 * 1024 * 1024, "the kernel's buffers, and little more"


async def test_a_client_that_is_gone_ends_what_is_done_for_it() -> None:
    begun, over = asyncio.Event(), asyncio.Event()

    async def lasting(request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            over.set()
        return web.Response()

    async with serving(lasting, Limits(4, 60.0)) as port:
        async with AsyncExitStack() as stack:
            (await Caller.connected(port, stack)).says(ASKED)
            await begun.wait()
        await over.wait()


async def test_an_answer_for_a_client_that_is_gone_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """What is written then fails at once; if it were the operator's fault, its log would have a traceback."""
    ended = asyncio.Event()

    async def answering(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        assert request.transport is not None
        request.transport.close()
        try:
            await response.write_eof()
        finally:
            ended.set()
        return response

    async with serving(answering, Limits(4, 60.0)) as port, AsyncExitStack() as stack:
        caller = await Caller.connected(port, stack)
        caller.says(ASKED)
        await ended.wait()
        await caller.gone()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_does_not_speak_tls_takes_no_place() -> None:
    async with serving(hello, Limits(1, 60.0)) as port, AsyncExitStack() as stack:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ASKED)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        assert b"200" in await (await Caller.connected(port, stack)).asks()
