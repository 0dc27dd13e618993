"""Passes a request on to an operator by mutual TLS, and its answer back as it comes.

Nothing of an answer is kept: the operator is read as fast as the client reads. A client that is gone ends the call to
the operator. Headers that concern one connection only stay with it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from yarl import URL

from stromboli import bounds
from stromboli.api.errors import Declined
from stromboli.api.readiness import READYZ
from stromboli.gateway.routes import Asked
from stromboli.httpclient import failure
from stromboli.keepalive import notice_absence
from stromboli.naming import operator_host

log = logging.getLogger(__name__)

CONNECT = 5.0  # seconds for a connection with its TLS handshake
SILENCE = 60.0  # seconds without a byte of an answer that follows nothing, as for the API server
# What an operator says in headers that is for the client.
_PASSED = (
    "Content-Type",
    "X-Content-Type-Options",
    "Cache-Control",
    "Stromboli-Attempt",
    "Stromboli-Offset",
    "Stromboli-State",
)
_PROBLEMS = 16 * 1024  # bytes
_FAILURES = (aiohttp.ClientError, OSError, ValueError)


class Unanswered(Declined):
    """The operator did not answer, so nothing has been sent to the client either."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__(503, f"the operator of node {node} does not answer ({why}); what runs there goes on meanwhile")


class Onward:
    """The calls to operators. `context` returns the TLS context for a new connection."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def answer(self, request: web.Request, asked: Asked, node: str, address: str) -> web.StreamResponse:
        """The answer of that node's operator, passed on. Raises Unanswered."""
        silence = None if asked.follows else SILENCE
        async with self._asked(asked.onward, silence, node, address) as answered:
            headers = {name: answered.headers[name] for name in _PASSED if name in answered.headers}
            response = web.StreamResponse(status=answered.status, headers=headers)
            await response.prepare(request)
            try:
                async for chunk in answered.content.iter_any():
                    await response.write(chunk)
            except (aiohttp.ClientError, TimeoutError) as error:
                # It has begun, so all that is left is to break it off, by which the client sees that it is not whole.
                log.warning("the operator of node %s broke off: %s", node, failure(error, SILENCE))
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write_eof()
            return response

    async def problems(self, node: str, address: str) -> Sequence[str]:
        """The names of the checks that fail at that node's operator. Raises Unanswered."""
        async with self._asked(READYZ, SILENCE, node, address) as answered:
            try:
                async with asyncio.timeout(SILENCE):
                    found = bounds.json_document(await answered.content.read(_PROBLEMS), bounds.DOCUMENT)
                return [str(name) for name in found["problems"]]
            except (*_FAILURES, KeyError, TypeError) as error:
                raise Unanswered(node, str(failure(error, SILENCE))) from error

    @asynccontextmanager
    async def _asked(
        self, path: str, silence: float | None, node: str, address: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with asyncio.timeout(SILENCE):
                response = await self._opened().get(
                    URL(f"https://{address}{path}", encoded=True),
                    ssl=self._context(),
                    server_hostname=operator_host(node),
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, connect=CONNECT, sock_read=silence),
                    allow_redirects=False,
                )
        except _FAILURES as error:
            why = failure(error, SILENCE)
            log.warning("the operator of node %s cannot be asked at %s: %s", node, address, why)
            raise Unanswered(node, str(why)) from error
        try:
            if response.connection is not None and response.connection.transport is not None:
                notice_absence(response.connection.transport.get_extra_info("socket"))
            yield response
        finally:
            response.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session
