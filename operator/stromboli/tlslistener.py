"""A server's TLS side: limits of connections, of what each may send, and of the time without progress.

A TLS connection takes memory even when idle. So at most so many are accepted at a time; further clients wait in the
kernel's backlog, which takes none of ours, until a connection closes. Whoever reaches the port could take all of them,
so only a part is for strangers, who have shown no certificate: of more of those, the oldest is closed.

A connection is closed if no request comes on it for a while, if what comes is too long to be one, and if the other side
stops reading; but not because an answer lasts, since a log is followed for as long as its run takes. A peer that is
gone without a word is noticed by TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from stromboli.keepalive import notice_absence
from stromboli.supervision import spawn

log = logging.getLogger(__name__)

HANDSHAKE = 5.0  # seconds
STALLED = 120.0  # seconds in which the other side reads less than `_UNSENT`
_QUEUE = 128  # backlog: connections that wait in the kernel
_AGAIN = 1.0  # seconds to wait after a failed accept, such as too many open files
_UNSENT = 64 * 1024  # bytes of an answer that wait for the other side, beyond which whoever writes it waits
_UNASKED = 256 * 1024  # bytes without a whole request; a user's groups, each in a header, can be many
# What asyncio has ready for the next bytes of each connection, used or not; a TLS record has 16 KiB at most.
sslproto.SSLProtocol.max_size = 32 * 1024

Factory = Callable[[], asyncio.BaseProtocol]
Context = Callable[[], ssl.SSLContext]


@dataclass(frozen=True, slots=True)
class Limits:
    """`most` connections, of which `strangers` without a client's certificate, or still in their handshake, if there is
    a limit for those; each is closed after `idle` seconds without a request.
    """

    most: int
    idle: float
    strangers: int | None = None


@asynccontextmanager
async def bound(host: str, port: int) -> AsyncIterator[socket.socket]:
    """A listening socket, from which nothing is accepted yet. Raises OSError."""
    loop = asyncio.get_running_loop()
    [family, _, _, _, where], *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with socket.create_server((where[0], where[1]), family=family, backlog=_QUEUE) as server:
        server.setblocking(False)
        yield server


class Listener:
    """Accepts connections, each with a protocol from `factory` and with what `context` returns then."""

    def __init__(self, context: Context, limits: Limits) -> None:
        self._context = context
        self._limits = limits
        self._room = asyncio.Semaphore(limits.most)
        self._serving: set[asyncio.Task[None]] = set()
        self._strangers: dict[asyncio.Task[None], None] = {}  # of those, the oldest first
        self._watched: dict[asyncio.BaseProtocol, _Watched] = {}

    @asynccontextmanager
    async def accepting(self, server: socket.socket, factory: Factory) -> AsyncIterator[None]:
        """Accept connections inside the block; those that are open at its end are closed."""
        task = spawn(self._accept(server, factory), "the listener")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """The outermost middleware of the application: while a request is answered, its connection is not idle."""
        watched = self._watched.get(request.protocol)
        with watched.busy() if watched is not None else contextlib.nullcontext():
            try:
                return await handler(request)
            except ConnectionError:
                # aiohttp would report it as a failure of ours. Whatever is answered now, nobody gets it.
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()

    async def _accept(self, server: socket.socket, factory: Factory) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._room.acquire()
                try:
                    connection, _ = await loop.sock_accept(server)
                except OSError as error:
                    log.warning("a connection cannot be accepted: %s", error)
                    self._room.release()
                    await asyncio.sleep(_AGAIN)
                    continue
                task = spawn(self._serve(connection, factory), "a connection")
                self._serving.add(task)
                self._strangers[task] = None
                task.add_done_callback(self._ended)
                await asyncio.sleep(0)  # it begins; accepting alone gives nobody a turn while there are more
                self._turn_away()
        finally:
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._strangers.pop(task, None)
        self._room.release()

    def _turn_away(self) -> None:
        """Close the oldest of too many strangers: a peer with a certificate is none after a moment."""
        if self._limits.strangers is not None and len(self._strangers) > self._limits.strangers:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.cancel()

    async def _serve(self, connection: socket.socket, factory: Factory) -> None:
        inner = factory()
        watched = self._watched[inner] = _Watched(inner)
        try:
            with contextlib.suppress(OSError):  # the client is gone, asks nothing, or does not speak TLS
                await self._watch(connection, watched)
        finally:
            del self._watched[inner]

    async def _watch(self, connection: socket.socket, watched: _Watched) -> None:
        notice_absence(connection)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: watched,
            connection,
            ssl=self._context(),
            ssl_handshake_timeout=HANDSHAKE,
            ssl_shutdown_timeout=HANDSHAKE,
        )
        try:
            if transport.get_extra_info("peercert"):
                self._strangers.pop(cast("asyncio.Task[None]", asyncio.current_task()), None)
            while not watched.gone.is_set():
                async with asyncio.timeout(self._limits.idle):
                    await watched.asked.wait()
                await watched.idle.wait()
        finally:
            transport.abort()
            await watched.gone.wait()


class _Watched(asyncio.Protocol):
    """Wraps a protocol. While a request is answered, `asked` is set, and otherwise `idle`; both at the end (`gone`)."""

    def __init__(self, inner: asyncio.BaseProtocol) -> None:
        self._inner = cast(asyncio.Protocol, inner)
        self._transport: asyncio.Transport | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._unasked = 0
        self.asked, self.idle, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.idle.set()

    @contextmanager
    def busy(self) -> Iterator[None]:
        self._unasked = 0
        self.idle.clear()
        self.asked.set()
        try:
            yield
        finally:
            if not self.gone.is_set():
                self.asked.clear()
            self.idle.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_UNSENT)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.idle.is_set():
            self._unasked += len(data)
            if self._unasked > _UNASKED:
                self._abort()
                return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._stalled = asyncio.get_running_loop().call_later(STALLED, self._abort)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._go_on()
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._go_on()
        for event in (self.gone, self.asked, self.idle):
            event.set()
        self._inner.connection_lost(error)

    def _go_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
