"""The operator's read API on a port, as users see it behind the API server, which has let them through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from stromboli.api.answers import errors_as_status
from stromboli.api.errors import Declined
from stromboli.api.server import Routes

LIMIT = 20.0


class ReadAPI:
    """Some of the routes; without any, it is an API server that knows no read API."""

    def __init__(self, *routes: Routes) -> None:
        self._routes = routes
        self._refusal: Declined | None = None
        self.url = ""

    def refuse(self, status: int, message: str) -> None:
        """What the API server says from now on."""
        self._refusal = Declined(status, message, "Forbidden" if status == 403 else "Unauthorized")

    @contextmanager
    def serving(self) -> Iterator[ReadAPI]:
        """In a thread, as the command blocks."""
        loop, entered, leave = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

        async def serve() -> None:
            runner = web.AppRunner(self._app(), shutdown_timeout=1.0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            entered.set()
            await leave.wait()
            await runner.cleanup()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        try:
            assert entered.wait(LIMIT), "the server has started"
            yield self
        finally:
            loop.call_soon_threadsafe(leave.set)
            thread.join(LIMIT)
            assert not thread.is_alive(), "the server has ended"
            loop.close()

    def _app(self) -> web.Application:
        @web.middleware
        async def refusing(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if self._refusal is not None:
                raise self._refusal
            return await handler(request)

        app = web.Application(middlewares=[errors_as_status, refusing] if self._routes else [])
        for each in self._routes:
            each.add_to(app.router)
        return app
