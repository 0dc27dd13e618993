"""HTTP calls to one server over aiohttp. What is asked of Podman and of the API server is in `podman` and `kube`.

Short calls share a few connections, which are kept. A call that finds all of them taken, or that may take long, has a
connection of its own, which is closed after it. So no call ever waits for another, and few connections are idle.

A call is sent once. Only a GET or HEAD is sent again, if it broke off on a connection that had been kept: the server
may have closed that before the call. Any other call may have taken effect.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from stromboli.errors import HttpFailed, HttpSilent, HttpUnsent

Query = Mapping[str, str | Sequence[str]]

IDLE = 60.0  # seconds for which an idle connection is kept
# Bytes of one header: a path and a link's target, of 4 KiB each, may be escaped twice in one of Podman's.
_HEADER = 128 * 1024
_SAFE = ("GET", "HEAD")
_FAILURES = (aiohttp.ClientError, OSError, ValueError)  # ValueError: a header that cannot be sent
_AT_ONCE = 256 * 1024  # bytes of a body; a longer one is sent in pieces, between which others have their turn


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The content, with U+FFFD where it is not UTF-8."""
        return self.content.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body is still to be read, once. Raises HttpFailed where it breaks off, HttpSilent."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]

    async def read(self, most: int | None = None) -> bytes:
        """The whole body, or of a longer one its first `most` + 1 bytes or a few more."""
        pieces, size = [], 0
        async for piece in self.chunks:
            pieces.append(piece)
            size += len(piece)
            if most is not None and size > most:
                break
        return b"".join(pieces)

    async def lines(self, most: int) -> AsyncGenerator[bytes, None]:
        """The body's lines without their ends, as they arrive; of one longer than `most`, only the beginning."""
        begun: list[bytes] = []
        size = 0
        async for chunk in self.chunks:
            whole, newline, rest = chunk.rpartition(b"\n")
            if newline:
                for line in b"".join((*begun, whole)).split(b"\n"):
                    yield line
                begun, size = [], 0
            begun.append(rest)
            size += len(rest)
            if size > most:
                break
        if last := b"".join(begun):
            yield last


class Http:
    """The calls to one server. Bound to the event loop in which it is first used.

    `base` precedes every path; `connector` makes one of aiohttp's connectors, `kept` is the most connections that are
    kept, and `connect` the longest wait for a new one, in seconds.
    """

    def __init__(
        self, base: str, connector: Callable[..., aiohttp.BaseConnector], *, kept: int, connect: float
    ) -> None:
        self._base = str(URL(base)).rstrip("/")
        self._connector = connector
        self._most_kept = kept
        self._connect = connect
        self._busy = 0  # connections of `_keeping` that a call has
        self._keeping: aiohttp.ClientSession | None = None
        self._closing: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections; pending calls fail."""
        for session in (self._keeping, self._closing):
            if session is not None:
                await session.close()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | BinaryIO | None = None,
        silence: float | None = None,
        short: bool = False,
    ) -> AsyncIterator[Answer]:
        """Make one call; leaving the block before the body was read closes the connection.

        A `body` that is a file is sent as it is read.
        `path` is quoted already, `silence` the longest wait for the next byte, in seconds, and None no limit. A call
        that is `short` may use a connection that is kept. Raises HttpFailed, and HttpSilent after `silence`.
        """
        keep = short and self._busy < self._most_kept
        used: list[None] = []
        url = f"{self._base}{path}"
        if query:
            url += f"?{urlencode(query, doseq=True, quote_via=quote, safe='')}"
        self._busy += keep
        try:
            try:
                response = await self._begun(self._session(keep), method, url, headers, body, silence, used)
            except HttpSilent:
                raise
            except HttpFailed:
                if not used or method not in _SAFE:
                    raise
                response = await self._begun(self._session(False), method, url, headers, body, silence, used)
            try:
                yield Answer(response.status, response.headers, _Chunks(response.content, silence))
            finally:
                response.close()  # no more than a formality if the body has been read
        finally:
            self._busy -= keep

    async def _begun(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | BinaryIO | None,
        silence: float | None,
        used: list[None],
    ) -> aiohttp.ClientResponse:
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._connect, sock_read=silence)
        # aiohttp itself waits without a limit for a server that stops reading the body.
        sent = None if silence is None else self._connect + 2 * silence
        try:
            async with asyncio.timeout(sent):
                return await session.request(
                    method,
                    URL(url, encoded=True),
                    headers=headers,
                    data=io.BytesIO(body) if isinstance(body, bytes) and len(body) > _AT_ONCE else body,
                    timeout=limits,
                    allow_redirects=False,
                    trace_request_ctx=used,
                )
        except _FAILURES as error:
            raise failure(error, silence) from error
        except _Broken as broken:
            raise failure(broken.args[0], silence) from broken

    def _session(self, keep: bool) -> aiohttp.ClientSession:
        if keep:
            if self._keeping is None:
                self._keeping = _session(self._connector(limit=0, keepalive_timeout=IDLE))
            return self._keeping
        if self._closing is None:
            self._closing = _session(self._connector(limit=0, force_close=True))
        return self._closing


class _Chunks:
    """A body in pieces, as they arrive."""

    def __init__(self, content: aiohttp.StreamReader, silence: float | None) -> None:
        self._content = content
        self._silence = silence

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content.readany()
        except _FAILURES as error:
            raise failure(error, self._silence) from error
        if not chunk:
            raise StopAsyncIteration
        return chunk


class _Broken(Exception):
    """A failure, as none of aiohttp's own."""


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware without which aiohttp itself would repeat some calls, on whatever connection they failed."""
    try:
        return await send(request)
    except _FAILURES as error:
        raise _Broken(error) from error


def _tracing() -> aiohttp.TraceConfig:
    """Notes in a call's context that its connection had been kept."""

    async def note(_: aiohttp.ClientSession, context: Any, __: aiohttp.TraceConnectionReuseconnParams) -> None:
        context.trace_request_ctx.append(None)

    traces = aiohttp.TraceConfig()
    traces.on_connection_reuseconn.append(note)
    return traces


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        headers={"Accept-Encoding": "identity"},
        skip_auto_headers=("Content-Type",),
        trace_configs=[_tracing()],
        middlewares=[_once],
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        max_line_size=_HEADER,
        max_field_size=_HEADER,
    )


def failure(error: Exception, silence: float | None) -> HttpFailed:
    """An error of aiohttp, or of the system, as ours; `silence` is the longest wait that there was, in seconds."""
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return HttpSilent(f"no answer within {silence or 0:.0f} s")
    # aiohttp's own text for a failed connection repeats the address and its own options.
    why: Any = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return (HttpUnsent if unsent else HttpFailed)(str(why) or type(error).__name__)
