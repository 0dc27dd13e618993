"""The read API's TCP side: how many connections there may be, and for how long.

A TLS connection takes some 300 KB, whether or not anything is asked on it. So no more than MOST are taken at a time;
whoever comes then waits in the kernel's queue, where it takes nothing of the operator's memory, and is taken when one
of the others has ended, as each of them soon does: one on which nothing is asked, after IDLE seconds.
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
IDLE = 10.0  # seconds until something is asked
LIFE = 90.0  # seconds until the answer has been taken; reading a conversation may take 60
_QUEUE = 128  # connections that wait in the kernel
_AGAIN = 1.0  # seconds after a failure to take one, such as too many open files

Factory = Callable[[], asyncio.BaseProtocol]


@asynccontextmanager
async def listening(factory: Factory, host: str, port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Take connections inside the block, each with a protocol of the factory's; the port. Raises OSError."""
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
        """Take connections until cancelled; those that are open end then."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._room.acquire()
                try:
                    connection, _ = await loop.sock_accept(server)
                except OSError as error:
                    log.warning("the read API cannot take a connection: %s", error)
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
        with contextlib.suppress(OSError):  # whoever it was is gone, or speaks no TLS
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
    """Another protocol, of which it can be waited for that something is asked, and for its end."""

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
