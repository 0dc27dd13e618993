"""A proxy before the API server that loses answers: what a caller has asked for is done, and the caller never knows."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from stromboli.kube import kubeconfig

PATIENCE = 60.0
_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "host", "keep-alive"}


@dataclass
class Trap:
    """The answer to the `nth` request of whoever has the token is lost, after `then` was called. `asked` has all."""

    nth: int
    then: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)
    _sprung: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> str:
        """The request whose answer was lost, once it was."""
        assert self._sprung.wait(PATIENCE), f"in {PATIENCE:.0f} s there were fewer than {self.nth} calls: {self.asked}"
        return self.asked[self.nth - 1]

    def takes(self, request: str) -> bool:
        """Whether it is the answer to this request."""
        self.asked.append(request)
        if len(self.asked) != self.nth:
            return False
        self.then()
        self._sprung.set()
        return True


@dataclass
class Meddler:
    """Passes on requests and answers; `traps` by the tokens of their callers."""

    server: str
    port: int = 0
    traps: dict[str, Trap] = field(default_factory=dict)

    def lose(self, token: str, nth: int, then: Callable[[], None] = lambda: None) -> Trap:
        """Set a trap."""
        self.traps[token] = Trap(nth, then)
        return self.traps[token]

    def config(self, like: Path, path: Path) -> Path:
        """Write a kubeconfig with that one's user, for a client of the proxy. Returns its path."""
        document = json.loads(like.read_text())
        for each in document["clusters"]:
            each["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        path.write_text(json.dumps(document))
        return path

    def takes(self, request: web.Request) -> bool:
        """Whether the answer to this request is to be lost."""
        _, _, token = request.headers.get("Authorization", "").partition("Bearer ")
        return token in self.traps and self.traps[token].takes(f"{request.method} {request.path_qs}")


@contextmanager
def meddling(like: Path) -> Iterator[Meddler]:
    """A proxy before the cluster of that kubeconfig, serving inside the block."""
    place = kubeconfig.read([like])
    meddler = Meddler(place.server)
    begun, ends = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with _serving(meddler, ssl.create_default_context(cadata=place.authority.decode())):
            begun.set()
            await ends.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert begun.wait(PATIENCE), "the proxy has not begun"
        yield meddler
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join()
        loop.close()


@asynccontextmanager
async def _serving(meddler: Meddler, context: ssl.SSLContext) -> AsyncIterator[None]:
    connector = TCPConnector(ssl=context, limit=0)
    async with ClientSession(connector=connector, timeout=ClientTimeout(), auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
            url = meddler.server + request.raw_path
            call = session.request(request.method, url, headers=headers, data=await request.read())
            with suppress(ConnectionError):  # whoever asked may be dead
                async with call as answer:
                    if meddler.takes(request):
                        assert request.transport is not None
                        request.transport.abort()
                        return web.Response()
                    kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
                    response = web.StreamResponse(status=answer.status, headers=kept)
                    await response.prepare(request)
                    async for piece in answer.content.iter_any():
                        await response.write(piece)
                    return response
            return web.Response()

        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            meddler.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()
