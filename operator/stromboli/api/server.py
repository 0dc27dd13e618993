"""The read API's HTTPS side, which serves the gateway alone.

Whoever asks has been authenticated and authorized by the API server. It lets only the gateway ask (see `keys`), which
finds this operator by the address that is published here. The routes are in `messages`, `images` and `logs`.

Keys and address go through the API server, and while that, or their namespace, is away, the operator does without a
read API, and keeps trying.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Protocol

from aiohttp import web

from stromboli import addresses
from stromboli.api.answers import errors_as_status
from stromboli.backoff import backoff
from stromboli.errors import ClusterUnavailable, Conflict, InvalidSettings, Rejected
from stromboli.keys import contexts
from stromboli.keys.certificates import Leaf
from stromboli.keys.keyring import Keyring
from stromboli.supervision import spawn
from stromboli.tlslistener import Factory, Limits, Listener, bound

log = logging.getLogger(__name__)

# Each follower of a log has a connection, and what else the gateway asks is short.
LIMITS = Limits(most=256, idle=10.0, strangers=64)
AGAIN = 30.0  # seconds between two looks at whether keys and address are still as they were
_SHUTDOWN_SECONDS = 1.0
_EVERYWHERE = ("0.0.0.0", "::")


class Routes(Protocol):
    """One of the modules with routes."""

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add its routes."""


class Directory(Protocol):
    """Where the gateway looks operators up. Raises Conflict, Rejected, ClusterUnavailable."""

    async def publish(self, node: str, address: str) -> None:
        """Say where a node's operator listens, unless that is known."""


@asynccontextmanager
async def serving(
    routes: Sequence[Routes],
    keyring: Keyring,
    directory: Directory,
    *,
    node: str,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve inside the block, as soon as there are keys. Yields `host:port`. Port 0 picks a free one.

    Raises InvalidSettings if the operator cannot listen on the address.
    """
    if host in _EVERYWHERE:
        raise InvalidSettings(
            f"{host} is no address at which the gateway could find the operator; name one of the node or the Pod",
            "STROMBOLI_API_ADDRESS",
        )
    tls = _TLS(keyring)
    listener = Listener(tls.context, LIMITS)
    app = web.Application(middlewares=[listener.middleware, errors_as_status])
    for each in routes:
        each.add_to(app.router)
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,  # a client that is gone ends what is read for it
        keepalive_timeout=LIMITS.idle,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None, "the runner was set up"
        try:
            server = await stack.enter_async_context(bound(host, port))
        except OSError as e:
            raise InvalidSettings(
                f"cannot listen on {host}:{port} ({e.strerror}); choose another address", "STROMBOLI_API_ADDRESS"
            ) from e
        address = addresses.to_text(host, server.getsockname()[1])
        working = spawn(
            _serve(tls, listener, server, runner.server, partial(directory.publish, node, address)), "read API"
        )
        try:
            yield address
        finally:
            working.cancel()
            await asyncio.wait([working])


async def _serve(
    tls: _TLS, listener: Listener, server: socket.socket, factory: Factory, publish: Callable[[], Awaitable[None]]
) -> None:
    """Wait for keys; then serve, with the address published, and look after both for ever."""

    async def look_after() -> None:
        await tls.renew()
        await publish()

    attempts = _Attempts()
    async with AsyncExitStack() as stack:
        accepting = False
        while True:
            if not accepting and await attempts.of(tls.renew):
                await stack.enter_async_context(listener.accepting(server, factory))
                log.info("the read API is at port %d", server.getsockname()[1])
                accepting = True
            through = accepting and await attempts.of(look_after)
            await asyncio.sleep(AGAIN if through else attempts.delay)


class _TLS:
    """The context for new connections."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._context: ssl.SSLContext | None = None
        self._leaf: Leaf | None = None

    def context(self) -> ssl.SSLContext:
        assert self._context is not None, "nothing is served before there are keys"
        return self._context

    async def renew(self) -> None:
        await self._keyring.refresh()
        if self._leaf is not self._keyring.leaf:
            self._context = contexts.server(self._keyring.leaf, self._keyring.authority, required=True)
            self._leaf = self._keyring.leaf


class _Attempts:
    """Attempts at what needs the API server; a failure is logged unless it is the same as before."""

    def __init__(self) -> None:
        self._failures = 0
        self._said = ""

    @property
    def delay(self) -> float:
        """Seconds until the next attempt after a failure."""
        return backoff(self._failures)

    async def of(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it succeeded."""
        try:
            await work()
        except (ClusterUnavailable, Conflict, Rejected) as error:
            self._failures += 1
            if self._said != str(error):
                log.warning("the read API waits: %s", error)
            self._said = str(error)
            return False
        self._failures, self._said = 0, ""
        return True
