"""The connection to Podman's socket: a single call, or a streamed one. The objects of the API are in other modules.

Calls use API v4.0.0, which Podman 4 and 5 both serve and whose response shapes are stable (from v5.0.0 on, for
example, an inspected entrypoint is a list). The number of connections is not limited, since each wait holds one for as
long as its container runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import aiohttp

from stromboli import bounds
from stromboli.errors import HttpFailed, HttpSilent, PodmanError
from stromboli.httpclient import Answer, Http, Query, Response
from stromboli.podman import failures, operations

LIBPOD = "/v4.0.0/libpod"
COMPAT = "/v1.41"
ANSWER = 60.0  # read timeout of an ordinary call, in seconds without a byte
CONNECT = 5.0
KEPT = 16  # connections that are kept between short calls
LONGEST = bounds.ANSWER.size  # bytes of an answer, or of one line of a stream

# Is called at each answer's beginning, or failure: the operation, the answer's status or 0, and the seconds until then,
# which are None for an operation that lasts (operations.py).
Observe = Callable[[str, int, float | None], None]


def unobserved(operation: str, status: int, seconds: float | None) -> None:
    """For whoever does not count."""


class Connection:
    """Calls to one Podman. Bound to the event loop in which it is first used.

    Every call raises `PodmanUnavailable` if nothing answers or the response breaks off, and `NotFound`, `NoSpace` or
    `PodmanError` if Podman refuses. No exception of the HTTP library escapes.
    """

    def __init__(self, socket_path: Path | str, observe: Observe = unobserved) -> None:
        self._observe = observe
        connector = partial(aiohttp.UnixConnector, str(socket_path))
        self._http = Http("http://podman", connector, kept=KEPT, connect=CONNECT)

    async def close(self) -> None:
        """Close all connections; pending calls fail."""
        await self._http.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Query | None = None,
        body: object = None,
        archive: bytes | None = None,
        silence: float | None = ANSWER,
    ) -> Response:
        """Make one call and read the whole response. Raises PodmanError if it is too large.

        `body` is sent as JSON, `archive` (a tar file) unchanged. `silence` is the read timeout: the longest wait for
        the next byte, in seconds; None means no timeout.
        """
        short = silence is not None and silence <= ANSWER
        async with self.stream(
            method, path, params=params, body=body, archive=archive, silence=silence, short=short
        ) as response:
            content = await response.read(LONGEST)
        if len(content) > LONGEST:
            raise PodmanError(f"Podman's answer to {method} {path} is too large: at most {LONGEST} bytes")
        return Response(response.status, response.headers, content)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Query | None = None,
        body: object = None,
        archive: bytes | BinaryIO | None = None,
        silence: float | None = None,
        api: str = LIBPOD,
        headers: Mapping[str, str] | None = None,
        short: bool = False,
    ) -> AsyncIterator[Answer]:
        """Make one call and stream the response; leaving the block early closes the connection.

        An `archive` that is a file is sent as it is read.
        A `short` call may use a connection that is kept. `headers` may have credentials: they are in no message.
        """
        doing = f"{method} {path}"
        sent = dict(headers or {})
        content: bytes | BinaryIO | None = archive
        if archive is not None:
            sent["Content-Type"] = "application/x-tar"
        elif body is not None:
            sent["Content-Type"] = "application/json"
            content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        call = self._http.stream(
            method, api + path, query=params, headers=sent, body=content, silence=silence, short=short
        )
        answered, begun = False, time.monotonic()

        def note(status: int) -> None:
            operation = operations.of(method, path)
            self._observe(operation, status, None if operation in operations.LASTING else time.monotonic() - begun)

        try:
            async with call as response:
                answered = True
                note(response.status)
                if response.status >= 400:
                    raise failures.refusal(response.status, await response.read(LONGEST), doing)
                yield response
        except HttpFailed as error:
            if not answered:
                note(0)
            if isinstance(error, HttpSilent):
                raise failures.hanging(doing, silence) from error
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
