"""The two ways in which requests reach the fake Podman: over a Unix socket, and within the process.

A call within the process costs less than half: nothing is sent, and no HTTP is written or parsed. The client's code is
the same up to its transport, and so are the errors that it sees.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import httpx2
from aiohttp import web

from stromboli.podman.transport import Podman

Body = AsyncGenerator[bytes, None]
Answer = web.Response | Body  # a body that is streamed has the status 200; its headers come with its first piece


class Dropped(Exception):
    """The connection breaks instead of an answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `target` is its path as sent, `match_info` what the route's pattern found in it."""

    method: str
    target: str
    query: httpx2.QueryParams
    body: bytes
    headers: Mapping[str, str]
    match_info: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return unquote(self.target)

    async def json(self) -> Any:
        return json.loads(self.body)


Handle = Callable[[Call], Awaitable[Answer]]


class Routes:
    """Handlers by method and pattern of the path: `{name}` is one segment, `{name:REGEX}` what the regex matches."""

    def __init__(self, *routes: tuple[str, str, str]) -> None:
        self._routes = [(method, re.compile(_regex(path)), handler) for method, path, handler in routes]

    def find(self, call: Call) -> tuple[str, dict[str, str]] | None:
        """The handler's name, and what the pattern found."""
        for method, pattern, handler in self._routes:
            if method == call.method and (found := pattern.fullmatch(call.target)):
                return handler, {name: unquote(value) for name, value in found.groupdict().items()}
        return None


class Served:
    """A server on a Unix socket, from `start` to `stop`."""

    def __init__(self, handle: Handle, socket: Path) -> None:
        self._handle, self._socket = handle, socket
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)

    async def start(self) -> None:
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()
        self._socket.unlink(missing_ok=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = Call(
            request.method,
            request.rel_url.raw_path,
            httpx2.QueryParams(request.query_string),
            await request.read(),
            request.headers,
        )
        try:
            answer = await self._handle(call)
        except Dropped:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if isinstance(answer, web.Response):
            return answer
        response: web.StreamResponse | None = None
        async for piece in answer:
            if response is None:
                response = web.StreamResponse()
                await response.prepare(request)
            await response.write(piece)
        return response or web.Response()


class Within(httpx2.AsyncBaseTransport):
    """A client's transport to a handler in the same process.

    As over a socket, a call takes its whole effect even if the client has gone meanwhile; `cut` breaks all that are
    open. `tasks` has the calls that are being answered.
    """

    def __init__(self, handle: Handle, tasks: set[asyncio.Task[Any]]) -> None:
        self._handle, self._tasks = handle, tasks
        self._open: set[asyncio.Future[None]] = set()

    def cut(self) -> None:
        for waiting in self._open:
            if not waiting.done():
                waiting.set_exception(httpx2.ReadError(""))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        target = request.url.raw_path.decode().partition("?")[0]
        call = Call(request.method, target, request.url.params, await request.aread(), request.headers)
        silence = request.extensions.get("timeout", {}).get("read")
        try:
            async with asyncio.timeout(silence):
                answer = await self.outcome(self._handle(call))
                if isinstance(answer, web.Response):
                    body = httpx2.ByteStream(_bytes(answer))  # which is still to be read, as what comes from a socket
                    return httpx2.Response(answer.status, headers=list(answer.headers.items()), stream=body)
                return httpx2.Response(200, stream=_Stream(self, answer, await self.next(answer)))
        except TimeoutError:
            raise httpx2.ReadTimeout("") from None
        except Dropped:
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.") from None

    async def next(self, body: Body) -> bytes | None:
        """The next piece of a body, which may be empty; None at its end."""
        task = asyncio.ensure_future(_next(body))
        try:
            return cast(bytes | None, await self.outcome(task))
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def outcome(self, work: Awaitable[Any]) -> Any:
        """What it results in, unless the connection breaks before."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open.add(waiting)
        task.add_done_callback(lambda _: None if waiting.done() else waiting.set_result(None))
        try:
            await waiting
        finally:
            self._open.discard(waiting)
        return task.result()


class _Stream(httpx2.AsyncByteStream):
    """The pieces of a body that is streamed; the first has come with the headers."""

    def __init__(self, transport: Within, body: Body, first: bytes | None) -> None:
        self._transport, self._body, self._first = transport, body, first

    async def __aiter__(self) -> AsyncIterator[bytes]:
        piece = self._first
        while piece is not None:
            yield piece
            piece = await self._transport.next(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


def within(transport: Within) -> Podman:
    """A client of the fake in the same process."""
    podman = Podman("/nowhere")
    podman._connection._client._transport = transport
    return podman


async def _next(body: Body) -> bytes | None:
    return await anext(body, None)


def _bytes(answer: web.Response) -> bytes:
    assert answer.body is None or isinstance(answer.body, bytes)
    return answer.body or b""


def _regex(path: str) -> str:
    """A pattern of a route as a regular expression."""
    return re.sub(r"\{(\w+)(?::([^{}]+))?\}", lambda m: f"(?P<{m[1]}>{m[2] or '[^/]+'})", path)
