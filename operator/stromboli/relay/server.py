"""The relay's HTTP side: every request goes on to one address, as it is, and its answer comes back as it comes.

It adds no credentials, reads no body and keeps nothing; the agent's own are in its headers. Where it passes requests on
to is given once, at the start: a request cannot name another place.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, web

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 20.0
# Headers of one connection (RFC 9110, section 7.6.1), which the next one makes for itself.
_OF_A_CONNECTION = frozenset(
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
                asked.method, self._to + asked.path_qs, headers=_passed_on(asked), data=body, allow_redirects=False
            ) as answered:
                response = web.StreamResponse(
                    status=answered.status,
                    reason=answered.reason,
                    headers={k: v for k, v in answered.headers.items() if k.lower() not in _OF_A_CONNECTION},
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
    """The aiohttp application, with the client that it uses; the machine's proxy variables hold."""
    timeout = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    async with ClientSession(timeout=timeout, auto_decompress=False, trust_env=True) as session:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", Relay(to, session).handle)
        yield app


def _passed_on(asked: web.Request) -> dict[str, str]:
    return {k: v for k, v in asked.headers.items() if k.lower() not in _OF_A_CONNECTION}


def _unreachable(to: str, error: Exception) -> web.Response:
    """In the shape of the API's own errors, so that the CLI shows the sentence."""
    message = f"the relay on the node cannot reach {urlsplit(to).netloc}: {error or 'no answer'}"
    return web.json_response({"type": "error", "error": {"type": "api_error", "message": message}}, status=502)
