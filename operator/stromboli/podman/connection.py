"""The connection to Podman's socket: one call, or one stream. No noun lives here.

Calls go to the API's v4.0.0, which Podman 4 and 5 serve alike and whose shapes do not change (from v5.0.0 on
an inspected entrypoint is a list, for one). A call costs about 0.6 ms here; there is no connection limit, since
each wait holds a connection for as long as its container runs.
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
ANSWER = 60.0  # seconds without a byte after which an ordinary call has failed
CONNECT = 5.0

Params = Mapping[str, str] | httpx.QueryParams


class Connection:
    """Calls to one Podman. Belongs to the event loop in which it is first used.

    Every call raises `PodmanUnavailable` where nobody answers or the answer breaks off, `NotFound`, `NoSpace` or
    `PodmanError` where Podman refuses; no other exception of the HTTP library comes out of it.
    """

    def __init__(self, socket_path: Path | str) -> None:
        transport = httpx.AsyncHTTPTransport(
            uds=str(socket_path),
            # Never used on a Unix socket; a bare context saves loading the machine's certificates.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=60),
        )
        self._client = httpx.AsyncClient(transport=transport, base_url="http://podman", trust_env=False)

    async def close(self) -> None:
        """Close all connections; calls that are open break."""
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
        api: str = LIBPOD,
    ) -> httpx.Response:
        """One call, its answer read whole.

        `body` goes as JSON, an `archive` (a tar file) as it is; `silence` is the longest wait for a byte, in seconds,
        None for ever.
        """
        async with self.stream(
            method, path, params=params, body=body, archive=archive, silence=silence, api=api
        ) as response:
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
    ) -> AsyncIterator[httpx.Response]:
        """One call, its answer to be read piece by piece; leaving early closes the connection."""
        doing = f"{method} {path}"
        limits = httpx.Timeout(silence, connect=CONNECT)
        options: dict[str, Any] = {} if body is None else {"json": body}
        if archive is not None:
            options = {"content": archive, "headers": {"Content-Type": "application/x-tar"}}
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
    """`name` as one segment of a path."""
    return quote(name, safe="")


def image_segment(reference: str) -> str:
    """An image reference in a path: Podman's routes take its slashes as they are."""
    return quote(reference, safe="/:@")


def label_filter(labels: Mapping[str, str]) -> str:
    """The `filters` parameter that asks for all of these labels."""
    return json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})
