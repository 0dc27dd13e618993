"""The read API for clients that come with a token of the cluster and the address in `api.json`: until all of them ask
the API server instead.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiohttp import web

from stromboli.api import address, listener
from stromboli.api.answers import errors_as_json
from stromboli.api.authorise import Asked, Authorizer
from stromboli.api.certificate import Certificate, server_context
from stromboli.api.images import Finder, ImageRoutes
from stromboli.api.messages import Lookup, Messages, Read
from stromboli.errors import InvalidSettings

log = logging.getLogger(__name__)

_SHUTDOWN_SECONDS = 1.0
_KEEP_ALIVE = 5.0  # seconds between two requests on a connection
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@asynccontextmanager
async def serving(
    *,
    reviews: Asked,
    lookup: Lookup,
    read: Read,
    discovery: Finder,
    home: Path,
    certificate: Certificate,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve inside the block, with the address in `api.json` in `home`. Yields the URL. Port 0 picks a free one.

    Raises InvalidSettings if the operator cannot listen on the address.
    """
    authorizer = Authorizer(reviews)
    app = web.Application(middlewares=[errors_as_json])
    Messages(authorizer, lookup, read).add_to(app.router)
    ImageRoutes(authorizer, discovery).add_to(app.router)
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=_KEEP_ALIVE,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        async with _listening(runner, host, port, certificate) as url:
            try:
                _publish(home, address.Address(url, certificate.authority))
                yield url
            finally:
                address.remove(home)
    finally:
        await runner.cleanup()


def _publish(home: Path, where: address.Address) -> None:
    """Write `api.json`, best effort: only the command line needs it, so a full disk must not stop the operator."""
    try:
        address.write(home, where)
        log.info("the read API is at %s", where.url)
    except OSError as error:
        log.warning("the read API is at %s, but %s cannot be written: %s", where.url, address.FILE, error.strerror)


@asynccontextmanager
async def _listening(runner: web.AppRunner, host: str, port: int, certificate: Certificate) -> AsyncIterator[str]:
    """Listen inside the block. Yields the URL. Raises InvalidSettings."""
    assert runner.server is not None, "the runner was set up"
    async with AsyncExitStack() as stack:
        try:
            context = server_context(certificate)
            taken = await stack.enter_async_context(listener.listening(runner.server, host, port, context))
        except OSError as e:
            raise InvalidSettings(
                f"cannot listen on {host}:{port} ({e.strerror}); choose another address", "STROMBOLI_API_ADDRESS"
            ) from e
        reached = _EVERYWHERE.get(host, host)
        yield f"https://{f'[{reached}]' if ':' in reached else reached}:{taken}"
