"""A TCP proxy that can stop passing bytes while its connections stay open, as one in between might."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PIECE = 65536


class Proxy:
    """Passes bytes on to `host:port`; while `flowing` is cleared, it reads and sends nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._ends: set[asyncio.Task[None]] = set()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.accepted = 0
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._ends:
                task.cancel()
            await asyncio.gather(*self._ends, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there, back = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(PIECE):
                await self.flowing.wait()
                sink.write(piece)
                await sink.drain()
        except OSError:
            pass  # one side is gone
        finally:
            sink.close()
