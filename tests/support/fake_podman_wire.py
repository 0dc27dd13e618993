"""The two ways in which requests reach the fake Podman: over a Unix socket, and within the process.

A call within the process costs less than half: nothing is sent, and no HTTP is written or parsed. All of the client's
code runs but `httpclient.Http`, whose place `Within` takes, and whose errors it raises.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import unquote

import msgspec
from aiohttp import web
from multidict import MultiDict, MultiMapping

from stromboli import httpclient
from stromboli.errors import HttpFailed, HttpSilent
from stromboli.podman.processes import Processes
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
    query: MultiMapping[str]
    body: bytes
    headers: Mapping[str, str]
    match_info: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return unquote(self.target)

    async def json(self) -> Any:
        return json.loads(self.body)


def in_json(value: object, status: int = 200) -> web.Response:
    """As `web.json_response`, in a tenth of its time: half of all answers are in JSON."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


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
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)

    async def start(self) -> None:
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._socket)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()
        self._socket.unlink(missing_ok=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.method, request.rel_url.raw_path, request.query, await request.read(), request.headers)
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


class Within:
    """`httpclient.Http` to a handler in the same process.

    As over a socket, a call takes its whole effect even if the client has gone meanwhile; `cut` breaks all that are
    open. `tasks` has the calls that are being answered.
    """

    def __init__(self, handle: Handle, tasks: set[asyncio.Task[Any]], processes: Processes) -> None:
        self._handle, self._tasks, self.processes = handle, tasks, processes
        self._open: set[asyncio.Future[None]] = set()

    def cut(self) -> None:
        for waiting in self._open:
            if not waiting.done():
                waiting.set_exception(HttpFailed("the connection was cut"))

    async def close(self) -> None:
        return

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: httpclient.Query | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        silence: float | None = None,
        **_: Any,
    ) -> AsyncIterator[httpclient.Answer]:
        call = Call(method, path, MultiDict(_pairs(query or {})), body or b"", headers or {})
        try:
            async with asyncio.timeout(silence):
                answer = await self.outcome(self._handle(call))
                first = None if isinstance(answer, web.Response) else await self.next(answer)
        except TimeoutError:
            raise HttpSilent(f"no answer within {silence or 0:.0f} s") from None
        except Dropped:
            raise HttpFailed("Server disconnected") from None
        if isinstance(answer, web.Response):
            yield httpclient.Answer(answer.status, answer.headers, _Pieces(self, None, _bytes(answer) or None))
            return
        try:
            yield httpclient.Answer(200, {}, _Pieces(self, answer, first))
        finally:
            await answer.aclose()

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


class _Pieces:
    """The pieces of a body; the first has come with the headers, and more only with a body that is streamed."""

    def __init__(self, within: Within, body: Body | None, first: bytes | None) -> None:
        self._within, self._body, self._first = within, body, first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece, self._first = self._first, None
        while not piece:
            if self._body is None or (piece := await self._within.next(self._body)) is None:
                raise StopAsyncIteration
        return piece


def within(transport: Within) -> Podman:
    """A client of the fake in the same process."""
    podman = Podman("/nowhere", processes=transport.processes)
    podman._connection._http = transport  # type: ignore[assignment]
    return podman


async def _next(body: Body) -> bytes | None:
    return await anext(body, None)


def _pairs(query: httpclient.Query) -> Iterator[tuple[str, str]]:
    return ((name, each) for name, value in query.items() for each in ([value] if isinstance(value, str) else value))


def _bytes(answer: web.Response) -> bytes:
    assert answer.body is None or isinstance(answer.body, bytes)
    return answer.body or b""


def _regex(path: str) -> str:
    """A pattern of a route as a regular expression."""
    return re.sub(r"\{(\w+)(?::([^{}]+))?\}", lambda m: f"(?P<{m[1]}>{m[2] or '[^/]+'})", path)
