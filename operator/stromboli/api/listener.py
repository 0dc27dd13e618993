"""The read API's TCP side: limits the number of connections and their duration.

A TLS connection takes some 300 KB of memory even when idle. So at most MOST connections are accepted at a time. Further
clients wait in the kernel's backlog, which takes none of the operator's memory, until a connection closes. Every
connection is closed soon: after IDLE seconds without a request, or LIFE seconds after the first one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from stromboli.supervision import spawn

log = logging.getLogger(__name__)

MOST = 32
HANDSHAKE = 5.0  # seconds
IDLE = 10.0  # seconds until the first request
LIFE = 90.0  # seconds from then until it is closed; reading a conversation may take 60
_QUEUE = 128  # backlog: connections that wait in the kernel
_AGAIN = 1.0  # seconds to wait after a failed accept, such as too many open files

Factory = Callable[[], asyncio.BaseProtocol]


@asynccontextmanager
async def listening(factory: Factory, host: str, port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Accept connections inside the block, each with a protocol from `factory`. Yields the port. Raises OSError."""
    loop = asyncio.get_running_loop()
    [family, _, _, _, where], *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with socket.create_server((where[0], where[1]), family=family, backlog=_QUEUE) as server:
        server.setblocking(False)
        accepting = spawn(_Listener(factory, context).accept(server), "read API")
        try:
            yield server.getsockname()[1]
        finally:
            accepting.cancel()
            await asyncio.wait([accepting])


class _Listener:
    def __init__(self, factory: Factory, context: ssl.SSLContext) -> None:
        self._factory = factory
        self._context = context
        self._room = asyncio.Semaphore(MOST)
        self._serving: set[asyncio.Task[None]] = set()

    async def accept(self, server: socket.socket) -> None:
        """Accept connections until cancelled; open ones are closed then."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._room.acquire()
                try:
                    connection, _ = await loop.sock_accept(server)
                except OSError as error:
                    log.warning("the read API cannot accept a connection: %s", error)
                    self._room.release()
                    await asyncio.sleep(_AGAIN)
                    continue
                task = spawn(self._serve(connection), "a connection of the read API")
                self._serving.add(task)
                task.add_done_callback(self._ended)
        finally:
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._room.release()

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # the client is gone, or does not speak TLS
            transport, watched = await loop.connect_accepted_socket(
                lambda: _Watched(self._factory()),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE,
                ssl_shutdown_timeout=HANDSHAKE,
            )
            try:
                async with asyncio.timeout(IDLE):
                    await watched.asked.wait()
                async with asyncio.timeout(LIFE):
                    await watched.gone.wait()
            finally:
                transport.abort()
                await watched.gone.wait()


class _Watched(asyncio.Protocol):
    """Wraps a protocol, with events for the first data received (`asked`) and for the end (`gone`)."""

    def __init__(self, inner: asyncio.BaseProtocol) -> None:
        self._inner = cast(asyncio.Protocol, inner)
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.asked.set()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.asked.set()
        self.gone.set()
        self._inner.connection_lost(error)
