"""The relay's HTTP side: forwards every request unchanged to one upstream, and streams the response back.

It adds no credentials (the agent's own are in its headers), inspects no body and stores nothing. The upstream is set at
start; a request cannot choose another.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, web

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 20.0
# Hop-by-hop headers (RFC 9110, section 7.6.1), which each connection sets for itself.
_HOP_BY_HOP = frozenset(
    {"connection", "host", "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Relay:
    """The application's handler; `to` is the base URL of the API."""

    def __init__(self, to: str, session: ClientSession) -> None:
        self._to = to.rstrip("/")
        self._session = session

    async def handle(self, asked: web.Request) -> web.StreamResponse:
        body = asked.content if asked.can_read_body else None
        try:
            async with self._session.request(
                asked.method,
                self._to + asked.path_qs,
                headers=_forwarded(asked),
                data=body,
                allow_redirects=False,
            ) as answered:
                response = web.StreamResponse(
                    status=answered.status,
                    reason=answered.reason,
                    headers={k: v for k, v in answered.headers.items() if k.lower() not in _HOP_BY_HOP},
                )
                await response.prepare(asked)
                async for chunk in answered.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (ClientError, TimeoutError) as e:
            log.warning("%s cannot be reached: %s", urlsplit(self._to).netloc, e)
            return _unreachable(self._to, e)


@asynccontextmanager
async def application(to: str) -> AsyncIterator[web.Application]:
    """The aiohttp application, with an open HTTP client that honours the proxy environment variables."""
    timeout = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    async with ClientSession(timeout=timeout, auto_decompress=False, trust_env=True) as session:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", Relay(to, session).handle)
        yield app


def _forwarded(asked: web.Request) -> dict[str, str]:
    return {k: v for k, v in asked.headers.items() if k.lower() not in _HOP_BY_HOP}


def _unreachable(to: str, error: Exception) -> web.Response:
    """An error response in the Messages API's own format, so that the CLI shows the message."""
    message = f"the relay on the node cannot reach {urlsplit(to).netloc}: {error or 'no answer'}"
    return web.json_response({"type": "error", "error": {"type": "api_error", "message": message}}, status=502)
