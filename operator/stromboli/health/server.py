"""Answers probes, over plain HTTP: the kubelet's, or a person's with curl.

    GET /healthz, /readyz    200 `ok`, or 503 with a line for each check; `?verbose` always has the lines
    GET /healthz/CHECK …     one check
    GET /metrics             for Prometheus

Whoever reaches the address may ask, so there is nothing secret in an answer, and a connection is served for a few
seconds at most, with one request; of too many at a time, the oldest ones are closed: a probe is done in milliseconds,
and those that keep silent must not make the kubelet end the operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from stromboli import addresses
from stromboli.errors import InvalidSettings
from stromboli.health.checks import Answer, Health
from stromboli.metrics import exposition
from stromboli.naming import METRICS

log = logging.getLogger(__name__)

MOST = 32  # connections at a time
LIFE = 5.0  # seconds
_HEADERS = 8192  # bytes of a request


@asynccontextmanager
async def serving(health: Health, metrics: Callable[[], bytes], host: str, port: int) -> AsyncIterator[str]:
    """Serve inside the block; yields the address. Raises InvalidSettings if it cannot be bound."""
    try:
        server = await asyncio.start_server(_Server(health, metrics).serve, host, port, limit=_HEADERS)
    except OSError as error:
        why = f"{host}:{port} cannot be bound ({error.strerror or error}); set another address"
        raise InvalidSettings(why, "STROMBOLI_HEALTH_ADDRESS") from error
    async with server:
        where = addresses.to_text(*server.sockets[0].getsockname()[:2])
        log.info("/healthz, /readyz and /metrics are served at http://%s", where)
        yield where


class _Server:
    def __init__(self, health: Health, metrics: Callable[[], bytes]) -> None:
        self._health = health
        self._metrics = metrics
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with one request."""
        self._open[writer] = None
        if len(self._open) > MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(LIFE):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(request))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client is gone, too slow, or speaks something else
        finally:
            self._open.pop(writer, None)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.decode("latin-1").partition(" ")
        if method != "GET":
            return _response(405, b"only GET\n")
        target = rest.partition(" ")[0]
        if target.partition("?")[0] == METRICS:
            return _response(200, self._metrics(), exposition.CONTENT_TYPE)
        found = self._found(target)
        if found is None:
            return _response(404, b"not found; there are /healthz, /readyz and /metrics\n")
        return _response(found.status, found.text.encode())

    def _found(self, target: str) -> Answer | None:
        try:
            url = urlsplit(target)
        except ValueError:
            return None
        verbose = "verbose" in parse_qs(url.query, keep_blank_values=True)
        kind, _, name = url.path.strip("/").partition("/")
        match kind:
            case "healthz":
                return self._health.healthz(name, verbose=verbose)
            case "readyz":
                return self._health.readyz(name, verbose=verbose)
        return None


def _response(status: int, content: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content)}",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + content
