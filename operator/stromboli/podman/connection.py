"""The connection to Podman's socket: a single call, or a streamed one. The objects of the API are in other modules.

Calls use API v4.0.0, which Podman 4 and 5 both serve and whose response shapes are stable (from v5.0.0 on, for
example, an inspected entrypoint is a list). A call costs about 0.6 ms here. The number of connections is not limited,
since each wait holds one for as long as its container runs.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2 as httpx

from stromboli.podman import failures

LIBPOD = "/v4.0.0/libpod"
COMPAT = "/v1.41"
ANSWER = 60.0  # read timeout of an ordinary call, in seconds without a byte
CONNECT = 5.0

Params = Mapping[str, str] | httpx.QueryParams


class Connection:
    """Calls to one Podman. Bound to the event loop in which it is first used.

    Every call raises `PodmanUnavailable` if nothing answers or the response breaks off, and `NotFound`, `NoSpace` or
    `PodmanError` if Podman refuses. No exception of the HTTP library escapes.
    """

    def __init__(self, socket_path: Path | str) -> None:
        transport = httpx.AsyncHTTPTransport(
            uds=str(socket_path),
            # TLS is not used on a Unix socket; a bare context avoids loading the system's certificates.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=60),
        )
        self._client = httpx.AsyncClient(transport=transport, base_url="http://podman", trust_env=False)

    async def close(self) -> None:
        """Close all connections; pending calls fail."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: object = None,
        archive: bytes | None = None,
        silence: float | None = ANSWER,
    ) -> httpx.Response:
        """Make one call and read the whole response.

        `body` is sent as JSON, `archive` (a tar file) unchanged. `silence` is the read timeout: the longest wait for
        the next byte, in seconds; None means no timeout.
        """
        async with self.stream(method, path, params=params, body=body, archive=archive, silence=silence) as response:
            await response.aread()
        return response

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: object = None,
        archive: bytes | None = None,
        silence: float | None = None,
        api: str = LIBPOD,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Make one call and stream the response; leaving the block early closes the connection.

        `headers` may have credentials: they are in no message.
        """
        doing = f"{method} {path}"
        limits = httpx.Timeout(silence, connect=CONNECT)
        options: dict[str, Any] = {"headers": dict(headers or {})}
        if body is not None:
            options["json"] = body
        if archive is not None:
            options["content"] = archive
            options["headers"]["Content-Type"] = "application/x-tar"
        try:
            async with self._client.stream(method, api + path, params=params, timeout=limits, **options) as response:
                if response.status_code >= 400:
                    raise failures.refusal(response.status_code, await response.aread(), doing)
                yield response
        except httpx.ReadTimeout as error:
            raise failures.hanging(doing, silence) from error
        except httpx.RequestError as error:
            raise failures.unavailable(error, doing) from error


def segment(name: str) -> str:
    """`name`, quoted as a single path segment."""
    return quote(name, safe="")


def image_segment(reference: str) -> str:
    """An image reference, quoted for a path. Its slashes stay: Podman's routes accept them."""
    return quote(reference, safe="/:@")


def label_filter(labels: Mapping[str, str]) -> str:
    """The `filters` parameter that selects objects with all of these labels."""
    return json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})
