"""Routes of the read API, served without TLS: who may ask is decided before a request comes to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
from aiohttp import web

from stromboli.api.answers import errors_as_status
from stromboli.api.server import Routes

LIMIT = 20.0


@asynccontextmanager
async def client_of(*routes: Routes) -> AsyncIterator[httpx.AsyncClient]:
    """A client of these routes."""
    app = web.Application(middlewares=[errors_as_status])
    for each in routes:
        each.add_to(app.router)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=LIMIT) as client:
            yield client
    finally:
        await runner.cleanup()


async def ask(client: httpx.AsyncClient, where: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    """The answer, a document; every error is a Status with its sentence."""
    response = await client.request(method, where)
    assert response.headers["Content-Type"].startswith("application/json")
    told = response.json()
    if response.status_code >= 400:
        assert (told["kind"], told["code"]) == ("Status", response.status_code)
    return response.status_code, told
